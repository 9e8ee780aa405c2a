"""Tags of HTML from outside, put in order before it is parsed: each that is opened is closed, and none too deep. Pure.

A parser of HTML takes time by the square of how deep tags are nested, and of some of the disorder that it mends.
"""

from __future__ import annotations

import re
from collections.abc import Set

BLOCKS = (
    *("p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "table", "tr"),
    *("section", "article", "hr"),
)
"""Tags that stand on lines of their own, and end a paragraph that was left open."""
DEEPEST = 100
LONGEST_TAG = 5000
"""Of more characters, attributes are left out: each is compared with all others."""
_BARE = {"br", "hr"}
_ROWS = {"table", "thead", "tbody", "tr"}
_PARTS = {"thead", "tbody", "tr", "th", "td"}
_HOLDERS = {"ul", "ol", "table", "blockquote"}
# What a tag closes where it was left open, up to the list, table or quotation that holds both.
_CLOSES = {name: {"p"} for name in BLOCKS} | {
    "li": {"p", "li"},
    "thead": {"thead", "tbody", "tr"},
    "tbody": {"thead", "tbody", "tr"},
    "tr": {"tr"},
    "td": {"td", "th"},
    "th": {"td", "th"},
}

# As the standard of HTML parts tags from text, so that a parser finds the tags that are found here, and no others.
# Each branch takes all it can and never looks again: time grows with length.
_MARKUP = re.compile(
    r"""
      <!--(?:-?>|.*?(?:--!?>|\Z))
    | <(?P<unread>script|style)(?=[\s/>]).*?(?:</(?P=unread)(?=[\s/>])[^>]*+(?:>|\Z)|\Z)
    | <(?P<end>/?)(?P<name>[a-z][^\s/>]*+)
      (?:[\s/]++|[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^\s>"'][^\s>]*+)?+)?+)*+(?:>|\Z)
    | <(?:[!?]|/(?!\Z))[^>]*+(?:>|\Z)
    """,
    re.ASCII | re.DOTALL | re.IGNORECASE | re.VERBOSE,
)


def well_nested(source: str, tags: Set[str]) -> str:
    """HTML with no tags but these, at most ``DEEPEST`` one within another, each closed before what holds it.

    Comments, scripts and styles are left out. All other text stays, also that of tags that go.
    """
    parts: list[str] = []
    opened: list[str] = []
    place = 0

    def close(first: int) -> None:
        parts.extend(f"</{name}>" for name in reversed(opened[first:]))
        del opened[first:]

    for found in _MARKUP.finditer(source):
        # Where a tag goes that parted it from a name, a bare < would become a tag.
        parts.append(source[place : found.start()].replace("<", "&lt;"))
        place = found.end()
        name = (found["name"] or "").lower()
        if found["end"] and name != "br":  # which people write for <br>, and parsers read so
            if name in opened:
                close(len(opened) - 1 - opened[::-1].index(name))
            elif name in BLOCKS:
                parts.append(" ")  # it parts words all the same
            continue
        if left := _CLOSES.get(name):
            held = 1 + max((n for n, one in enumerate(opened) if one in _HOLDERS), default=-1)
            close(next((n for n in range(held, len(opened)) if opened[n] in left), len(opened)))
        if name not in tags:
            continue
        # A parser moves what stands between the rows of a table, each piece past all the others.
        is_astray = (name in _PARTS) != (bool(opened) and opened[-1] in _ROWS)
        if is_astray or len(opened) == DEEPEST:
            parts.append(" ")
            continue
        if name not in _BARE:
            opened.append(name)
        parts.append(found[0] if len(found[0]) <= LONGEST_TAG else f"<{name}>")
    parts.append(source[place:].replace("<", "&lt;"))
    return "".join(parts)
