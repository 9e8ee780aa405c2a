"""Hostile HTML on its way in."""

from __future__ import annotations

import html
import re
import time

import nh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.catalogue.cleaning import BODY_TAGS, clean_html, has_controls, one_line, plain_text
from newsletter.catalogue.nesting import DEEPEST, well_nested


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<p>One</p><p>Two &amp; three</p>", "One\n\nTwo & three"),
        ("One<br>two", "One two"),
        ("a < b and c > d", "a < b and c > d"),
        ("<script>alert(1)</script>Safe", "Safe"),
        ("Fish &amp; chips &lt;b&gt;", "Fish & chips <b>"),
        ("a\x00b\x1bc", "abc"),
        *((f"One{end}two", "One two") for end in "\x0b\x0c\x85\u2028\u2029"),
        ("One&#x2028;two", "One two"),
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


def test_line_ends_part_words_of_a_body() -> None:
    """What ends a line in word processors and in Unicode does not make one word of two."""
    assert clean_html("<p>one\u2028two\x0bthree</p>").split() == ["<p>one", "two", "three</p>"]


@pytest.mark.parametrize("character", ["\x0b", "\x1b", "\x7f", "\u2028", "\ufeff"])
def test_entities_bring_no_controls(character: str) -> None:
    """A control character that a body writes as an entity is not kept, and hides no scheme of a link."""
    body = clean_html(f"<p>one&#{ord(character)};two <a href='java&#{ord(character)};script:alert(1)'>three</a>")
    assert "href" not in body
    assert not has_controls(body)


@given(st.text(max_size=300))
def test_any_text_is_safe_to_keep(source: str) -> None:
    """Nothing that breaks a line, a header or a page is left of any text; cleaning twice changes nothing."""
    title = one_line(source)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", title)
    assert title == " ".join(title.split())
    assert clean_html(clean_html(source)) == clean_html(source)


@pytest.mark.parametrize(
    "source",
    [
        *("<" + " " * 500_000 + "x", "<p" * 100_000, "<br " * 100_000, "\n" * 500_000, "<!--" * 100_000),
        # Deep, and seemingly not deep.
        *("<ul><li>" * 60_000, "<h2>" * 100_000, "<span>" * 40_000 + "</q>" * 60_000, "<svg><ul>" * 50_000),
        *(
            "<ul><!--</ul>-->" * 30_000,
            "<ul><title></ul></title>" * 20_000,
            "<ul x='</ul>'>" * 30_000,
            "<<x>ul>" * 50_000,
        ),
        "".join(f"<p><b id={n}>" for n in range(30_000)),
        # What parsers move, and what they compare.
        "<table>" + "x<br>" * 100_000,
        "<a " + " ".join(f"a{n}" for n in range(60_000)) + ">",
    ],
)
def test_time_grows_with_length(source: str) -> None:
    """Half a million characters are read at once, whatever they are: by the square of them it would take hours."""
    begun = time.perf_counter()
    assert len(plain_text(source)) < len(source)
    clean_html(source)
    assert time.perf_counter() - begun < 8


def test_what_is_nested_too_deep() -> None:
    """Of tags within a hundred others only the tags are lost, and no two words become one."""
    deep = "".join(f"<blockquote><p>{n}</p>" for n in range(300))
    cleaned = clean_html(f"{deep}<script>x</script>")
    assert plain_text(cleaned).split() == [str(n) for n in range(300)]
    assert cleaned.startswith("<blockquote><p>0</p><blockquote><p>1</p>")
    assert cleaned.count("<blockquote>") == DEEPEST
    assert clean_html(cleaned) == cleaned


@pytest.mark.parametrize(
    "source",
    [
        "<p>One <b>of <i>two</i></b><br>lines &amp; <a href='x' title=\"a>b\">more</a></p><hr><h2>Two</h2>a &lt; b",
        "<ul><li><p>a</p><p>b</p><ol><li>c</li></ol></li><li>d</li></ul><blockquote><p>e</p></blockquote>",
        "<table><thead><tr><th>a</th></tr></thead><tbody><tr><td><ul><li>b</li></ul></td></tr></tbody></table>",
    ],
)
def test_good_order_stays(source: str) -> None:
    """HTML in good order is left as it is."""
    assert well_nested(source, BODY_TAGS) == source


@pytest.mark.parametrize(
    ("source", "mended"),
    [
        ("<p>a<p>b<ul><li>c<li>d</ul>e", "<p>a</p><p>b</p><ul><li>c</li><li>d</li></ul>e"),
        ("<table><tr><th>a<td>b<tr><td>c</table>", "<table><tr><th>a</th><td>b</td></tr><tr><td>c</td></tr></table>"),
        ("<p>a<div>b</div><b><i>c</b>d</i>", "<p>a</p>b <b><i>c</i></b>d"),
        ("a</p>b</i>c", "a bc"),
        ("a < b<<x>p>", "a &lt; b&lt;p>"),
        ("a<!-- <p> --->b<style>c</STYLE >d<![CDATA[e]]>f<o:p>g</o:p>", "abdfg"),
    ],
)
def test_tags_left_open(source: str, mended: str) -> None:
    """Paragraphs, points, rows and cells end where the next begins; the rest ends with what holds it."""
    assert well_nested(source, BODY_TAGS) == mended


soup = st.lists(
    st.sampled_from(
        [
            *("<b>", "</b>", "<i>", "</i >", "<a x='", "</a>", '<u x="', "</u/>", "<o:p>", "<style>", "</style >"),
            *("<", "</", "/", "=", "'", '"', ">", "w", " ", "&lt;", "&amp"),
            *("<!", "<?", "<!--", "-->", "<!-->", "<!--->", "--!>"),
        ]
    ),
    max_size=30,
).map("".join)


@given(soup)
def test_tags_are_found_as_a_parser_finds_them(source: str) -> None:
    """Whatever comes, what is text to a parser is text here: no tag can hide among quotes, comments or signs."""
    assert html.unescape(well_nested(source, set())) == html.unescape(nh3.clean(source, tags=set()))
    cleaned = clean_html(source)
    assert clean_html(cleaned) == cleaned
