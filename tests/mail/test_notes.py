"""The editor's note: Markdown in, safe HTML and readable text out."""

from __future__ import annotations

import re
from html import unescape

import nh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.errors import InputError
from newsletter.mail.notes import LONGEST, check_note, note_html, note_text

NOTE = """Dear readers,

this week *three* things matter: [the report](https://e.example/a_b?x=1&y=2).

- first point, which is long enough to be wrapped over more than a single line
- second **one**
    1. nested

Write to <mailto:desk@e.example>."""


def test_note_as_html_and_text() -> None:
    """Paragraphs, emphasis, lists and links are there in both; blocks have their own margins, the cell's fonts."""
    html, text = note_html(NOTE), note_text(NOTE)
    assert "<em>three</em>" in html
    assert "<strong>one</strong>" in html
    assert 'href="https://e.example/a_b?x=1&amp;y=2"' in html
    assert all("margin" in tag for tag in re.findall(r"<(?:p|li)\b[^>]*>", html))
    assert text.split("\n\n") == [
        "Dear readers,",
        "this week three things matter: the report\n(https://e.example/a_b?x=1&y=2).",
        "- first point, which is long enough to be wrapped over more than a single\n  line",
        "- second one",
        "  1. nested",
        "Write to mailto:desk@e.example.",
    ]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (" \n ", "empty"),
        ("x" * (LONGEST + 1), "2001 characters"),
        ("a\x00b", "nobody can see"),
        ("a\u202eb", "nobody can see"),
        ("[x](/relative)", "leads nowhere"),
        ("[x](ftp://e.example)", "leads nowhere"),
    ],
)
def test_what_no_note_can_be(source: str, problem: str) -> None:
    """What would not work in a mail is refused with a sentence."""
    with pytest.raises(InputError, match=problem):
        check_note(source)


@pytest.mark.parametrize(
    "source",
    [
        "À savoir\u00a0: le guichet ferme à 18\u202fh.",
        "قراءنا الأعزاء، افتتح مكتب IOM\u200f (كورينتو)\u200f أمس.",
        "Gracias \U0001f468\u200d\U0001f469\u200d\U0001f467 a todos.",
        "می\u200cخواهیم",
    ],
)
def test_notes_of_any_script(source: str) -> None:
    """What parts, joins or directs characters as a language has it stays, in the HTML and in the plain text."""
    assert check_note(source) == source
    assert source in unescape(note_html(source))
    assert note_text(source) == source


HOSTILE = ("<script>alert(1)</script>", "[x](javascript:alert(1))", "![x](https://e.example/pixel.png)", "<img src=x>")
words = st.sampled_from(
    (*HOSTILE, "*a*", "**", "[", "](https://e.example)", "- ", "1. ", "\n", "\n\n", "&amp;", "é", "`")
)


@given(st.lists(words | st.text(max_size=8), max_size=12).map("".join))
def test_any_note_is_safe(source: str) -> None:
    """Whatever is written, the HTML holds nothing but text, emphasis, lists and links to the web or a mail."""
    try:
        source = check_note(source)
    except InputError:
        return
    html = note_html(source)
    tags = {"p", "em", "strong", "a", "ul", "ol", "li", "br"}
    attributes = {tag: {"class", "style", "href", "start"} for tag in tags}
    again = nh3.clean(html, tags=tags, attributes=attributes, link_rel=None, url_schemes={"http", "https", "mailto"})
    assert len(re.findall("<[a-z]", again)) == len(re.findall("<[a-z]", html))
    assert "<script" not in html
    note_text(source)
