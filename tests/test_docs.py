"""The docs say what is true: commands are run, names and links exist."""

from __future__ import annotations

import re
import shlex

import pytest
from commanding import CHECKOUT, CommandLine

from newsletter.mail.look import PLAIN
from newsletter.mail.samples import preheader_values, sample_masthead, sample_values, subject_values
from newsletter.mail.templates import KINDS

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


def test_values_of_templates() -> None:
    """docs/templates.md names every value that templates have, and has each where it says that it is."""
    masthead = sample_masthead(PLAIN)
    there = {
        (kind, part): set(values(kind, masthead))
        for kind in KINDS
        for part, values in (("subject", subject_values), ("preheader", preheader_values), ("body", sample_values))
    }
    notices = {place for place in there if place[0] != "digest"}
    bodies = {place for place in there if place[1] == "body"}
    digest = {part: {("digest", part)} for part in ("subject", "preheader", "body")}
    places = {
        "all but the digest's subject": there.keys() - digest["subject"],
        "all but the digest's subject and preheader": there.keys() - digest["subject"] - digest["preheader"],
        "bodies, bases (`subject`: preheaders, too)": bodies,
        "bodies, bases": bodies,
        "notices": notices & bodies,
        "digest": digest["body"],
        "the digest's subject and preheader": digest["subject"] | digest["preheader"],
        "the digest's preheader": digest["preheader"],
        "digest, its preheader": digest["body"] | digest["preheader"],
        **{
            kinds: bodies & {(kind, "body") for kind in kinds.split(", ")}
            for kinds in ("welcome, run_held", "run_held, run_done", "run_done")
        },
    }
    page = (
        (CHECKOUT / "docs" / "templates.md").read_text("utf-8").partition("## Values")[2].partition("\nA card has")[0]
    )
    named = set()
    for cells in re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", page, re.MULTILINE):
        for name in re.findall(r"`(\w+)", cells[0]):
            named.add(name)
            assert [place for place in places[cells[1]] if name not in there[place]] == [], name
    assert set().union(*there.values()) - named == set()
