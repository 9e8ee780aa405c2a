"""Text and HTML from outside, made safe to keep. Pure."""

from __future__ import annotations

import html
import re

import nh3

from newsletter.catalogue.nesting import BLOCKS, well_nested

# Whatever is not for reading: no images (they track), no forms, no styles.
BODY_TAGS = {
    *("p", "br", "h2", "h3", "h4", "ul", "ol", "li", "blockquote", "strong", "b", "em", "i", "a"),
    *("table", "thead", "tbody", "tr", "th", "td", "hr", "sup", "sub"),
}
# Whatever comes, they need time in proportion to its length: no two parts of them can take the same character.
_BREAK = re.compile(r"<\s*br\b[^<>]*>", re.IGNORECASE)
_BLOCK = re.compile(rf"<\s*(?:/\s*)?(?:{'|'.join(BLOCKS)})\b[^<>]*>", re.IGNORECASE)
_LINE_END = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def has_controls(text: str) -> bool:
    """Whether a text holds what no database, page or mail can carry: control characters, halves of characters."""
    return _CONTROL.search(text) is not None


def _printable(text: str) -> str:
    """A text without control characters; what ended a line anywhere still does, so that no two words become one."""
    return _CONTROL.sub("", _LINE_END.sub("\n", text))


def clean_html(source: str) -> str:
    """HTML that cannot run, load or track anything; links keep http, https and mailto targets."""
    cleaned = _sanitized(source)
    # Entities may have hidden control characters from the first pass, and these a scheme.
    return _sanitized(cleaned) if has_controls(cleaned) else cleaned


def _sanitized(source: str) -> str:
    return nh3.clean(
        well_nested(_printable(source), BODY_TAGS),
        tags=BODY_TAGS,
        attributes={"a": {"href", "title"}, "th": {"scope"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener nofollow",
    ).strip()


def plain_text(source: str) -> str:
    """The words of a text or HTML fragment: paragraphs parted by a blank line, entities read.

    What only looks like a tag (``a < b``) stays as it is.
    """
    marked = _BLOCK.sub("\n\n", _BREAK.sub("\n", _printable(source)))
    # Entities may have hidden control characters from the first pass.
    words = _printable(html.unescape(well_nested(marked, set())))
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", words))
    return "\n\n".join(part for part in paragraphs if part)


def one_line(source: str) -> str:
    """``plain_text`` on one line: titles and names."""
    return " ".join(plain_text(source).split())
