"""The ledger as admins see it: deliveries listed, shown, and tried once more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, exists, select, update
from xxhash import xxh3_128_hexdigest

from newsletter.database import IDS, Among
from newsletter.delivery.outbox import Claimed
from newsletter.tables import OPEN, deliveries, editions, lists, runs, subscribers, subscriptions


def retry(connection: Connection, now: datetime, *, delivery_id: int | None = None, run_id: int | None = None) -> int:
    """Make deferred deliveries due now, and failed ones once more; how many. Those of cancelled runs stay as they are.

    A failed one is taken up again only if its subscription has no other open delivery and its cursor still
    stands where the digest began: otherwise its items have gone, or are going, another way.
    """
    scope = deliveries.c.id == delivery_id if delivery_id is not None else deliveries.c.run_id == run_id
    if delivery_id is not None:
        run_id = connection.scalar(select(deliveries.c.run_id).where(scope))
    # Held until we are done, or it is closed while what is opened here cannot be seen yet.
    held = select(runs.c.id).where(runs.c.id == run_id, runs.c.state != "cancelled").with_for_update(key_share=True)
    if connection.scalar(held) is None:
        return 0
    deferred = connection.execute(update(deliveries).where(scope, deliveries.c.state == "deferred").values(due_at=now))
    again = _open_again(connection, scope, now)
    if again:
        done = update(runs).where(runs.c.id == run_id, runs.c.state == "done")
        connection.execute(done.values(state="sending", finished_at=None))
    return deferred.rowcount + again


def _open_again(connection: Connection, scope: Any, now: datetime) -> int:
    closed = deliveries.c.state.in_(("failed", "expired"))
    # Locked first and asked then: the shard or answer that has one in hand may be writing what speaks against it.
    unserved = (
        select(deliveries.c.id)
        .join(subscriptions, subscriptions.c.id == deliveries.c.subscription_id)
        .where(scope, closed, subscriptions.c.cursor == deliveries.c.lower, subscriptions.c.state == "active")
        .with_for_update(skip_locked=True)
    )
    ids = connection.scalars(unserved).all()
    other = deliveries.alias("other")
    free = ~exists().where(other.c.subscription_id == deliveries.c.subscription_id, other.c.state.in_(OPEN))
    latest = ~exists().where(other.c.subscription_id == deliveries.c.subscription_id, other.c.id > deliveries.c.id)
    opened = connection.execute(
        update(deliveries)
        .where(Among(deliveries.c.id, IDS), free, latest)
        .values(state="queued", due_at=now, deadline=now + timedelta(hours=4), closed_at=None),
        {"ids": ids},
    )
    return opened.rowcount


def content_hash(content: bytes) -> str:
    """What the ledger keeps of a message that was sent, to know it again: XXH3 of 128 bits, in hex."""
    return xxh3_128_hexdigest(content)


def as_claimed(row: Any, now: datetime) -> Claimed:
    """A delivery of ``find_delivery`` as it was, or would be, in a worker's hands: to compose it again."""
    values = {name: getattr(row, name) for name in Claimed._fields if name not in ("expires", "hung_up")}
    values |= {"dated_at": row.dated_at or now, "claimed_at": row.claimed_at or now, "claim": row.claim or ""}
    return Claimed(**values, expires=now)


def find_delivery(connection: Connection, delivery_id: int) -> Any:
    """A delivery with its run, reader and edition, or None."""
    return connection.execute(_listing().where(deliveries.c.id == delivery_id)).one_or_none()


def select_by_ids(connection: Connection, ids: Sequence[int]) -> Sequence[Any]:
    """These deliveries, those that there are, as ``find_delivery`` gives them."""
    return connection.execute(_listing().where(deliveries.c.id.in_(ids))).all()


def select_deliveries(
    connection: Connection,
    *,
    list_id: int | None,
    run_id: int | None,
    state: str | None,
    email_key: str | None,
    limit: int,
) -> Iterator[Any]:
    """The latest deliveries that meet every condition given, newest first; a thousand at a time are held."""
    statement = _listing()
    for condition, column in (
        (list_id, runs.c.list_id),
        (run_id, deliveries.c.run_id),
        (state, deliveries.c.state),
        (email_key, subscribers.c.email_key),
    ):
        if condition is not None:
            statement = statement.where(column == condition)
    statement = statement.order_by(deliveries.c.id.desc()).limit(limit)
    yield from connection.execute(statement.execution_options(yield_per=1000))


def _listing() -> Any:
    return (
        select(
            deliveries,
            runs.c.list_id,
            runs.c.slot,
            runs.c.upper,
            lists.c.slug,
            subscriptions.c.frequency,
            subscribers.c.email,
            subscribers.c.name,
            subscribers.c.timezone,
            editions.c.language,
            editions.c.item_ids,
        )
        .join(runs, runs.c.id == deliveries.c.run_id)
        .join(lists, lists.c.id == runs.c.list_id)
        .join(editions, editions.c.id == deliveries.c.edition_id)
        .join(subscriptions, subscriptions.c.id == deliveries.c.subscription_id)
        .join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
    )
