"""Tables and sentences as a terminal shows them: what is cut is said, what one copies stays whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commanding import CommandLine


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
