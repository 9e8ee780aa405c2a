"""Readers through the command line: picks, schedule, consent, pausing, leaving, erasing."""

from __future__ import annotations

import json
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from commanding import CommandLine
from sqlalchemy import insert, text

from newsletter.database import engine_for, reading
from newsletter.settings import load_settings
from newsletter.tables import profiles, subscribers, subscriptions


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


def test_confirming_who_is_pending(cli: CommandLine) -> None:
    """Who was asked is confirmed by `add --confirmed`, keeps what is not named, and may get a welcome digest."""
    cli("items", "add", "T", "--summary", "S")
    cli("subscribers", "add", "ana@example.org", "-c", "GT", "-t", "protection", "--frequency", "weekly")
    assert "`newsletter subscribers add --confirmed`" in cli("subscribers", "add", "ana@example.org", code=1).err
    said = cli("subscribers", "add", "ana@example.org", "--confirmed", "-c", "HN", "--source", "phone").out
    found = only(cli)
    assert "is subscribed to rutas" in said
    assert (found["state"], found["countries"], found["themes"]) == ("active", ["HN"], ["protection"])
    assert (found["frequency"], found["cursor"], found["due_at"] is None) == ("weekly", 1, False)
    assert consents(cli) == [("asked", "command line"), ("changed", "phone"), ("confirmed", "phone")]
    refused = cli("subscribers", "add", "ana@example.org", "--confirmed", code=1).err
    assert "(active)" in refused
    assert "--confirmed" not in refused
    cli("subscribers", "add", "ben@example.org")
    cli("subscribers", "add", "ben@example.org", "--confirmed", "--from-start")
    assert (only(cli, "ben@example.org")["state"], only(cli, "ben@example.org")["cursor"]) == ("active", 0)


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
        (["--name", "Ana \u202egro.elpmaxe@x"], "control character"),
        (["-t", "protect"], "Did you mean protection?"),
        (["--timezone", "Guatemala"], "Did you mean America/Guatemala?"),
        (["--list", "ruta"], "Did you mean rutas?"),
        (["--list", "Rutas"], "Did you mean rutas?"),
        (["--list", "migration"], "There is no list 'migration'; there is rutas."),
    ],
)
def test_bad_values(cli: CommandLine, options: list[str], sentence: str) -> None:
    """A value that cannot be used is refused with exit code 1 and a sentence, and nothing is kept."""
    assert sentence in cli("subscribers", "add", "ana@example.org", *options, code=1).err
    assert cli("subscribers", "list", "--json").json == []


@pytest.mark.parametrize("name", ["علی\u200cرضا", "Familia \U0001f468\u200d\U0001f467", "Ana\u00a0Peña"])
def test_names_of_any_script(cli: CommandLine, name: str) -> None:
    """A name may hold what joins or parts characters in its script."""
    cli("subscribers", "add", "ana@example.org", "--name", name)
    assert only(cli)["name"] == name


def test_twice(cli: CommandLine) -> None:
    """Adding somebody twice is refused, also in another spelling."""
    cli("subscribers", "add", "ana@example.org", "--confirmed")
    assert "on this list already" in cli("subscribers", "add", "ANA@example.org", "--confirmed", code=1).err


def test_edit_keeps_what_is_not_named(cli: CommandLine) -> None:
    """Editing changes what is named and nothing else; the cursor stays."""
    cli("subscribers", "add", "ana@example.org", "-c", "GT", "-t", "protection", "--confirmed")
    before = only(cli)
    # Another hour, since on some days the next daily slot is the next weekly one.
    weekly = ("--frequency", "weekly", "--weekday", "fri", "--hour", "17")
    cli("subscribers", "edit", "ana@example.org", "-c", "HN", *weekly)
    after = only(cli)
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"countries", "frequency", "weekday", "hour", "due_at"}
    cli("subscribers", "edit", "ana@example.org", "--all-places", "--all-themes")
    assert (only(cli)["countries"], only(cli)["themes"]) == ([], [])
    assert "is not on this list" in cli("subscribers", "edit", "ben@example.org", "-c", "GT", code=1).err


def test_edit_of_nothing(cli: CommandLine) -> None:
    """Editing without saying what is refused as usage; what was so before leaves no line in the history."""
    cli("subscribers", "add", "ana@example.org", "-c", "GT", "--confirmed")
    for options in ((), ("--source", "telephone")):
        assert "Nothing to change" in cli("subscribers", "edit", "ana@example.org", *options, code=2).err
    assert "so before" in cli("subscribers", "edit", "ana@example.org", "-c", "GT", "--hour", "8").out
    assert consents(cli) == [("confirmed", "command line")]
    cli("subscribers", "edit", "ana@example.org", "-c", "HN")
    assert consents(cli)[1:] == [("changed", "command line")]


def test_all_and_some(cli: CommandLine) -> None:
    """Everything and something of the same kind exclude each other."""
    cli("subscribers", "add", "ana@example.org", "--confirmed")
    for options in (
        ("--all-places", "-c", "GT"),
        ("--all-places", "-r", "013"),
        ("--all-themes", "-t", "protection"),
        ("--any-language", "--item-language", "es"),
    ):
        assert "exclude each other" in cli("subscribers", "edit", "ana@example.org", *options, code=2).err


