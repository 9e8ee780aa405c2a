"""Whether the templates of mails can be used: each kind in each language of each list, with sample data."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from typing import Any

from jinja2 import TemplateError
from sqlalchemy import Engine, select

from newsletter.catalogue.themes import all_themes, theme_name
from newsletter.database import reading
from newsletter.doctor.findings import Finding, Level
from newsletter.errors import NewsletterError
from newsletter.mail.faults import breaks
from newsletter.mail.frames import HTML_LIMIT
from newsletter.mail.letter import Masthead, Message
from newsletter.mail.overriding import look_of, looks_of
from newsletter.mail.samples import sample_digest, sample_message
from newsletter.mail.templates import KINDS, load_templates
from newsletter.settings import Settings
from newsletter.tables import lists

CLIPPED = 102_000
"""Bytes of HTML from which on Gmail hides the rest, and with it the way to leave."""


def templates(engine: Engine, settings: Settings) -> Iterator[Finding]:
    """Load all templates, and compose a full digest and each notice of each list."""
    try:
        load_templates()
    except (TemplateError, NewsletterError, OSError) as error:
        yield _broken("", error)
        return
    with reading(engine) as connection:
        found = [
            (row, all_themes(connection, row.id))
            for row in connection.execute(select(lists).where(lists.c.archived_at.is_(None)).order_by(lists.c.slug))
        ]
    if not found:
        yield Finding("templates", Level.OK, "", "All load; there is no list to compose mails of.")
    for row, vocabulary in found:
        yield from _own(settings, row)
        for language in row.languages:
            names = [theme_name(theme, language) for theme in list(vocabulary.values())[:2]]
            yield _composed(settings, row, names, language)


def _own(settings: Settings, row: Any) -> Iterator[Finding]:
    """What is wrong with template files of the list's own."""
    look = look_of(settings, row)
    kinds = KINDS if look.files else ()
    found = {str(fault): (kind, fault) for kind in kinds for fault in breaks(kind, look)}
    for kind, fault in found.values():
        yield Finding(
            "templates", Level.ERROR, f"{row.slug}: {fault.place}", fault.found,
            f"Until it is mended, mails of the kind {kind} have the shipped look.",
            fault.mend or f"newsletter templates check --list {row.slug}",
        )  # fmt: skip


def _composed(settings: Settings, row: Any, themes: list[str], language: str) -> Finding:
    about = f"{row.slug} in {language}"

    def masthead(kind: str) -> Masthead:
        look = looks_of(settings).of(row, kind)
        return Masthead(language, row.name, row.slug, row.sender_name, row.sender_email, row.postal_address, look)

    try:
        digest = sample_digest(masthead("digest"), row.max_items, frequency=row.frequency, themes=themes)
        for kind in KINDS[1:]:
            sample_message(kind, masthead(kind))
    except (TemplateError, NewsletterError, ValueError, LookupError) as error:
        return _broken(about, error)
    size = _html_size(digest)
    if size > CLIPPED:
        return Finding(
            "templates", Level.ERROR, about, f"A digest of {row.max_items} items has {size:,} bytes of HTML.",
            "Gmail hides what is beyond 102 KB, the way to leave included.",
            f"newsletter lists edit {row.slug} --max-items {max(1, row.max_items * HTML_LIMIT // size)}",
        )  # fmt: skip
    found = f"All mails can be composed; a full digest has {size / 1000:.0f} KB of HTML."
    return Finding("templates", Level.OK, about, found)


def _html_size(message: Message) -> int:
    """The bytes of the HTML as it is sent."""
    read = email.message_from_bytes(message.content, policy=email.policy.default)
    html = read.get_body(("html",))
    return len(str(html.get_payload())) if html else 0


def _broken(about: str, error: Exception) -> Finding:
    return Finding(
        "templates", Level.ERROR, about, f"A mail cannot be composed: {type(error).__name__}: {error}.",
        "Mails of this kind wait until it can be, and expire.", "Put the templates back as they were installed.",
    )  # fmt: skip
