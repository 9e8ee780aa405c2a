"""Files that commands are given: folders, pipes, themes without names, and JSON at Python's limits."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from commanding import CommandLine

IMPORTS = (("items", "import"), ("themes", "import"), ("subscribers", "import"), ("subscribers", "import", "--apply"))


@pytest.fixture
def cli(newsletter: CommandLine) -> CommandLine:
    """With a list and a theme."""
    newsletter("lists", "create", "n", "--name", "N", "--sender-email", "n@e.example", "--postal-address", "1 St")
    newsletter("themes", "add", "trade", "--name", "en=Trade")
    return newsletter


@pytest.fixture
def pipe() -> Callable[[str], str]:
    """A pipe out of which a text comes."""

    def filled(text: str) -> str:
        out, into = os.pipe()

        def fill() -> None:
            with os.fdopen(into, "w") as file:
                file.write(text)

        threading.Thread(target=fill, daemon=True).start()
        return f"/dev/fd/{out}"

    return filled


@pytest.mark.parametrize("words", IMPORTS, ids=" ".join)
def test_folders_and_nothing(cli: CommandLine, words: tuple[str, ...]) -> None:
    """A folder is called one; where nothing is, that is said."""
    assert ". is a folder." in cli(*words, ".", code=1).err
    assert "There is no file none.csv." in cli(*words, "none.csv", code=1).err


@pytest.mark.parametrize(
    "text",
    [
        '{"title": "A", "summary": "S"}\n{"title": "B", "summary": "S"}\n',
        '{"items": [{"title": "A", "summary": "S"}, {"title": "B", "summary": "S"}]}',
        '[\n{"title": "A", "summary": "S"}, {"title": "B", "summary": "S"}]',
        "titre;resumen\nA;S\nB;S\n",
        "A\nS\nB\nS\n",
    ],
)
def test_items_out_of_a_pipe(cli: CommandLine, pipe: Callable[[str], str], text: str) -> None:
    """Items come out of pipes in every form that files have."""
    assert "2 added" in cli("items", "import", pipe(text)).out


def test_other_pipes(cli: CommandLine, pipe: Callable[[str], str]) -> None:
    """Themes and readers come out of pipes, too; the report on bad rows stands in the present folder."""
    assert "1 added" in cli("themes", "import", pipe('[{"slug": "aid", "names": {"en": "Aid"}}]')).out
    assert "1 added" in cli("themes", "import", pipe("slug,es\nasilo,Asilo\n")).out
    done = cli("subscribers", "import", pipe("email\nana@example.org\nben\n"), "--apply", code=1)
    assert "1 new" in done.out
    assert len(list(Path().glob("*.bad.csv"))) == 1


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have standard input hold a text."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8"))


def test_standard_input(cli: CommandLine, type_in: Callable[[str], None]) -> None:
    """`-` is standard input wherever a file is read; the report on its bad rows is private, in the state folder."""
    type_in("A\nS\nB\nS\n")
    assert "2 added" in cli("items", "import", "-").out
    type_in("[{}]")
    assert "standard input, entry 1:" in cli("themes", "import", "-", code=1).err
    type_in('[{"slug": "aid", "names": {"en": "Aid"}}]')
    assert "1 added" in cli("themes", "import", "-").out
    type_in("email\nana@example.org\nben\n")
    assert "standard input: UTF-8" in cli("subscribers", "import", "-", code=1).out
    type_in("email\nana@example.org\nben\n")
    done = cli("subscribers", "import", "-", "--apply", code=1)
    report = cli.home / "standard-input.bad.csv"
    assert "1 new" in done.out
    assert f"All bad rows: {report}" in done.out
    assert report.stat().st_mode & 0o777 == 0o600
    (consent,) = cli("subscribers", "show", "ana@example.org", "--json").json["consents"]
    assert consent["source"] == "import of standard input"
    type_in("no picture")
    assert "InputError" not in cli("lists", "brand", "n", "--logo", "-", code=1).err


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.csv", "slug,name\naid,Aid\n", "a.csv has no column of names.\n       Name a column en or es or fr or ar."),
        ("a.csv", "slug,en,name\naid,,Aid\n", "a.csv, line 2: the theme has no name."),
        (
            "a.json",
            '[{"slug": "aid"}]',
            'a.json, entry 1: it is not a theme with slug and names.\n       Write {"slug"',
        ),
        ("a.json", "[" + "9" * 5000 + "]", "a.json: It is not JSON that can be read: a number"),
    ],
)
def test_themes_that_are_none(cli: CommandLine, name: str, text: str, sentence: str) -> None:
    """What is wrong with a file of themes is said with its place, and how to mend it."""
    Path(name).write_text(text)
    assert sentence in cli("themes", "import", name, code=1).err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("9" * 5000, "a number in it has too many digits."), ("[" * 100_000, "its brackets are nested too deeply.")],
)
def test_json_at_the_limits_of_python(cli: CommandLine, text: str, sentence: str) -> None:
    """Nobody reads of Python's own limits."""
    Path("a.jsonl").write_text(text)
    (bad,) = cli("items", "import", "a.jsonl", "--json", code=1).json["bad"]
    assert bad == {"line": 1, "reason": f"It is not JSON that can be read: {sentence}"}
    Path("a.json").write_text(text)
    assert sentence in cli("items", "import", "a.json", code=1).err


def test_items_of_json_have_numbers(cli: CommandLine) -> None:
    """In a JSON array an item is named by its number, not by a line."""
    Path("a.json").write_text('[{"title": "A",\n "summary": "S"},\n\n {"title": "B"}]')
    assert "item 2: " in cli("items", "import", "a.json", code=1).err
    assert cli("items", "import", "a.json", "--json", code=1).json["bad"][0]["item"] == 2


def test_one_item_with_a_picture_that_is_none(cli: CommandLine) -> None:
    """Of one item nothing is published if its picture is none, and that is said."""
    refused = cli("items", "add", "A", "--summary", "S", "--image", "foo", code=1)
    assert "--image is none, and nothing is published: " in refused.err
    assert "left out" not in refused.err
    assert cli("items", "list", "--json").json == []


def test_a_note_that_cannot_be_read(cli: CommandLine) -> None:
    """A file that is not there is named once, in a sentence; so is one that is not UTF-8."""
    refused = cli("runs", "note", "1", "--file", "nofile.md", code=1)
    assert "Error: There is no file nofile.md." in refused.err
    Path("note.md").write_bytes(b"Ma\xf1ana")
    assert "Error: note.md is not text in UTF-8." in cli("runs", "note", "1", "--file", "note.md", code=1).err


def test_a_note_from_standard_input(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A note is read as UTF-8, whatever the terminal's encoding is and with Windows' mark, as all other files are."""
    cli("lists", "edit", "n", "--approval")
    cli("subscribers", "add", "ana@example.org", "--confirmed")
    cli("runs", "start", "n", "--yes")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeffMañana".encode()), "latin-1"))
    assert cli("runs", "note", "1", "--file", "-", "--json").json == {"en": "Mañana"}
