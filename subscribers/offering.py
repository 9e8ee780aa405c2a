"""The lists that the public may see, and what they offer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, select

from newsletter.database import reading
from newsletter.errors import UnknownName
from newsletter.tables import lists
from subscribers.picking import Offer, offer_of

KEPT = 2.0
"""Seconds."""


class Offered(NamedTuple):
    """A list (a row of the table) and what there is to choose from."""

    list: Any
    offer: Offer


class Offers:
    """What lists offered a moment ago: enough to read a form by, which fits the list as its page showed it.

    It may be asked from several threads.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: dict[str, tuple[float, Offered]] = {}

    def of(self, slug: str, *, afresh: bool = False) -> Offered:
        """What a list that anybody may subscribe to offers, or offered when it was asked for in the last ``KEPT``.

        Raises:
            UnknownName: there is no such list.
        """
        until, offered = self._kept.get(slug, (0.0, None))
        if offered is None or afresh or time.monotonic() > until:
            self._kept.pop(slug, None)
            with reading(self._engine) as connection:
                row = public_list(connection, slug)
                offered = Offered(row, offer_of(connection, row))
            self._kept[slug] = time.monotonic() + KEPT, offered
        return offered


def public_lists(connection: Connection) -> Sequence[Any]:
    """The lists that anybody may subscribe to, by name."""
    statement = select(lists).where(lists.c.is_public, lists.c.archived_at.is_(None))
    return connection.execute(statement.order_by(lists.c.name, lists.c.id)).all()


def public_list(connection: Connection, slug: str) -> Any:
    """A list that anybody may subscribe to; or that was one, with ``archived_at``.

    Raises:
        UnknownName: there is none.
    """
    row = connection.execute(select(lists).where(lists.c.slug == slug, lists.c.is_public)).one_or_none()
    if row is None:
        raise UnknownName(f"There is no list {slug!r}.")
    return row
