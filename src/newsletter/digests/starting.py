"""Where a new subscription begins to read."""

from __future__ import annotations

from sqlalchemy import Connection, select

from newsletter.audience.picks import Picks
from newsletter.catalogue.geography import countries_in
from newsletter.catalogue.themes import all_themes, descendants
from newsletter.digests.matching import Index
from newsletter.digests.runs import load_items
from newsletter.tables import lists


def backfill_cursor(connection: Connection, list_id: int, picks: Picks, latest: int) -> int:
    """The cursor just before the ``latest``-th newest item that fits; the present position for 0."""
    upper = connection.scalar(select(lists.c.last_position).where(lists.c.id == list_id)) or 0
    if latest == 0:
        return upper
    vocabulary = all_themes(connection, list_id)
    index = Index(load_items(connection, list_id, 0, upper), countries_in, lambda slug: descendants(vocabulary, slug))
    fitting = list(index.of(index.fitting(picks)))[-latest:]
    return fitting[0].position - 1 if fitting else upper
