"""The docs say what is true: commands are run, names and links exist."""

from __future__ import annotations

import re
import shlex

import pytest
from commanding import CHECKOUT, CommandLine

PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")])


def test_readme_commands(newsletter: CommandLine) -> None:
    """The commands under "A list of your own" work one after the other, as they stand."""
    (block,) = re.findall(r"```sh\n(.*?)```", (CHECKOUT / "README.md").read_text("utf-8"), re.DOTALL)
    lines = [shlex.split(line) for line in block.splitlines()]
    assert lines[-1] == ["newsletter", "up"]
    shown = [newsletter(*words[1:]).out for words in lines[:-1]]
    assert "Corinto crossing" in shown[-2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page) -> None:
    """Every link to a file, and every path of the project that is named, exists."""
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(r"`((?:tests|docs|src|scripts|bench)/[\w/.-]+)`", text):
        assert (CHECKOUT / path).exists(), path


def test_make_targets_that_are_named() -> None:
    """Every `make` target that a page names is there and explained."""
    makefile = (CHECKOUT / "Makefile").read_text("utf-8")
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)", page.read_text("utf-8")):
            assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), target
