"""CSS inlined into a Jinja template, once, when it is loaded.

premailer reads HTML, not Jinja: each tag is replaced by a placeholder fit for its place (a comment or a word
in text, a word in an attribute's value, an attribute between attributes), and put back afterwards. What would
make the result differ from render-then-inline is refused.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field

import cssutils
from jinja2 import Environment

from newsletter.errors import NewsletterError

# What decides by class alone does the same before and after rendering; what looks at neighbours does not.
STRUCTURAL = re.compile(r"[+~>:\[#*]|\S\s+\S")
INLINE = re.compile(r"""(<[a-z][^<>]*?\sstyle=)("[^"<>]*"|'[^'<>]*')""", re.IGNORECASE)
SPACED = re.compile(r"""(?<=[ :,])("[^"]*"|'[^']*')|\s*([:;,])\s*""")
"""Space around the marks of a style, but not inside the quoted name of a font."""
PLACEHOLDER = re.compile(r'<!--zj(\d+)jz-->|zj(\d+)jz|data-zj(\d+)jz=""', re.ASCII)

UNREADABLE = "It is no HTML that styles can be inlined into"


class TemplateError(NewsletterError):
    """A template or stylesheet that cannot be inlined truthfully."""


def inline(source: str, css: str) -> str:
    """``source`` with the plain rules of ``css`` as style attributes and its @-rules at ``[[styles]]``.

    Raises:
        TemplateError: Jinja stands inside class, id or style, a selector is structural, or a tag got lost.
    """
    rules, kept = split_rules(css)
    protected = _Protected()
    marked = protected.protect(source)
    styles = f'<style data-premailer="ignore">{_tight(kept)}</style>' if kept else ""
    marked = marked.replace("[[styles]]", styles)
    return protected.restore(run_premailer(marked, rules))


def run_premailer(html: str, rules: str) -> str:
    """premailer as we want it: no network, attributes kept, the doctype put back.

    Raises:
        TemplateError: it cannot read the HTML or the rules.
    """
    # It imports `requests`, which every command would wait for.
    from premailer import Premailer

    # An @import would be fetched even without network (premailer leaves that to cssutils).
    cssutils.ser.prefs.useDefaults()
    try:
        inlined = Premailer(
            html,
            css_text=rules,
            remove_classes=False,
            strip_important=False,
            allow_network=False,
            allow_loading_external_files=False,
            disable_basic_attributes=["width", "height", "bgcolor"],
            disable_validation=True,
            cssutils_logging_level=logging.CRITICAL,
        ).transform()
    except Exception as error:
        # Of HTML without a body, a NUL and the like it and lxml raise whatever they stumble over.
        raise TemplateError(f"{UNREADABLE}: {type(error).__name__}: {error}") from error
    body = re.sub(r"^\s*<!doctype[^>]*>\s*", "", inlined, flags=re.IGNORECASE)
    # A digest of thirty items has some 250 of them.
    body = INLINE.sub(lambda style: style[1] + SPACED.sub(lambda mark: mark[1] or mark[2], style[2]), body)
    return f"<!DOCTYPE html>\n{body}\n"


def split_rules(css: str) -> tuple[str, str]:
    """The plain rules of a stylesheet, and its @-rules, which have to stay a stylesheet.

    Raises:
        TemplateError: an @import or @charset, which mail readers drop, or a structural selector.
    """
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    plain: list[str] = []
    kept: list[str] = []
    depth = start = 0
    for at, character in enumerate(css):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0 and character == ";":
            raise TemplateError(f"The stylesheet has {css[start:at].strip()!r} outside a rule.")
        if depth == 0 and character == "}":
            rule = css[start : at + 1].strip()
            (kept if rule.startswith("@") else plain).append(rule)
            start = at + 1
    for rule in plain:
        for selector in rule.partition("{")[0].split(","):
            if STRUCTURAL.search(selector.strip()):
                raise TemplateError(f"The selector {selector.strip()!r} would decide before rendering.")
    return "\n".join(plain), "\n".join(kept)


def _tight(css: str) -> str:
    return re.sub(r"\s*([{};,])\s*", r"\1", re.sub(r"\s+", " ", css)).strip()


@dataclass
class _Protected:
    """A template's tags while premailer works on the HTML around them."""

    tags: list[str] = field(default_factory=list)

    def protect(self, source: str) -> str:
        """``source`` with placeholders for its Jinja tags."""
        place = _Place()
        parts = []
        for is_tag, text in _split(source):
            if not is_tag:
                place.read(text)
                parts.append(text)
                continue
            number = len(self.tags)
            self.tags.append(text)
            parts.append(place.placeholder(number, text))
        return "".join(parts)

    def restore(self, html: str) -> str:
        """``html`` with the tags back; each must be there once, in its old order."""
        found = []

        def tag(match: re.Match[str]) -> str:
            number = int(next(group for group in match.groups() if group))
            found.append(number)
            return self.tags[number]

        restored = PLACEHOLDER.sub(tag, html)
        if found != list(range(len(self.tags))):
            lost = sorted(set(range(len(self.tags))) - set(found))
            which = self.tags[lost[0]] if lost else "a tag"
            raise TemplateError(f"Inlining lost or moved {which}: it stands where HTML allows none.")
        return restored


def _split(source: str) -> list[tuple[bool, str]]:
    """The pieces of a template: whether it is a Jinja tag, and its text."""
    pieces: list[tuple[bool, str]] = []
    tag = ""
    for _, kind, text in Environment(autoescape=True).lex(source):
        if kind == "data":
            pieces.append((False, text))
            continue
        tag += text
        if kind in ("block_end", "variable_end", "comment_end"):
            pieces.append((True, tag))
            tag = ""
    return pieces


class _Place:
    """Where in the HTML we are: in text, in a tag between attributes, in a value, in a comment."""

    def __init__(self) -> None:
        self._quote = ""
        self._in_tag = False
        self._attribute = ""
        self._tail = ""

    def read(self, text: str) -> None:
        """Go on through a piece of plain HTML."""
        for character in text:
            self._tail = (self._tail + character)[-40:]
            if self._quote:
                if character == self._quote:
                    self._quote = ""
            elif self._in_tag:
                if character == ">":
                    self._in_tag = False
                elif character in "\"'":
                    self._quote = character
                    name = re.search(r"([\w-]+)\s*=\s*.$", self._tail)
                    self._attribute = name[1].lower() if name else ""
            elif character == "<":
                self._in_tag = True

    def placeholder(self, number: int, tag: str) -> str:
        """What stands for a tag here."""
        if self._quote:
            if self._attribute in ("class", "id", "style"):
                raise TemplateError(f"{tag} stands inside {self._attribute}=, which premailer must read.")
            return f"zj{number}jz"
        if self._in_tag:
            return f' data-zj{number}jz="" '
        return f"zj{number}jz" if tag.startswith("{{") else f"<!--zj{number}jz-->"
