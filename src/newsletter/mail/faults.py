"""What keeps template files of a list's own from being used: where, and what to write instead."""

from __future__ import annotations

import html as markup
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import Template, TemplateSyntaxError, meta, nodes

from newsletter.errors import NewsletterError
from newsletter.languages import LANGUAGES
from newsletter.mail.inlining import UNREADABLE, TemplateError
from newsletter.mail.letter import Masthead
from newsletter.mail.look import Look
from newsletter.mail.program import Values
from newsletter.mail.samples import (
    ACTION,
    ASKING,
    ITEMS,
    LEAVE,
    first_url,
    parts_of,
    preheader_values,
    sample_masthead,
    sample_message,
    sample_values,
    subject_values,
)
from newsletter.mail.templates import FILES, LEAVABLE, STYLE, environment, flat_source, html_source, source_of


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong in a template file; ``line`` is 0 if it is nowhere in particular. A ``warning`` may stay."""

    file: str
    line: int
    found: str
    mend: str = ""
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.found}"

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}, line {self.line}" if self.line else self.file


def breaks(kind: str, look: Look) -> list[Fault]:
    """Why the templates of a kind cannot be used, in this look; empty if they can.

    They are used if Jinja can render them, the styles can be inlined, and each mail names the postal address and, if
    there is something to leave, the way to leave it.
    """
    found = dict.fromkeys(fault for language in LANGUAGES for fault in _breaks(kind, sample_masthead(look, language)))
    return list(found)


def _breaks(kind: str, masthead: Masthead) -> list[Fault]:
    look = masthead.look
    try:
        values = sample_values(kind, masthead)
        found = [
            *_jinja(kind, f"{kind}/subject.txt", look, subject_values(kind, masthead)),
            *_jinja(kind, f"{kind}/preheader.txt", look, preheader_values(kind, masthead)),
            *_jinja(kind, "txt", look, values),
            *_jinja(kind, "html", look, values),
        ]
        return found or [*_inlining(kind, look)] or [*_required(kind, masthead)]
    except TemplateError as error:
        return [_misfit(error, kind, look)]
    except NewsletterError as error:
        return [Fault(kind, 0, error.message, error.hint)]


def _jinja(kind: str, part: str, look: Look, values: Values) -> Iterator[Fault]:
    """Errors of Jinja in a subject, or in the ``txt`` or ``html`` of a kind with the base around it."""
    try:
        source = source_of(part, look) if "/" in part else flat_source(kind, part, look)
    except TemplateError as error:
        yield _misfit(error, kind, look)
        return
    try:
        template, needed = _compiled(source, part == "html", bool(look.files))
        unknown = sorted(needed.keys() - values.keys())
        for name in unknown:
            yield Fault(*_origin(kind, part, needed[name], look), f"There is no variable {name!r}.", _known(values))
        if not unknown:
            template.render(values)
    except TemplateSyntaxError as error:
        yield Fault(*_origin(kind, part, error.lineno, look), f"This is no Jinja: {error.message}")
    except Exception as error:  # noqa: BLE001 - a template may raise anything
        yield Fault(*_origin(kind, part, _line(error), look), f"{type(error).__name__}: {error}", _known(values))


@lru_cache(maxsize=len(FILES))
def _compiled(source: str, html: bool, own: bool) -> tuple[Template, dict[str, int]]:
    """A template, and the variables that it needs with their first lines; tried in each language, and read once.

    Raises:
        jinja2.TemplateSyntaxError: it is no Jinja.
    """
    made = environment(html, own)
    tree = made.parse(source)
    unknown = meta.find_undeclared_variables(tree)
    lines = {node.name: node.lineno for node in reversed(list(tree.find_all(nodes.Name))) if node.name in unknown}
    return made.from_string(tree), dict.fromkeys(unknown, 0) | lines


def _known(values: Values) -> str:
    return f"There are: {', '.join(sorted(values))}."


def _line(error: Exception) -> int:
    """The line of a template that an error was raised in."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or 0 for frame in reversed(frames) if frame.filename == "<template>"), 0)


def _origin(kind: str, part: str, line: int, look: Look) -> tuple[str, int]:
    """The file and its line that a line of a kind's whole template comes from."""
    if "/" in part:
        return part, line
    base, body = source_of(f"base.{part}", look), source_of(f"{kind}/body.{part}", look).rstrip("\n")
    before = base.partition("[[content]]")[0].count("\n")
    within = body.count("\n")
    if "[[content]]" not in base or line <= before:
        return f"base.{part}", line
    if line <= before + within + 1:
        return f"{kind}/body.{part}", line - before
    return f"base.{part}", line - within


def _inlining(kind: str, look: Look) -> Iterator[Fault]:
    try:
        html_source(kind, look)
    except TemplateError as error:
        yield _misfit(error, kind, look)


def _misfit(error: TemplateError, kind: str, look: Look) -> Fault:
    """Where a file is that cannot be read, or a style that cannot be inlined."""
    named = error.message.split(" ", 1)[0]
    if named in FILES:
        return Fault(named, 0, error.message, "Save it as UTF-8.")
    if error.message.startswith(UNREADABLE):
        own = next((name for name in ("base.html", f"{kind}/body.html") if name in look.own), STYLE)
        return Fault(own, 0, error.message, f"Begin with the shipped one: `newsletter templates copy {own}`.")
    css = source_of(STYLE, look)
    in_style = error.message.startswith("The s")
    words = error.message.split("'")
    line = css[: css.find(words[1])].count("\n") + 1 if in_style and len(words) > 2 and words[1] in css else 0
    mend = "Give what it is about a class, and select by that alone: .name { … }." if in_style else ""
    return Fault(STYLE if in_style else f"{kind}/body.html", line, error.message, error.hint or mend)


def _required(kind: str, masthead: Masthead) -> Iterator[Fault]:
    # The one with few items has neither a note nor a rest.
    for count in (1, ITEMS):
        try:
            subject, text, html = parts_of(sample_message(kind, masthead, count))
        except Exception as error:  # noqa: BLE001 - a template may raise anything
            yield Fault(f"{kind}/body.html", 0, f"{type(error).__name__}: {error}")
            return
        if not subject.strip():
            yield Fault(f"{kind}/subject.txt", 0, "The subject is empty.")
        for part, content in (("txt", text), ("html", markup.unescape(html))):
            words = " ".join(content.split())
            if masthead.postal_address not in words:
                yield Fault(
                    f"base.{part}", 0, "The postal address is missing, which the law asks for in each mail.",
                    "Put {{ postal_address }} where everybody sees it.",
                )  # fmt: skip
            if kind in LEAVABLE and LEAVE not in words:
                yield Fault(
                    f"base.{part}", 0, "There is no link to unsubscribe.",
                    "Put {{ unsubscribe_url }} into a link, for each reader who has one.",
                )  # fmt: skip
            if kind in ASKING and ACTION not in words:
                yield Fault(f"{kind}/body.{part}", 0, "The link that it is sent for is missing: {{ action_url }}.")
            if kind == "digest" and first_url() not in words:
                yield Fault(f"{kind}/body.{part}", 0, "It shows no items: {{ card.url }} of each card in each group.")
            if "[[" in content:
                name = "[[" + content.partition("[[")[2].partition("]]")[0] + "]]"
                yield Fault(f"base.{part}", 0, f"{name} is no place: [[content]], [[styles]] and [[name]] are.")
        if kind != "digest":
            return
