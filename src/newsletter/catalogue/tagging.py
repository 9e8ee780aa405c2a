"""What items carry, kept a second time as rows, so that the few that carry a tag are found among very many.

The columns of ``items`` are the truth; whoever changes them, or withdraws an item, changes the rows with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from newsletter.tables import item_tags, items

Tag = tuple[str, str]
"""Kind and code: ``("country", "GT")``, ``("region", "013")``, ``("theme", "trade")``, ``("language", "en")``."""
_KINDS = (("country", "countries"), ("region", "regions"), ("theme", "themes"))


def tags_of(values: Mapping[str, Any]) -> set[Tag]:
    """The tags of an item, given its columns."""
    found = {(kind, code) for kind, column in _KINDS for code in values[column]}
    return found | {("language", values["language"])}


def add_tags(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Note what new items carry; ``rows`` are columns of theirs."""
    # In order of the key: so the index grows at as few places as can be.
    found = sorted((row["list_id"], *tag, row["position"]) for row in rows for tag in tags_of(row))
    if found:
        connection.execute(insert(item_tags), [dict(zip(item_tags.c.keys(), one, strict=True)) for one in found])


def lock_item(connection: Connection, item_id: int) -> Any:
    """The item as it is now, which nobody else changes until this transaction ends; None if there is none.

    Of two who change the tags at once, the second must see what the first has made of them.
    """
    return connection.execute(select(items).where(items.c.id == item_id).with_for_update()).one_or_none()


def move_tags(connection: Connection, row: Any, values: Mapping[str, Any]) -> None:
    """Note what an item carries from now on; ``row``: locked, before ``values`` are written."""
    if row.withdrawn_at is not None:
        return
    before = row._mapping
    here, there = tags_of(before), tags_of({**before, **values})
    _remove(connection, row, here - there)
    gained = [dict(zip(("kind", "code"), tag, strict=True)) for tag in sorted(there - here)]
    if gained:
        connection.execute(insert(item_tags).values(list_id=row.list_id, position=row.position), gained)


def drop_tags(connection: Connection, row: Any) -> None:
    """Forget what an item carries that is being withdrawn; ``row``: from ``lock_item``."""
    _remove(connection, row, tags_of(row._mapping))


def _remove(connection: Connection, row: Any, tags: Iterable[Tag]) -> None:
    for kind, code in sorted(tags):
        connection.execute(
            delete(item_tags).where(
                item_tags.c.list_id == row.list_id,
                item_tags.c.kind == kind,
                item_tags.c.code == code,
                item_tags.c.position == row.position,
            )
        )
