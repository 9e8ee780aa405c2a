"""Holding a person still for a transaction, so that what it read of them is true until it ends."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from newsletter.tables import subscribers, subscriptions


def hold(connection: Connection, which: Any) -> bool:
    """Let nobody else change, forget or erase the subscriber that ``which`` (a condition) is true of, nor their
    subscriptions, until the transaction ends; whether there is one. Read them afterwards. On SQLite a transaction holds
    everybody as it is.

    The person comes first, as in all that locks both, and is not locked against rows that refer to them: who leaves
    holds the subscription, and then writes one. So no two wait for each other.
    """
    if connection.dialect.name != "postgresql":
        return True
    number = connection.scalar(select(subscribers.c.id).where(which).with_for_update(key_share=True))
    if number is None:
        return False
    theirs = select(subscriptions.c.id).where(subscriptions.c.subscriber_id == number)
    connection.execute(theirs.order_by(subscriptions.c.id).with_for_update())
    return True
