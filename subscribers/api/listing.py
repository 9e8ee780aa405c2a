"""A list's items for machines, in pages that stay as they are while items are added."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Text, or_, select, type_coerce

from newsletter.catalogue.geography import countries_in
from newsletter.catalogue.items import TAGS
from newsletter.tables import items


@dataclass(frozen=True)
class Filter:
    """Which items: those that concern one of the ``places``, and have one of the ``themes``; none of a kind is all.

    ``since``: added, revised or withdrawn then or later.
    """

    places: frozenset[str] = frozenset()
    themes: frozenset[str] = frozenset()
    since: datetime | None = None
    withdrawn: bool = False


def concerned(places: Iterable[str]) -> frozenset[str]:
    """Places and every country of those that are regions (decision 0009)."""
    return frozenset().union(*({place, *countries_in(place)} for place in places))


def page_of_items(
    connection: Connection, list_id: int, wanted: Filter, before: int | None, limit: int
) -> tuple[Sequence[Any], int | None]:
    """Items below position ``before`` (None: from the latest), latest first; and where the next page begins, if any.

    Positions are given in order and for ever: what is added meanwhile stands above, and moves nothing.
    """
    numbers, following = _numbers(connection, list_id, wanted, before, limit)
    rows = connection.execute(select(items).where(items.c.id.in_(numbers)).order_by(items.c.position.desc())).all()
    return rows, following


def _numbers(
    connection: Connection, list_id: int, wanted: Filter, before: int | None, limit: int
) -> tuple[list[int], int | None]:
    # As text, since the same few sets come again and again: each is read once.
    tags = [type_coerce(items.c[kind], Text) for kind in TAGS]
    statement = select(items.c.id, items.c.position, *tags).where(items.c.list_id == list_id)
    if before is not None:
        statement = statement.where(items.c.position < before)
    if not wanted.withdrawn:
        statement = statement.where(items.c.withdrawn_at.is_(None))
    if wanted.since is not None:
        statement = statement.where(or_(items.c.revised_at >= wanted.since, items.c.withdrawn_at >= wanted.since))
    within = concerned(wanted.places)
    numbers: list[int] = []
    last = 0
    ordered = statement.order_by(items.c.position.desc()).execution_options(yield_per=500)
    for number, position, countries, regions, themes in connection.execute(ordered):
        if within and within.isdisjoint(_concerns(countries, regions)):
            continue
        if wanted.themes and wanted.themes.isdisjoint(_set_of(themes)):
            continue
        if len(numbers) == limit:
            return numbers, last
        numbers.append(number)
        last = position
    return numbers, None


@lru_cache(maxsize=4096)
def _concerns(countries: str, regions: str) -> frozenset[str]:
    return concerned((*json.loads(countries), *json.loads(regions)))


@lru_cache(maxsize=4096)
def _set_of(text: str) -> frozenset[str]:
    return frozenset(json.loads(text))
