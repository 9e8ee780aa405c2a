"""The mail templates, read and inlined once a process for each look."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from newsletter.mail.inlining import TemplateError, inline
from newsletter.mail.look import PLAIN, Look
from newsletter.mail.program import Known, Program
from newsletter.mail.splitting import split

WIDTH = 72
_BREAK = re.compile(r"[\t\n\v\f\r]")
KINDS = (
    "digest", "confirm", "welcome", "known", "account", "address_old", "address_new", "goodbye", "run_held", "run_done",
)  # fmt: skip
"""Kinds of mail, each with a folder of templates: the digest, and notices (``audience.notices.Kind``)."""
LEAVABLE = ("digest", "welcome", "known", "account", "address_old")
"""Kinds of mail to the reader of a list: at their end are the ways to change one's preferences and to leave it."""
STYLE = "style.css"
PARTS = ("subject.txt", "preheader.txt", "body.txt", "body.html")
FILES = (STYLE, "base.txt", "base.html", *(f"{kind}/{part}" for kind in KINDS for part in PARTS))
"""All that a list can have files of its own for."""
LOOKS_KEPT = 64


@dataclass(frozen=True)
class MailTemplates:
    """The parts of one kind of mail."""

    subject: Template
    preheader: Template
    text: Template
    html: Template


@dataclass(frozen=True)
class Programs:
    """A digest's parts and what stands before them, taken apart; the text ends with a line end."""

    subject: Program
    preheader: Program
    text: Program
    html: Program


SUBJECT_VALUES: Known = frozenset({"first_title", "others"})
PREHEADER_VALUES: Known = SUBJECT_VALUES | {"subject", "teaser", "contents", "list_name", "say"}
DIGEST_VALUES: Known = frozenset(
    {
        "language",
        "direction",
        "list_name",
        "postal_address",
        "say",
        "dot",
        "compact",
        "day",
        "why",
        "subject",
        "preheader",
        "contents",
        "contents_title",
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


@cache
def shipped_source(name: str) -> str:
    """A template file as it was installed; ``name`` is one of ``FILES``."""
    return (folder() / name).read_text("utf-8")


def source_of(name: str, look: Look = PLAIN) -> str:
    """A template file: the list's own, else the shipped one.

    Raises:
        TemplateError: the list's own cannot be read.
    """
    own = look.own
    if name not in own:
        return shipped_source(name)
    content = own[name]
    if content is None:
        raise TemplateError(f"{name} cannot be read.")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise TemplateError(f"{name} is not UTF-8 text.") from None


def flat_source(kind: str, part: str = "html", look: Look = PLAIN) -> str:
    """The ``html`` or ``txt`` template of a kind of mail, the shared base around its content.

    Raises:
        TemplateError: as ``source_of``.
    """
    return look.dressed(_undressed(kind, part, look))


def _undressed(kind: str, part: str, look: Look) -> str:
    body = source_of(f"{kind}/body.{part}", look).rstrip("\n")
    return source_of(f"base.{part}", look).replace("[[content]]", look.headed(body))


def wrapped(text: str) -> str:
    """``text`` in lines of at most 72; what has no spaces, as a URL, stays whole."""
    # Not the spaces that hold words together, as French has them before a colon.
    if "  " in text or text[:1] == " " or text[-1:] == " " or (not text.isprintable() and _BREAK.search(text)):
        text = " ".join(filter(None, _BREAK.sub(" ", text).split(" ")))
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


def environment(autoescape: bool, own: bool = False) -> Environment:
    """Jinja as the mails use it; a list's ``own`` files can show values and do nothing else."""
    made = (ImmutableSandboxedEnvironment if own else Environment)(
        # Off only for subject and text, which are no HTML.
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    made.filters["wrap"] = wrapped
    made.filters["underlined"] = underlined
    return made


@lru_cache(maxsize=LOOKS_KEPT)
def _inlined(source: str, css: str) -> str:
    """Lists that differ in colours and logo alone have one between them."""
    return inline(source, css)


def html_source(kind: str, look: Look = PLAIN) -> str:
    """The HTML template of a kind of mail with its styles inlined.

    Raises:
        TemplateError: it cannot be inlined truthfully.
    """
    return look.dressed(_inlined(_undressed(kind, "html", look), source_of(STYLE, look)))


@lru_cache(maxsize=LOOKS_KEPT * len(KINDS))
def load_kind(kind: str, look: Look = PLAIN) -> MailTemplates:
    """The templates of one kind of mail; inlining happens here and in ``load_programs``, and nowhere else.

    Raises:
        TemplateError: a template cannot be read, or inlined truthfully.
        jinja2.TemplateError: one is no Jinja.
    """
    plain, escaped = (environment(escaping, bool(look.files)) for escaping in (False, True))
    return MailTemplates(
        subject=plain.from_string(source_of(f"{kind}/subject.txt", look)),
        preheader=plain.from_string(source_of(f"{kind}/preheader.txt", look)),
        text=plain.from_string(flat_source(kind, "txt", look)),
        html=escaped.from_string(html_source(kind, look)),
    )


def load_templates() -> dict[str, MailTemplates]:
    """Every kind of mail as it was installed, by name.

    Raises:
        TemplateError: as ``load_kind``.
    """
    return {kind: load_kind(kind) for kind in KINDS}


@lru_cache(maxsize=LOOKS_KEPT)
def load_programs(look: Look = PLAIN) -> Programs:
    """The digest's templates, taken apart once a process.

    Raises:
        TemplateError: as ``load_kind``.
    """
    return programs(
        source_of("digest/subject.txt", look),
        flat_source("digest", "txt", look),
        html_source("digest", look),
        look,
        source_of("digest/preheader.txt", look),
    )


def programs(subject: str, text: str, html: str, look: Look = PLAIN, preheader: str = "{{ teaser }}") -> Programs:
    """The templates of a digest, the HTML inlined already, taken apart."""
    plain, escaped = (environment(escaping, bool(look.files)) for escaping in (False, True))
    numbers = itertools.count()
    return Programs(
        split(plain, subject, SUBJECT_VALUES),
        split(plain, preheader, PREHEADER_VALUES),
        (*split(plain, text, DIGEST_VALUES, numbers), "\n"),
        split(escaped, html, DIGEST_VALUES, numbers),
    )
