"""Hostile HTML on its way in."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.catalogue.cleaning import clean_html, one_line, plain_text


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<p>One</p><p>Two &amp; three</p>", "One\n\nTwo & three"),
        ("One<br>two", "One two"),
        ("a < b and c > d", "a < b and c > d"),
        ("<script>alert(1)</script>Safe", "Safe"),
        ("Fish &amp; chips &lt;b&gt;", "Fish & chips <b>"),
        ("a\x00b\x1bc", "abc"),
        ("  many   spaces\r\n\r\n\r\nand lines ", "many spaces\n\nand lines"),
        ("", ""),
    ],
)
def test_plain_text(source: str, expected: str) -> None:
    """HTML becomes the words a reader would see, in paragraphs."""
    assert plain_text(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<a href='javascript:alert(1)'>x</a>",
        "<iframe src='https://evil.example'></iframe>",
        "<p style='background:url(https://evil.example/pixel)'>x</p>",
        "<svg><script>alert(1)</script></svg>",
        "<form action='https://evil.example'><input name=q></form>",
        "<link rel=stylesheet href=//evil.example>",
        "<a href='data:text/html,x'>x</a>",
        "<math><mtext><style><img src=x onerror=alert(1)></style></mtext></math>",
    ],
)
def test_nothing_runs_loads_or_tracks(source: str) -> None:
    """A cleaned body has no script, image, frame, form, style or handler, and no link but http, https, mailto."""
    cleaned = clean_html(source).lower()
    assert not re.search(
        r"<(script|img|iframe|svg|form|input|link|style|math)|on\w+=|style=|javascript:|data:", cleaned
    )


@given(st.text(max_size=300))
def test_any_text_is_safe_to_keep(source: str) -> None:
    """Nothing that breaks a line, a header or a page is left of any text; cleaning twice changes nothing."""
    title = one_line(source)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", title)
    assert title == " ".join(title.split())
    assert clean_html(clean_html(source)) == clean_html(source)


@pytest.mark.parametrize("source", ["<" + " " * 500_000 + "x", "<p" * 100_000, "<br " * 100_000, "\n" * 500_000])
def test_time_grows_with_length(source: str) -> None:
    """Half a million characters are read at once, whatever they are: by the square of them it would take hours."""
    assert len(plain_text(source)) < len(source)
