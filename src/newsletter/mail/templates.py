"""The mail templates, read and inlined once a process."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from newsletter.mail.inlining import inline

WIDTH = 72


@dataclass(frozen=True)
class MailTemplates:
    """The three parts of one kind of mail."""

    subject: Template
    text: Template
    html: Template


def folder() -> Path:
    """Where the templates are: package data in a wheel, the checkout's ``templates/`` when editable."""
    package = Path(__file__).parents[1]
    installed = package / "templates" / "email"
    return installed if installed.is_dir() else package.parents[1] / "templates" / "email"


def flat_source(kind: str) -> str:
    """The HTML template of ``digest`` or ``confirm``, the shared base around its content."""
    base = (folder() / "base.html").read_text("utf-8")
    return base.replace("[[content]]", (folder() / kind / "body.html").read_text("utf-8").rstrip("\n"))


def wrapped(text: str) -> str:
    """``text`` in lines of at most 72; what has no spaces, as a URL, stays whole."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def underlined(text: str) -> str:
    """A heading in plain text."""
    return f"{wrapped(text)}\n{'=' * min(len(text), WIDTH)}"


def environment(autoescape: bool) -> Environment:
    """Jinja as the mails use it."""
    made = Environment(
        autoescape=autoescape,  # noqa: S701 - off only for subject and text, which are no HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    made.filters["wrap"] = wrapped
    made.filters["underlined"] = underlined
    return made


@cache
def load_templates() -> dict[str, MailTemplates]:
    """Every kind of mail, by name; inlining happens here and nowhere else.

    Raises:
        TemplateError: a template cannot be inlined truthfully.
    """
    css = (folder() / "style.css").read_text("utf-8")
    plain, escaped = environment(False), environment(True)
    return {
        kind: MailTemplates(
            subject=plain.from_string((folder() / kind / "subject.txt").read_text("utf-8")),
            text=plain.from_string((folder() / kind / "body.txt").read_text("utf-8")),
            html=escaped.from_string(inline(flat_source(kind), css)),
        )
        for kind in ("digest", "confirm")
    }
