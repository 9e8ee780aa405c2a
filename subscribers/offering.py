"""The lists that the public may see, and what they offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from newsletter.errors import UnknownName
from newsletter.tables import lists


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
