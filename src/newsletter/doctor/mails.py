"""Whether the templates of mails can be used: each kind in each language of each list, with sample data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from jinja2 import TemplateError
from sqlalchemy import Engine, select

from newsletter.audience.picks import Picks
from newsletter.catalogue.themes import all_themes
from newsletter.database import reading
from newsletter.delivery.shelves import Shelf
from newsletter.digests.matching import Item
from newsletter.doctor.findings import Finding, Level
from newsletter.errors import NewsletterError
from newsletter.mail.compose import compose_notice
from newsletter.mail.frames import HTML_LIMIT
from newsletter.mail.letter import Choices, Envelope, Masthead, Message, Notice
from newsletter.mail.templates import KINDS, load_templates
from newsletter.settings import PLACEHOLDER_SITE
from newsletter.tables import lists

AT = datetime(2026, 11, 24, 8, tzinfo=UTC)
TITLE = "Corinto crossing opens one shared desk for families on their way"
SUMMARY = "Officers on both sides share one queue, one form & one interpreter. The wait fell to less than 3 hours."
CLIPPED = 102_000
"""Bytes of HTML from which on Gmail hides the rest, and with it the way to leave."""
PICKS = Picks()


def templates(engine: Engine) -> Iterator[Finding]:
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
        for language in row.languages:
            yield _composed(row, vocabulary, language)


def _composed(row: Any, vocabulary: dict[str, Any], language: str) -> Finding:
    about = f"{row.slug} in {language}"
    try:
        digest = _digest(row, vocabulary, language)
        for kind in KINDS[1:]:
            _notice(row, kind, language)
    except (TemplateError, NewsletterError, ValueError, LookupError) as error:
        return _broken(about, error)
    # The text part is small: what holds of the whole message holds of its HTML.
    size = len(digest.content)
    if size > CLIPPED:
        return Finding(
            "templates", Level.ERROR, about, f"A digest of {row.max_items} items has {size:,} bytes.",
            "Gmail hides what is beyond 102 KB, the way to leave included.",
            f"newsletter lists edit {row.slug} --max-items {max(1, row.max_items * HTML_LIMIT // size)}",
        )  # fmt: skip
    return Finding("templates", Level.OK, about, f"All mails can be composed; a full digest has {size / 1000:.0f} KB.")


def _digest(row: Any, vocabulary: dict[str, Any], language: str) -> Message:
    entries = [(theme.slug, theme.names, theme.parent) for theme in vocabulary.values()]
    shelf = Shelf(row, entries, PLACEHOLDER_SITE)
    numbers = range(1, row.max_items + 1)
    for number in numbers:
        url = f"{PLACEHOLDER_SITE}/{number}"
        themes = tuple(vocabulary)[:2]
        item = Item(number, number, TITLE, SUMMARY, url, language, "Rutas", AT, ("GT", "HN"), (), themes)
        shelf.put(item, 1)
    mask = shelf.masks([0], lambda _: {0: PICKS})[0]
    groups, rest = shelf.arranged(numbers, mask, language)
    return shelf.frame(language).compose(groups, rest, AT.date(), row.frequency, _envelope(row))


def _notice(row: Any, kind: str, language: str) -> Message:
    masthead = Masthead(language, row.name, row.slug, row.sender_name, row.sender_email, row.postal_address)
    choices = Choices(("Guatemala",), (), row.frequency, row.hour, row.weekday or 0, row.timezone)
    notice = Notice(
        kind,
        masthead,
        row.description,
        PLACEHOLDER_SITE,
        choices=choices,
        until=AT,
        next_at=AT,
        new_address="new@example.org",
    )
    return compose_notice(notice, _envelope(row))


def _envelope(row: Any) -> Envelope:
    link = f"{PLACEHOLDER_SITE}/u/{'x' * 48}"
    return Envelope(row.sender_email, "", row.sender_email, f"sample@{row.slug}", AT, link, link, "0:sample:sample:x")


def _broken(about: str, error: Exception) -> Finding:
    return Finding(
        "templates", Level.ERROR, about, f"A mail cannot be composed: {type(error).__name__}: {error}.",
        "Mails of this kind wait until it can be, and expire.", "Put the templates back as they were installed.",
    )  # fmt: skip
