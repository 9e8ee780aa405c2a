"""What the site reads of items and of digests, for their own pages and web copies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, select

from newsletter.audience.links import Keys, read_token
from newsletter.catalogue.geography import place_name
from newsletter.catalogue.items import day_of
from newsletter.catalogue.themes import all_themes, theme_name
from newsletter.delivery.ledger import as_claimed, find_delivery
from newsletter.delivery.outbox import Claimed
from newsletter.tables import items, lists, subscribers, subscriptions

NUMBER = re.compile(r"[1-9]\d{,17}", re.ASCII)


@dataclass(frozen=True)
class Story:
    """One item as its page shows it; ``body`` is HTML as it is stored, ``withdrawn`` items show nothing."""

    item_id: int
    list_id: int
    title: str
    summary: str
    body: str
    url: str | None
    language: str
    source: str
    list_name: str
    slug: str
    """Of its list, if that has an archive for everybody; else empty."""
    day: date
    places: tuple[tuple[str, str], ...]
    """Code and name."""
    themes: tuple[tuple[str, str], ...]
    """Slug and name."""
    withdrawn: bool
    is_public: bool
    """Whether its list is."""


@dataclass(frozen=True)
class Copied:
    """A delivery whose web copy is asked for; ``slug``: of its list, empty if that is not for everybody."""

    delivery: Claimed
    list_name: str
    slug: str


def find_copied(connection: Connection, delivery_id: int, now: datetime) -> Copied | None:
    """The delivery with this number, as it would be sent now; None if it is not kept, or its reader was erased."""
    row = find_delivery(connection, delivery_id)
    if row is None:
        return None
    told: Any = connection.execute(
        select(lists.c.name, lists.c.slug, lists.c.is_public, lists.c.archived_at, subscribers.c.erased_at)
        .join_from(subscriptions, lists, subscriptions.c.list_id == lists.c.id)
        .join(subscribers, subscriptions.c.subscriber_id == subscribers.c.id)
        .where(subscriptions.c.id == row.subscription_id)
    ).one()
    if told.erased_at is not None:
        return None
    is_open = told.is_public and told.archived_at is None
    return Copied(as_claimed(row, now), told.name, told.slug if is_open else "")


def find_story(connection: Connection, keys: Keys, named: str, language: str) -> Story | None:
    """The item of this number, or of a token, its places and themes named in ``language``; None if there is none.

    A number opens nothing of a list that is not public: whoever has one, has all.

    Raises:
        LinkError: it is neither a number nor a token of ours.
    """
    is_number = NUMBER.fullmatch(named) is not None
    item_id = int(named) if is_number else read_token(keys, "item", named)
    row: Any = connection.execute(
        select(
            items,
            lists.c.name.label("list_name"),
            lists.c.slug,
            lists.c.timezone,
            lists.c.is_public,
            lists.c.archived_at,
        )
        .join_from(items, lists, items.c.list_id == lists.c.id)
        .where(items.c.id == item_id)
    ).one_or_none()
    if row is None or (is_number and not row.is_public):
        return None
    places, known = (*row.countries, *row.regions), all_themes(connection, row.list_id)
    return Story(
        item_id=row.id,
        list_id=row.list_id,
        title=row.title,
        summary=row.summary,
        body=row.body,
        url=row.url,
        language=row.language,
        source=row.source,
        list_name=row.list_name,
        day=day_of(row.published_at, row.timezone),
        slug=row.slug if row.is_public and row.archived_at is None else "",
        places=tuple((code, place_name(code, language)) for code in places),
        themes=tuple((slug, theme_name(known[slug], language)) for slug in row.themes if slug in known),
        withdrawn=row.withdrawn_at is not None,
        is_public=row.is_public,
    )
