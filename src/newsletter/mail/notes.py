"""An editor's note above a digest: Markdown (CommonMark) as HTML for mails, and as plain text. Pure.

Paragraphs, emphasis, lists and links are all there is: headings are the digest's own, and pictures would be fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from newsletter.controls import CONTROL
from newsletter.errors import InputError
from newsletter.mail.inlining import run_premailer, split_rules
from newsletter.mail.look import PLAIN, Look
from newsletter.mail.templates import STYLE, source_of, wrapped

LONGEST = 2000
"""Characters of a note: longer ones belong on a page that it links to."""
SCHEMES = ("https://", "http://", "mailto:")
CLASSES = {
    "bullet_list_open": "points",
    "ordered_list_open": "points",
    "list_item_open": "point",
    "link_open": "link",
}

_MARKDOWN = MarkdownIt("zero").enable(["emphasis", "link", "autolink", "list", "escape", "entity", "newline"])


def check_note(source: str) -> str:
    """A note as it is kept.

    Raises:
        InputError: it is empty or too long, or a link in it leads nowhere from a mail.
    """
    source = source.replace("\r\n", "\n").strip()
    if not source:
        raise InputError("The note is empty.")
    if len(source) > LONGEST:
        raise InputError(f"The note has {len(source)} characters; {LONGEST} fit.", "Link to a page that says the rest.")
    if CONTROL.search(source.replace("\n", "").replace("\t", "")):
        raise InputError("The note has characters that nobody can see.", "Save it as plain UTF-8 text.")
    for token in _inline(_MARKDOWN.parse(source)):
        if token.type == "link_open" and not str(token.attrs["href"]).lower().startswith(SCHEMES):
            raise InputError(f"The link to {token.attrs['href']} leads nowhere from a mail.", "Begin it with https://.")
    return source


@lru_cache(maxsize=64)
def note_html(source: str, look: Look = PLAIN) -> Markup:
    """The note as HTML with the look's styles inlined; whatever HTML stands in it is text."""
    tokens = _MARKDOWN.parse(source)
    for token in [*tokens, *_inline(tokens)]:
        if token.type in CLASSES:
            token.attrSet("class", CLASSES[token.type])
    body = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    rules, _ = split_rules(look.dressed(source_of(STYLE, look)))
    inlined = run_premailer(f"<html><body>{body}</body></html>", rules)
    return Markup(inlined.partition("<body>")[2].rpartition("</body>")[0].strip())  # noqa: S704 - rendered with HTML off


@lru_cache(maxsize=64)
def note_text(source: str) -> str:
    """The note in plain text, wrapped; each link's address stands behind its words."""
    blocks: list[str] = []
    marks: list[Iterator[str]] = []
    mark = ""
    for token in _MARKDOWN.parse(source):
        if token.type == "bullet_list_open":
            marks.append(iter(lambda: "- ", None))
        elif token.type == "ordered_list_open":
            start = int(token.attrs.get("start", 1))
            marks.append(f"{number}. " for number in range(start, start + LONGEST))
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            marks.pop()
            mark = ""
        elif token.type == "list_item_open":
            mark = "  " * (len(marks) - 1) + next(marks[-1])
        elif token.type == "inline":
            lines = [wrapped(line) for line in _words(token.children or []).split("\n")]
            blocks.append(mark + ("\n" + " " * len(mark)).join("\n".join(lines).split("\n")))
            mark = " " * len(mark) if marks else ""
    return "\n\n".join(blocks)


def _inline(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from token.children or ()


def _words(tokens: list[Token]) -> str:
    found: list[str] = []
    href, label = "", 0
    for token in tokens:
        if token.type == "link_open":
            href, label = str(token.attrs["href"]), len(found)
        elif token.type == "link_close":
            if "".join(found[label:]) not in (href, href.removeprefix("mailto:")):
                found.append(f" ({href})")
        elif token.type in ("softbreak", "hardbreak"):
            found.append(" " if token.type == "softbreak" else "\n")
        else:
            found.append(token.content)
    return "".join(found)
