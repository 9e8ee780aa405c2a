"""Tables and sentences as a terminal shows them: what is cut is said, what one copies stays whole."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from commanding import CommandLine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from newsletter.cli import output
from newsletter.cli.demo import looking_around
from newsletter.cli.setup import NEXT


@pytest.fixture
def cli(newsletter: CommandLine) -> CommandLine:
    """With a list, 51 items, two readers, two runs."""
    newsletter("lists", "create", "n", "--name", "N", "--sender-email", "n@e.example", "--postal-address", "1 St")
    Path("a.jsonl").write_text("\n".join(json.dumps({"title": f"T{n}", "summary": "S"}) for n in range(51)))
    newsletter("items", "import", "a.jsonl")
    for name in ("ana", "ben"):
        newsletter("subscribers", "add", f"{name}@example.org", "--confirmed")
        newsletter("runs", "start", "n", "--yes")
    return newsletter


@pytest.mark.parametrize(("noun", "there"), [("subscribers", 2), ("items", 51), ("runs", 2)])
def test_what_a_limit_cuts_off(cli: CommandLine, noun: str, there: int) -> None:
    """A table says that there is more than it shows; JSON has all unless a limit is given."""
    shown = cli(noun, "list", "--limit", "1")
    assert shown.err == "There are more than these 1; --limit shows them.\n"
    assert len(shown.out.splitlines()) == 2
    assert len(cli(noun, "list", "--json", "--limit", "1").json) == 1
    assert len(cli(noun, "list", "--json").json) == there
    assert cli(noun, "list", "--limit", str(there)).err == ""


def test_a_limit_that_nobody_gave(cli: CommandLine) -> None:
    """Fifty rows are shown unless a limit is given."""
    assert cli("items", "list").err.startswith("There are more than these 50")


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    for console in (output.console, output.errors):
        monkeypatch.setattr(console, "_force_terminal", True)
        monkeypatch.setattr(console, "_color_system", None)
        monkeypatch.setattr(console, "_width", 80)


@pytest.mark.usefixtures("narrow")
def test_commands_to_copy(newsletter: CommandLine) -> None:
    """A command that one is to type next is one line, however narrow the terminal: a shell runs each line by itself."""
    told = newsletter("init").out.partition("Next:\n")[2]
    assert told.splitlines() == [f"  {command}" for command in (*NEXT, "newsletter up")]
    assert max(map(len, NEXT)) > 80


def test_looking_around_after_the_demo() -> None:
    """What the demo says to type is one command, also in a folder whose name has a space."""
    home, command, *rest = shlex.split(looking_around(Path("/home/ana/my news/demo")))
    assert home == "NEWSLETTER_HOME=/home/ana/my news/demo"
    assert Path(command).name == "newsletter"
    assert rest == ["deliveries", "list"]


LONG = "aicha.benali2.of-the-north-eastern-border@example.net"


@pytest.mark.usefixtures("narrow")
def test_what_one_copies_stays_whole(cli: CommandLine) -> None:
    """On 80 columns an address, a slug or a zone is not parted, and no line is longer."""
    cli("themes", "add", "counter-trafficking", "--name", "en=Counter-trafficking")
    cli("subscribers", "add", LONG, "-t", "counter-trafficking", "--timezone", "America/Guatemala", "--confirmed")
    shown = cli("subscribers", "list").out
    for word in (LONG, "counter-trafficking", "America/Guatemala", "ana@example.org"):
        assert word in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.usefixtures("narrow")
@given(
    rows=st.lists(
        st.tuples(*[st.lists(st.text("aé國", min_size=1, max_size=12), max_size=5).map(" ".join)] * 4),
        min_size=1,
        max_size=4,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_fit(rows: list[tuple[str, ...]]) -> None:
    """Whatever stands in a table, no line is longer than the terminal is wide, and no word is parted."""
    with output.console.capture() as captured:
        output.table(("a", "b", "c", "d"), rows, "none")
    assert max(map(cell_len, captured.get().splitlines())) <= 80
    assert Counter(word for row in rows for cell in row for word in cell.split()) <= Counter(captured.get().split())


@pytest.mark.usefixtures("narrow")
def test_prose_is_parted_between_words(cli: CommandLine) -> None:
    """In a table and in sentences a line ends between words."""
    words = "Los municipios fronterizos abren ventanillas compartidas para solicitudes de protección internacional"
    cli("items", "add", words, "--summary", "S", "--id", "x")
    shown = cli("items", "list", "--limit", "1").out
    assert set(words.split()) <= set(shown.split())
    told = cli("explain", "ana@example.org", "x").out
    assert max(map(len, told.splitlines())) <= 80
    unparted = [line for line in cli("explain", "ana@example.org", "x", "--json").out.splitlines() if "why" in line]
    for sentence in unparted:
        assert set(json.loads("{" + sentence.strip() + "}")["why"].split()) <= set(told.split())


@pytest.mark.usefixtures("narrow")
def test_lines_below_a_sentence(cli: CommandLine) -> None:
    """What a finding means is indented as far as it goes; the record to add is one line, which can be copied."""
    Path("zone").write_text("")
    lines = cli("doctor", "--dns", "zone", code=1).out.splitlines()
    (record,) = [line for line in lines if line.startswith("    _dmarc.e.example.")]
    assert record.endswith('rua=mailto:dmarc@e.example"')
    for begins, after in pairwise(lines):
        if begins.startswith("    ") and after:
            assert after.startswith(("    ", "✓", "!", "✗"))


@pytest.mark.usefixtures("narrow")
def test_a_long_word_in_a_sentence(cli: CommandLine) -> None:
    """An address of a page is longer than the terminal, and stays whole."""
    url = "https://e.example/" + "a" * 100
    assert f"{url}" in cli("explain", "ana@example.org", url, code=1).err.replace("'", "")


@pytest.mark.parametrize("width", [20, 80, 120])
def test_tables_for_other_programs(cli: CommandLine, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Out of a pipe come tables whose words are whole, however wide."""
    monkeypatch.setattr(output.console, "_width", width)
    cli("subscribers", "add", LONG, "--timezone", "America/Guatemala", "--confirmed")
    (line,) = [line for line in cli("subscribers", "list").out.splitlines() if LONG in line]
    assert "America/Guatemala" in cli("subscribers", "list").out
    assert "active" in line