@pytest.fixture
def two(cli: CommandLine) -> CommandLine:
    """With a second list, whose language and zone are others, and a reader of the first."""
    cli(
        *("lists", "create", "zwei", "--name", "Zwei", "--sender-email", "z@zwei.example"),
        *("--postal-address", "1 St", "--language", "en", "--timezone", "Asia/Tokyo"),
    )
    cli(
        *("subscribers", "add", "ana@example.org", "--list", "rutas", "--hour", "8", "--confirmed"),
        *("--timezone", "America/Lima", "--language", "es", "--name", "Ana"),
    )
    return cli


def local_hours(cli: CommandLine) -> dict[str, int]:
    """The hour of each list's next digest in the reader's zone."""
    found = cli("subscribers", "show", "ana@example.org", "--json").json["subscriptions"]
    return {s["list"]: datetime.fromisoformat(s["due_at"]).astimezone(ZoneInfo(s["timezone"])).hour for s in found}


def person(cli: CommandLine) -> set[tuple[str, str, str]]:
    found = cli("subscribers", "show", "ana@example.org", "--json").json["subscriptions"]
    return {(s["name"], s["language"], s["timezone"]) for s in found}


def test_a_second_list_leaves_the_person_alone(two: CommandLine) -> None:
    """Who is put on a second list keeps language, zone and name, and the second list uses them."""
    two("subscribers", "add", "Ana@example.org", "--list", "zwei", "--hour", "17", "--confirmed")
    assert person(two) == {("Ana", "es", "America/Lima")}
    assert local_hours(two) == {"rutas": 8, "zwei": 17}


@pytest.mark.parametrize("how", ["add", "edit", "import", "import changes"])
def test_a_new_zone_holds_on_every_list(two: CommandLine, how: str, tmp_path: Path) -> None:
    """A zone that is named moves the next digest of every list, since all come at the reader's local hour."""
    two("subscribers", "add", "ben@example.org", "--list", "zwei", "--hour", "17", "--confirmed")
    if how in ("edit", "import changes"):
        two("subscribers", "add", "ana@example.org", "--list", "zwei", "--hour", "17", "--confirmed")
    zone = ("--timezone", "Europe/Madrid")
    if how == "add":
        two("subscribers", "add", "ana@example.org", "--list", "zwei", "--hour", "17", "--confirmed", *zone)
    elif how == "edit":
        two("subscribers", "edit", "ana@example.org", "--list", "zwei", *zone, "--language", "en")
    else:
        (tmp_path / "c.csv").write_text("email,hour,zona horaria,language\nana@example.org,17,Europe/Madrid,en\n")
        two("subscribers", "import", "c.csv", "--list", "zwei", "--apply")
    assert person(two) == {("Ana", "es" if how == "add" else "en", "Europe/Madrid")}
    assert local_hours(two) == {"rutas": 8, "zwei": 17}
    (other,) = two("subscribers", "show", "ben@example.org", "--json").json["subscriptions"]
    assert other["timezone"] == "Asia/Tokyo"


def test_a_paused_list_stays_so(two: CommandLine) -> None:
    """A new zone gives no due moment to a list that is paused."""
    two("subscribers", "add", "ana@example.org", "--list", "zwei", "--confirmed")
    two("subscribers", "pause", "ana@example.org", "--list", "rutas")
    two("subscribers", "edit", "ana@example.org", "--list", "zwei", "--timezone", "Europe/Madrid")
    found = two("subscribers", "show", "ana@example.org", "--json").json["subscriptions"]
    assert {s["list"]: bool(s["due_at"]) for s in found} == {"rutas": False, "zwei": True}


def test_export_in_constant_memory(cli: CommandLine) -> None:
    """The JSON export is one array whatever its length, and is never held as a whole."""
    assert cli("subscribers", "export", "--json").json == []
    with engine_for(load_settings().database).begin() as connection:
        profile = connection.execute(
            insert(profiles).values(key="k", countries=[], regions=[], themes=[], languages=[]).returning(profiles.c.id)
        ).scalar_one()
        stamp = datetime(2026, 11, 24, tzinfo=UTC)
        common = {"name": 'A\u2028\n"b', "language": "es", "timezone": "UTC", "created_at": stamp}
        people = [{"email": f"r{n:05}@e.org", "email_key": f"r{n:05}@e.org", **common} for n in range(3000)]
        connection.execute(insert(subscribers), people)
        schedule = {"frequency": "daily", "hour": 8, "weekday": 0, "start": 0, "cursor": 0}
        held = {"list_id": 1, "profile_id": profile, "state": "active", "created_at": stamp, **schedule}
        connection.execute(insert(subscriptions), [{"subscriber_id": n + 1, **held} for n in range(3000)])
    cli("subscribers", "export", "--json")
    tracemalloc.start()
    shown = cli("subscribers", "export", "--json")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    found = shown.json
    assert len(found) == 3000
    assert found[0]["name"] == common["name"]
    assert json.dumps(found, ensure_ascii=False, indent=2) + "\n" == shown.out
    # The test itself keeps what was printed three times over, as bytes and as text.
    assert peak < 4 * len(shown.raw) + 3_000_000


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
