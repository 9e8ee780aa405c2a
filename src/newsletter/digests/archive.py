"""The items of a list that fit picks, newest first, by the rule of ``matching``, asked of the database.

A digest looks at few items for very many readers; here one reader looks at all items there are. So it goes backward
through the positions in stretches, each longer than the last: picks that many items fit are answered by the first
stretch, and of those that few fit there is little to put together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, intersect, select, text, union

from newsletter.catalogue.geography import all_places, countries_in
from newsletter.catalogue.themes import Vocabulary, descendants
from newsletter.digests.matching import Picks
from newsletter.tables import item_tags, items, lists

FIRST_STRETCH, LONGER = 2000, 8
COUNTED = 1000
"""Items are counted up to here: beyond, nobody asks how many there are exactly."""

Wanted = tuple[tuple[tuple[str, frozenset[str]], ...], ...]
"""What an item must carry: of each part any of the codes of any of its kinds; nothing means any item."""


def wanted_of(picks: Picks, vocabulary: Vocabulary) -> Wanted:
    """What an item must carry to fit ``picks``."""
    found: list[tuple[tuple[str, frozenset[str]], ...]] = []
    if picks.countries or picks.regions:
        countries = picks.countries.union(*map(countries_in, picks.regions))
        # An item of a region concerns each country in it.
        regions = frozenset(code for code in all_places() if code.isdigit() and countries & countries_in(code))
        found.append((("country", countries), ("region", regions)))
    if picks.themes:
        found.append((("theme", frozenset().union(*(descendants(vocabulary, slug) for slug in picks.themes))),))
    if picks.languages:
        found.append((("language", picks.languages),))
    return tuple(found)


@dataclass(frozen=True)
class Page:
    """A page of an archive. ``newer`` and ``older``: whether there is more on that side."""

    items: Sequence[Any]
    """Rows of the table, newest first."""
    newer: bool
    older: bool


class Archive:
    """What of a list fits; it lives as long as its connection."""

    def __init__(self, connection: Connection, list_id: int, wanted: Wanted) -> None:
        self._connection = connection
        self._list_id = list_id
        self._wanted = wanted
        self._last = connection.scalar(select(lists.c.last_position).where(lists.c.id == list_id)) or 0

    def count(self) -> int:
        """How many items fit; ``COUNTED + 1`` if they are more than ``COUNTED``."""
        return len(self._before(self._last + 1, COUNTED + 1))

    def page(self, size: int, before: int | None = None, after: int | None = None) -> Page:
        """The newest items; or the next ones below position ``before``; or the next ones above ``after``.

        What is published meanwhile has a greater position, so that pages further back stay as they were.
        """
        if after is not None:
            found = self._after(after, size + 1)
            newer, found = len(found) > size, found[:size][::-1]
            older = bool(self._before(found[-1] if found else after + 1, 1))
            return Page(self._rows(found), newer, older)
        found = self._before(self._last + 1 if before is None else before, size + 1)
        older, found = len(found) > size, found[:size]
        newer = before is not None and bool(self._after(before - 1, 1))
        return Page(self._rows(found), newer, older)

    def _rows(self, positions: Collection[int]) -> Sequence[Any]:
        if not positions:
            return ()
        statement = select(items).where(items.c.list_id == self._list_id, items.c.position.in_(positions))
        return self._connection.execute(
            statement.where(items.c.withdrawn_at.is_(None)).order_by(items.c.position.desc())
        ).all()

    def _before(self, position: int, most: int) -> list[int]:
        """The positions below, the greatest first."""
        found: list[int] = []
        high, stretch = min(position, self._last + 1), FIRST_STRETCH
        while high > 1 and len(found) < most:
            low = max(1, high - stretch)
            found += self._stretch(low, high, most - len(found), forward=False)
            high, stretch = low, stretch * LONGER
        return found

    def _after(self, position: int, most: int) -> list[int]:
        """The positions above, the least first."""
        found: list[int] = []
        low, stretch = max(1, position + 1), FIRST_STRETCH
        while low <= self._last and len(found) < most:
            high = min(low + stretch, self._last + 1)
            found += self._stretch(low, high, most - len(found), forward=True)
            low, stretch = high, stretch * LONGER
        return found

    def _stretch(self, low: int, high: int, most: int, forward: bool) -> Sequence[int]:
        """Positions in ``[low, high)`` of items that fit."""
        if self._wanted:
            parts = [union(*(self._tagged(kind, codes, low, high) for kind, codes in part)) for part in self._wanted]
            fitting = intersect(*(select(part.subquery().c.position) for part in parts)).subquery()
            # An item may carry several of the codes that are wanted.
            position, statement = fitting.c.position, select(fitting.c.position).distinct()
        else:
            position = items.c.position
            statement = select(position).where(items.c.list_id == self._list_id, items.c.withdrawn_at.is_(None))
            statement = statement.where(position >= low, position < high)
        ordered = statement.order_by(position.asc() if forward else position.desc()).limit(most)
        return self._connection.scalars(ordered).all()

    def _tagged(self, kind: str, codes: Collection[str], low: int, high: int) -> Any:
        tag = item_tags.c
        return select(tag.position).where(
            tag.list_id == self._list_id,
            tag.kind == kind,
            tag.code.in_(sorted(codes)),
            tag.position >= low,
            tag.position < high,
        )


# From each code to the next by the index: as many steps as there are codes, not as there are items.
_CODES = text("""
    WITH RECURSIVE found (code) AS (
        SELECT min(code) FROM item_tags WHERE list_id = :list_id AND kind = :kind
        UNION ALL
        SELECT (SELECT min(code) FROM item_tags WHERE list_id = :list_id AND kind = :kind AND code > found.code)
        FROM found WHERE found.code IS NOT NULL
    ) SELECT code FROM found WHERE code IS NOT NULL
""")


def codes_in_use(connection: Connection, list_id: int, kind: str) -> list[str]:
    """The codes of a kind (country, region, theme, language) that items of a list carry."""
    return list(connection.scalars(_CODES, {"list_id": list_id, "kind": kind}))
