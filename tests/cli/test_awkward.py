"""What people and terminals really type: numbers too large, bytes that are no text, output that is not UTF-8."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commanding import CommandLine

HUGE = "99999999999999999999"
ODD = os.fsdecode(b"x\xff")


@pytest.fixture
def cli(newsletter: CommandLine) -> CommandLine:
    """With a list, an item and a reader."""
    newsletter("lists", "create", "n", "--name", "N", "--sender-email", "n@e.example", "--postal-address", "1 St")
    newsletter("items", "add", "Año", "--summary", "S", "-c", "GT")
    newsletter("subscribers", "add", "ana@example.org", "-c", "GT", "--confirmed", "--from-start")
    return newsletter


@pytest.mark.parametrize(
    "words",
    [
        *(("deliveries", "show", HUGE), ("deliveries", "retry", HUGE), ("deliveries", "retry", "--run", HUGE)),
        *(("deliveries", "list", "--run", HUGE), ("deliveries", "list", "--limit", HUGE)),
        *(("runs", verb, HUGE) for verb in ("show", "approve", "cancel")),
        *((noun, "list", "--limit", HUGE) for noun in ("runs", "items")),
        ("runs", "show", "0"),
    ],
    ids=" ".join,
)
def test_numbers_that_no_row_can_have(newsletter: CommandLine, words: tuple[str, ...]) -> None:
    """A number beyond what a database counts to is a mistake of usage."""
    shown = newsletter(*words, code=2)
    assert "Invalid value" in shown.err
    newsletter(*("2" if word == "0" else str(2**63 - 1) if word == HUGE else word for word in words), code=None)


def run(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "newsletter", *arguments]
    return subprocess.run(command, capture_output=True, env={**os.environ, **environment}, check=False)


@pytest.mark.parametrize(
    "words",
    [
        ("items", "show", ODD),
        ("items", "add", "T", "--summary", "S", "--id", ODD),
        ("lists", "edit", "n", "--name", ODD),
        ("themes", "add", "aid", "--name", f"en={ODD}"),
        ("explain", "ana@example.org", ODD),
        ("subscribers", "show", f"{ODD}@example.org"),
        ("subscribers", "add", "ben@example.org", "--name", ODD),
    ],
    ids=lambda words: " ".join(words).encode("ascii", "replace").decode(),
)
def test_arguments_that_are_no_text(cli: CommandLine, words: tuple[str, ...]) -> None:
    """A byte that is not UTF-8 ends with a sentence, never with a traceback."""
    shown = cli(*words, code=1)
    assert shown.out == ""
    assert shown.err.startswith("Error:")


def test_files_whose_names_are_no_text(cli: CommandLine, tmp_path: Path) -> None:
    """The name of a file may be any bytes."""
    done = run(b"digest", b"preview", b"ana@example.org", b"-o", b"x\xff.html")
    assert done.returncode == 0, done.stderr
    assert [path for path in os.listdir(os.fsencode(tmp_path)) if path.startswith(b"x")] == [b"x\xff.html"]


def test_a_terminal_of_another_encoding(cli: CommandLine) -> None:
    """What a terminal cannot show is replaced; JSON stays whole."""
    done = run("explain", "ana@example.org", "1", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr
    assert b"yes outcome" in done.stdout
    assert b"? " not in done.stdout
    assert b"error" in run("doctor", "--dns", os.devnull, PYTHONIOENCODING="latin-1").stdout
    assert b'"A\\u00f1o"' in run("items", "list", "--json", PYTHONIOENCODING="ascii").stdout


@pytest.mark.parametrize("columns", ["", "abc", "0", "-5"])
def test_a_width_that_is_none(cli: CommandLine, columns: str) -> None:
    """A number of columns that is none counts as not said."""
    assert b"ana@example.org" in run("subscribers", "list", COLUMNS=columns).stdout


@pytest.mark.parametrize(
    "words", ["lists list", "lists list --json", "subscribers export", "explain ana@example.org 1"]
)
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_output_that_is_closed(cli: CommandLine, words: str, closed: str) -> None:
    """A command whose output was closed does its work and says nothing."""
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m newsletter {words} {closed}"], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_export_in_another_encoding(cli: CommandLine) -> None:
    """Names are exported whole whatever the terminal's encoding, as CSV and as JSON."""
    cli("subscribers", "edit", "ana@example.org", "--name", "Ana Ž محمد")
    done = run("subscribers", "export", PYTHONIOENCODING="latin-1")
    assert "Ana Ž محمد" in done.stdout.decode("utf-8")
    assert done.stdout == cli("subscribers", "export").raw
    as_json = run("subscribers", "export", "--json", PYTHONIOENCODING="latin-1")
    assert json.loads(as_json.stdout)[0]["name"] == "Ana Ž محمد"


