"""Readers through the command line: picks, schedule, consent, pausing, leaving, erasing."""

from __future__ import annotations

import pytest
from commanding import CommandLine
from sqlalchemy import text

from newsletter.database import engine_for, reading
from newsletter.settings import load_settings


@pytest.fixture
def cli(newsletter: CommandLine) -> CommandLine:
    """With a list of two themes."""
    newsletter(
        *("lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@rutas.example"),
        *("--postal-address", "1 St", "--language", "es", "--language", "en", "--timezone", "America/Guatemala"),
    )
    newsletter("themes", "add", "protection", "--name", "en=Protection", "--name", "es=Protección")
    newsletter("themes", "add", "children", "--name", "es=Niñez", "--parent", "protection")
    return newsletter


def only(cli: CommandLine, email: str = "ana@example.org") -> dict:
    (found,) = cli("subscribers", "show", email, "--json").json["subscriptions"]
    return found


def consents(cli: CommandLine) -> list[tuple[str, str]]:
    found = cli("subscribers", "show", "ana@example.org", "--json").json["consents"]
    return [(c["event"], c["source"]) for c in found]


def test_picks_by_name_and_code(cli: CommandLine) -> None:
    """Codes and names in any language are the same picks; defaults come from the list."""
    cli(
        *("subscribers", "add", "Ana@Example.org", "-c", "GT", "-c", "Honduras", "-r", "Amérique centrale"),
        *("-t", "niñez", "--item-language", "es", "--confirmed", "--name", "Ana Peña", "--source", "fair"),
    )
    found = only(cli)
    assert (found["countries"], found["regions"], found["themes"]) == (["GT", "HN"], ["013"], ["children"])
    assert (found["item_languages"], found["language"], found["timezone"]) == (["es"], "es", "America/Guatemala")
    assert (found["frequency"], found["hour"], found["state"]) == ("daily", 8, "active")
    assert consents(cli) == [("confirmed", "fair")]


def test_unconfirmed_is_pending(cli: CommandLine) -> None:
    """Without --confirmed a reader is asked first."""
    cli("subscribers", "add", "ana@example.org")
    assert only(cli)["state"] == "pending"
    assert consents(cli) == [("asked", "command line")]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["-c", "Gutemala"], "Did you mean Guatemala (GT)?"),
        (["-c", "Congo"], "may mean more than one place"),
        (["-t", "protecion"], "Did you mean protection?"),
        (["--hour", "25"], "not a full hour"),
        (["--timezone", "Mars"], "not a time zone"),
        (["--language", "fr"], "does not come in 'fr'"),
        (["--item-language", "español"], "not a language code"),
        (["--name", "Ana\nBcc: x@e.org"], "control character"),
        (["--backfill", "2", "--from-start"], "exclude each other"),
        (["--list", "ruta"], "Did you mean rutas?"),
    ],
)
def test_bad_values(cli: CommandLine, options: list[str], sentence: str) -> None:
    """A value that cannot be used is refused with exit code 1 and a sentence, and nothing is kept."""
    assert sentence in cli("subscribers", "add", "ana@example.org", *options, code=1).err
    assert cli("subscribers", "list", "--json").json == []


def test_twice(cli: CommandLine) -> None:
    """Adding somebody twice is refused, also in another spelling."""
    cli("subscribers", "add", "ana@example.org", "--confirmed")
    assert "on this list already" in cli("subscribers", "add", "ANA@example.org", "--confirmed", code=1).err


def test_edit_keeps_what_is_not_named(cli: CommandLine) -> None:
    """Editing changes what is named and nothing else; the cursor stays."""
    cli("subscribers", "add", "ana@example.org", "-c", "GT", "-t", "protection", "--confirmed")
    before = only(cli)
    cli("subscribers", "edit", "ana@example.org", "-c", "HN", "--frequency", "weekly", "--weekday", "fri")
    after = only(cli)
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"countries", "frequency", "weekday", "due_at"}
    cli("subscribers", "edit", "ana@example.org", "--all-places", "--all-themes")
    assert (only(cli)["countries"], only(cli)["themes"]) == ([], [])
    assert "is not on this list" in cli("subscribers", "edit", "ben@example.org", "-c", "GT", code=1).err


def test_pause_and_resume(cli: CommandLine) -> None:
    """A pause leaves no due moment; resuming sets it again; pausing who left is refused."""
    cli("subscribers", "add", "ana@example.org", "--confirmed")
    cli("subscribers", "pause", "ana@example.org")
    assert (only(cli)["state"], only(cli)["due_at"]) == ("paused", None)
    cli("subscribers", "pause", "ana@example.org", "--resume")
    assert only(cli)["state"] == "active"
    assert only(cli)["due_at"]
    cli("subscribers", "unsubscribe", "ana@example.org", "--source", "telephone")
    assert "is unsubscribed" in cli("subscribers", "pause", "ana@example.org", code=1).err
    assert consents(cli)[-1] == ("unsubscribed", "telephone")


def test_coming_back(cli: CommandLine) -> None:
    """Who left may subscribe again, and begins at the present position."""
    cli("subscribers", "add", "ana@example.org", "--confirmed")
    cli("subscribers", "unsubscribe", "ana@example.org")
    cli("items", "add", "T", "--summary", "S")
    cli("subscribers", "add", "ana@example.org", "--confirmed")
    assert (only(cli)["state"], only(cli)["cursor"]) == ("active", 1)


def test_backfill(cli: CommandLine) -> None:
    """A welcome digest begins just before the N-th latest item that fits; --from-start at the beginning."""
    for number, country in enumerate(("GT", "HN", "GT", "HN", "GT", "HN")):
        cli("items", "add", f"Title {number}", "--summary", "S", "-c", country)
    cli("subscribers", "add", "a@example.org", "-c", "GT", "--confirmed", "--backfill", "2")
    cli("subscribers", "add", "b@example.org", "-c", "GT", "--confirmed", "--from-start")
    cli("subscribers", "add", "c@example.org", "-c", "GT", "--confirmed")
    assert [only(cli, f"{who}@example.org")["cursor"] for who in "abc"] == [2, 0, 6]
    preview = cli("digest", "preview", "a@example.org").out
    assert "Title 2" in preview
    assert "Title 4" in preview
    assert "Title 0" not in preview


def test_erase_forgets(cli: CommandLine) -> None:
    """Erasing asks first, leaves no trace of address and name in the database, and bars a later import."""
    cli("subscribers", "add", "ana@example.org", "--confirmed", "--name", "Ana Peña")
    assert "Add --yes" in cli("subscribers", "erase", "ana@example.org", code=1).err
    cli("subscribers", "erase", "ana@example.org", "--yes")
    with reading(engine_for(load_settings().database)) as connection:
        dump = ""
        tables = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
        for table in tables:
            dump += str(connection.execute(text(f"SELECT * FROM {table}")).all())
    assert "ana@" not in dump.lower()
    assert "Peña" not in dump
    assert "must not be mailed" in cli("subscribers", "add", "ana@example.org", "--confirmed", code=1).err
    assert "There is no subscriber" in cli("subscribers", "erase", "ana@example.org", "--yes", code=1).err
    assert cli("subscribers", "list", "--json").json == []


def test_no_theme_yet(newsletter: CommandLine) -> None:
    """A list without vocabulary says so when a theme is picked."""
    newsletter("lists", "create", "n", "--name", "N", "--sender-email", "n@e.example", "--postal-address", "1 St")
    assert "has none yet" in newsletter("subscribers", "add", "a@e.org", "-t", "trade", code=1).err
