"""What time does to subscriptions: who never confirmed is forgotten, and a pause until a day ends by itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, exists, select, update

from newsletter.audience import moving
from newsletter.audience.forgetting import forget_sign_ups
from newsletter.audience.subscribers import resume
from newsletter.database import reading
from newsletter.digests.calendar import next_due
from newsletter.tables import address_changes, consents, notices, subscribers, subscriptions

UNCONFIRMED = timedelta(days=7)
BATCH = 500


def keep_up(engine: Engine, now: datetime) -> None:
    """End the pauses that are over; forget sign-ups that nobody confirmed, and changes of address that are over.

    Doing it twice changes nothing.
    """
    while _work(engine, _paused(now), lambda connection, ids: _go_on(connection, ids, now)):
        pass
    while _work(engine, _unconfirmed(now), _forget):
        pass
    with reading(engine) as connection:
        any_old = connection.scalar(select(exists().where(address_changes.c.asked_at < now - moving.KEPT)))
    if any_old:
        with engine.begin() as connection:
            moving.forget_old(connection, now)


def _work(engine: Engine, wanted: Any, act: Any) -> bool:
    """Have ``act`` done to a batch of the subscriptions that are ``wanted``; whether there was any.

    Most of the time there is none, and on SQLite finding that out must not wait for writers.
    """
    one = select(subscriptions.c.id).where(wanted).limit(1)
    with reading(engine) as connection:
        if connection.execute(one).first() is None:
            return False
    with engine.begin() as connection:
        statement = select(subscriptions.c.id).where(wanted).order_by(subscriptions.c.id).limit(BATCH)
        ids = list(connection.scalars(statement.with_for_update(skip_locked=True)))
        if ids:
            act(connection, ids)
    return bool(ids)


def _paused(now: datetime) -> Any:
    return (subscriptions.c.state == "paused") & (subscriptions.c.paused_until <= now)


def _go_on(connection: Connection, ids: Sequence[int], now: datetime) -> None:
    rows = connection.execute(
        select(subscriptions, subscribers.c.timezone)
        .join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
        .where(subscriptions.c.id.in_(ids))
    )
    for row in rows.all():
        # The day begins with a slot, for who reads at midnight; and what went by before this tick is made up for.
        just_before = row.paused_until - timedelta(microseconds=1)
        resume(connection, row.id, next_due(row.frequency, row.hour, row.weekday, row.timezone, just_before), now)


def _unconfirmed(now: datetime) -> Any:
    """Pending for a week. Who asked once more since then has begun anew: so has who left before and came back."""
    since = now - UNCONFIRMED
    asked = exists().where(
        consents.c.subscriber_id == subscriptions.c.subscriber_id,
        consents.c.list_id == subscriptions.c.list_id,
        consents.c.event == "asked",
        consents.c.at > since,
    )
    again = exists().where(
        notices.c.subscriber_id == subscriptions.c.subscriber_id,
        notices.c.list_id == subscriptions.c.list_id,
        notices.c.kind == "confirm",
        notices.c.asked_at > since,
    )
    return (subscriptions.c.state == "pending") & (subscriptions.c.created_at <= since) & ~asked & ~again


def _forget(connection: Connection, ids: Sequence[int]) -> None:
    """Who was on the list before has left it, as then; of the others nothing is kept."""
    forget_sign_ups(connection, ids)
    connection.execute(
        update(subscriptions)
        .where(subscriptions.c.id.in_(ids))
        .values(state="unsubscribed", due_at=None, paused_until=None)
    )
