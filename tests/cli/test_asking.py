"""Questions before harm are asked once it is known that there is something to do; what cannot be meant is refused."""

from __future__ import annotations

import pytest
from commanding import CommandLine

from newsletter.cli import importing, output
from newsletter.slugs import RESERVED


@pytest.fixture
def cli(newsletter: CommandLine) -> CommandLine:
    """With two lists, an item and a reader of one."""
    for slug in ("n", "o"):
        newsletter("lists", "create", slug, "--name", "N", "--sender-email", "n@e.example", "--postal-address", "1 St")
    newsletter("items", "add", "A", "--summary", "S", "--list", "n")
    newsletter("subscribers", "add", "zo@example.org", "--confirmed", "--list", "n")
    return newsletter


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("runs", "approve", "1"), "There is no run 1."),
        (("runs", "cancel", "1"), "There is no run 1."),
        (("lists", "archive", "p"), "There is no list 'p'"),
        (("tokens", "revoke", "feed"), "There is no token 'feed'."),
    ],
    ids=" ".join,
)
def test_nothing_to_ask_about(cli: CommandLine, words: tuple[str, ...], sentence: str) -> None:
    """What is not there is not asked about."""
    refused = cli(*words, code=1).err
    assert sentence in refused
    assert "Nobody is there to answer" not in refused


def test_what_is_done_is_not_asked_about(cli: CommandLine) -> None:
    """Nor is what was done before."""
    assert "Nobody is there to answer" in cli("items", "withdraw", "1", code=1).err
    cli("items", "withdraw", "1", "--yes")
    assert "was withdrawn already" in cli("items", "withdraw", "1").out
    cli("runs", "start", "n", "--yes")
    assert "it is assembling" in cli("runs", "approve", "1", code=1).err
    assert "0 digests will not go out" in cli("runs", "cancel", "1", "--yes").out
    assert "it is cancelled" in cli("runs", "cancel", "1", code=1).err


def test_a_token_is_for_ever(cli: CommandLine) -> None:
    """To revoke a token cannot be undone: that is asked first."""
    cli("tokens", "create", "feed", "--scope", "items:read", "--all")
    assert "This cannot be undone. Nobody is there to answer." in cli("tokens", "revoke", "feed", code=1).err
    assert "is revoked" in cli("tokens", "revoke", "feed", "--yes").out


def test_numbers_of_things() -> None:
    """One thing is one."""
    assert [output.counted(number, "digest") for number in (0, 1, 2000)] == ["0 digests", "1 digest", "2,000 digests"]


def test_a_reader_of_another_list(cli: CommandLine) -> None:
    """Who is on another list is said to be there."""
    refused = cli("subscribers", "show", "zo@example.org", "--list", "o", code=1).err
    assert "zo@example.org is not on this list, but on n: name one with --list." in refused


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--date", "3026-01-01"), "The date '3026-01-01' is in the year 3026."),
        (("--date", "0001-01-01"), "The date '0001-01-01' is in the year 1."),
        (("--date", "2026-02-30"), "The date '2026-02-30' cannot be read."),
        (("--language", "zz"), "'zz' is not a code of ISO 639."),
    ],
)
def test_what_cannot_be_meant(cli: CommandLine, words: tuple[str, ...], sentence: str) -> None:
    """A year or a language that there is none of is refused."""
    assert sentence in cli("items", "add", "B", "--summary", "S", "--list", "n", *words, code=1).err


@pytest.mark.parametrize("source", ["", " ", "x" * 201, "a\nb", "\x1b[31mred"])
@pytest.mark.parametrize(
    "words",
    [("add", "eve@example.org"), ("edit", "ana@example.org", "--hour", "9"), ("unsubscribe", "ana@example.org")],
)
def test_where_consent_was_given(cli: CommandLine, words: tuple[str, ...], source: str) -> None:
    """What is kept as proof for good is a line of text, and never empty."""
    refused = cli("subscribers", *words, "--list", "n", "--source", source, code=1).err
    assert refused.startswith("Error: The source of a consent")


def test_languages_that_there_are(cli: CommandLine) -> None:
    """Items come in any language of ISO 639, K'iche' (quc) among them; a theme's names as well."""
    cli("items", "add", "B", "--summary", "S", "--list", "n", "--language", "quc")
    cli("items", "add", "C", "--summary", "S", "--list", "n", "--language", "pt-BR")
    cli("themes", "add", "aid", "--name", "de=Hilfe", "--list", "n")
    refused = cli("themes", "add", "foo", "--name", "xx=y", "--list", "n", code=1).err
    assert "Theme 'foo' has a name in 'xx', which is no language." in refused


def test_words_for_people(cli: CommandLine) -> None:
    """A list is called one wherever it is shown, nothing is a dash, and who names no theme is told where they are."""
    shown = cli("items", "show", "1", "--json").json
    assert (shown["list"], "slug" in shown) == ("n", False)
    assert "brand           –" in cli("lists", "show", "n").out
    cli("lists", "brand", "n", "--accent", "#0b6e6e")
    assert "accent #0b6e6e" in cli("lists", "show", "n").out
    cli("themes", "add", "aid", "--name", "en=Aid", "--list", "n")
    refused = cli("items", "add", "B", "--summary", "S", "--list", "n", "-t", "zzzz", code=1).err
    assert "There is no theme 'zzzz'. `newsletter themes list` shows those there are." in refused
    assert "written as '.'" in cli("digest", "preview", "zo@example.org", "--list", "n", "-o", ".", code=1).err


@pytest.mark.parametrize("slug", ["inbox", "messages"])
def test_addresses_of_the_inbox(newsletter: CommandLine, slug: str) -> None:
    """No list is called as a page of the inbox is, which in a trial stands beside the site."""
    assert slug in RESERVED


def test_an_import_that_is_stopped(cli: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Ctrl-C in an import says how many rows are kept, and that it goes on from there."""
    (tmp_path / "a.csv").write_text("email\n" + "".join(f"r{number}@example.org\n" for number in range(1500)))
    advance = importing._Bar.advance

    def stopping(self, numbers) -> None:
        advance(self, numbers)
        if numbers.added:
            raise KeyboardInterrupt

    monkeypatch.setattr(importing._Bar, "advance", stopping)
    words = ("subscribers", "import", "a.csv", "--list", "n", "--apply")
    assert "Kept: 1,000 rows; the same command goes on from there." in cli(*words, code=130).err
    monkeypatch.setattr(importing._Bar, "advance", advance)
    assert "1,500 rows: 1,500 new" in cli(*words).out