def test_retry_of_what_is_not_there(cli: CommandLine) -> None:
    """A delivery or run that does not exist is called so."""
    assert "There is no delivery 999" in cli("deliveries", "retry", "999", code=1).err
    assert "There is no run 999" in cli("deliveries", "retry", "--run", "999", code=1).err


def test_preview_into_other_files(cli: CommandLine, tmp_path: Path) -> None:
    """A preview is no PDF; an ending that means nothing is refused before anything is written."""
    for name in ("x.pdf", "x"):
        shown = cli("digest", "preview", "ana@example.org", "-o", name, code=1)
        assert ".html, .txt or .eml" in shown.err
        assert not (tmp_path / name).exists()
    cli("digest", "preview", "ana@example.org", "-o", "x.HTM")


def test_no_browser(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no browser opens the preview says so, and where the file is."""
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    shown = cli("digest", "preview", "ana@example.org", "--open", code=1)
    assert "No browser" in shown.err
    assert ".html" in shown.err


@pytest.mark.parametrize("state", ["paused", "pending", "unsubscribed"])
def test_preview_for_who_gets_nothing(cli: CommandLine, state: str, tmp_path: Path) -> None:
    """Before what a reader would get it is said that nothing would go out, and why; output for scripts stays clean."""
    if state == "pending":
        cli("subscribers", "add", "ben@example.org", "-c", "GT", "--from-start")
    else:
        cli("subscribers", "add", "ben@example.org", "-c", "GT", "--from-start", "--confirmed")
        cli("subscribers", {"paused": "pause"}.get(state, "unsubscribe"), "ben@example.org", "--yes", code=None)
        cli("subscribers", {"paused": "pause"}.get(state, "unsubscribe"), "ben@example.org", code=None)
    word = {"pending": "is not confirmed yet"}.get(state, state)
    shown = cli("digest", "preview", "ben@example.org")
    assert shown.err.startswith("Nothing would go out now")
    assert word in shown.err
    assert shown.out.startswith("Subject: ")
    as_json = cli("digest", "preview", "ben@example.org", "--json")
    assert as_json.json["state"] == state
    assert as_json.err == ""
    cli("digest", "preview", "ben@example.org", "-o", "x.html")
    assert "Nothing would go out" not in (tmp_path / "x.html").read_text("utf-8")
    assert cli("digest", "preview", "ana@example.org").err == ""
    assert cli("digest", "preview", "ana@example.org", "--json").json["state"] == "active"


def test_preview_of_an_archived_list(cli: CommandLine) -> None:
    """An archived list sends nothing either."""
    cli("lists", "archive", "n", "--yes")
    assert "archived" in cli("digest", "preview", "ana@example.org", "--list", "n").err


def test_the_lead_of_a_printed_newsletter(cli: CommandLine, tmp_path: Path) -> None:
    """What stands first in print stands first in the digest."""
    lines = [line for number in range(1, 5) for line in (f"Story {number}", "Its summary.")]
    (tmp_path / "june.txt").write_text("\n".join(lines), "utf-8")
    cli("items", "import", "june.txt", "--date", "2026-06-30", "-c", "HN")
    cli("subscribers", "add", "eva@example.org", "-c", "HN", "--confirmed", "--from-start")
    shown = cli("digest", "preview", "eva@example.org").out
    assert [line for line in shown.splitlines() if line.startswith("Story")] == [f"Story {n}" for n in range(1, 5)]
