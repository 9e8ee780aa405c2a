"""The mail templates, read and inlined once a process."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from newsletter.mail.inlining import inline
from newsletter.mail.splitting import Known, Program, split

WIDTH = 72
KINDS = ("digest", "confirm", "welcome", "known", "account", "address_old", "address_new", "goodbye")
"""Kinds of mail, each with a folder of templates: the digest, and notices (``audience.notices.Kind``)."""


@dataclass(frozen=True)
class MailTemplates:
    """The three parts of one kind of mail."""

    subject: Template
    text: Template
    html: Template


@dataclass(frozen=True)
class Programs:
    """The three parts of a digest, taken apart; the text ends with a line end."""

    subject: Program
    text: Program
    html: Program


SUBJECT_VALUES: Known = frozenset({"first_title", "others"})
DIGEST_VALUES: Known = frozenset(
    {
        "language",
        "direction",
        "list_name",
        "postal_address",
        "say",
        "day",
        "why",
        "subject",
        "preheader",
        "contents",
        "groups",
        "note",
        "note_text",
    }
    | {"rest", "shown_rest", "listed_rest", "more_title", "more_note", "more_note_text", "unlisted_note"}
    | {"unsubscribe_url", "preferences_url", "copy_url"}
)


def folder() -> Path:
    """Where the templates are: package data in a wheel, the checkout's ``templates/`` when editable."""
    package = Path(__file__).parents[1]
    installed = package / "templates" / "email"
    return installed if installed.is_dir() else package.parents[1] / "templates" / "email"


def flat_source(kind: str, part: str = "html") -> str:
    """The ``html`` or ``txt`` template of a kind of mail, the shared base around its content."""
    base = (folder() / f"base.{part}").read_text("utf-8")
    return base.replace("[[content]]", (folder() / kind / f"body.{part}").read_text("utf-8").rstrip("\n"))


def wrapped(text: str) -> str:
    """``text`` in lines of at most 72; what has no spaces, as a URL, stays whole."""
    if "  " in text or text[:1] == " " or text[-1:] == " " or not text.isprintable():
        # Not the spaces that hold words together, as French has them before a colon.
        text = " ".join(filter(None, re.split(r"[ \t\n\v\f\r]", text)))
    lines = []
    start, size = 0, len(text)
    while size - start > WIDTH:
        at = text.rfind(" ", start, start + WIDTH + 1)
        at = at if at > 0 else text.find(" ", start + WIDTH)
        if at < 0:
            break
        lines.append(text[start:at])
        start = at + 1
    return "\n".join((*lines, text[start:]))


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
            text=plain.from_string(flat_source(kind, "txt")),
            html=escaped.from_string(inline(flat_source(kind), css)),
        )
        for kind in KINDS
    }


@cache
def load_programs() -> Programs:
    """The digest's templates, taken apart once a process.

    Raises:
        TemplateError: as ``load_templates``.
    """
    css = (folder() / "style.css").read_text("utf-8")
    subject = (folder() / "digest" / "subject.txt").read_text("utf-8")
    return programs(subject, flat_source("digest", "txt"), inline(flat_source("digest"), css))


def programs(subject: str, text: str, html: str) -> Programs:
    """Three templates of a digest, the HTML inlined already, taken apart."""
    plain, numbers = environment(False), itertools.count()
    return Programs(
        split(plain, subject, SUBJECT_VALUES),
        (*split(plain, text, DIGEST_VALUES, numbers), "\n"),
        split(environment(True), html, DIGEST_VALUES, numbers),
    )
