"""A fresh link to all of one's subscriptions, sent to the address, whoever asks for it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from newsletter.audience import notices
from newsletter.audience.addresses import Address
from newsletter.tables import notices as table
from newsletter.tables import subscribers


def ask_link(connection: Connection, address: Address, now: datetime) -> None:
    """Have the notice ``account`` sent to an address, if it is a subscriber's, may be mailed and got none just now.

    From outside all of this looks the same: nothing is returned, and in each case something is written.
    """
    person = connection.execute(
        select(subscribers.c.id).where(
            subscribers.c.email_key == address.key,
            subscribers.c.erased_at.is_(None),
            subscribers.c.suppressed_at.is_(None),
        )
    ).one_or_none()
    asked = person is not None and notices.ask(connection, "account", subscriber_id=person.id, list_id=None, now=now)
    if not asked:
        pretend(connection, now)


def pretend(connection: Connection, now: datetime) -> None:
    """Take the time that asking for a notice takes, and ask for none: also committing has something to write then."""
    somebody = connection.scalar(select(subscribers.c.id).limit(1))
    if somebody is not None:
        values = {"kind": "account", "subscriber_id": somebody, "asked_at": now, "closed_at": now}
        made = connection.execute(insert(table).values(values).returning(table.c.id)).scalar_one()
        connection.execute(delete(table).where(table.c.id == made))
