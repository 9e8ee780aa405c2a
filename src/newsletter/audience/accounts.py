"""A fresh link to all of one's subscriptions: sent to the address, whoever asks for it, and opened."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, literal, select

from newsletter.audience import notices
from newsletter.audience.addresses import Address
from newsletter.audience.links import Keys, LinkError, made_at, read_expiring
from newsletter.columns import Moment
from newsletter.tables import address_changes, subscribers
from newsletter.tables import notices as table


def ask_link(connection: Connection, address: Address, now: datetime) -> None:
    """Have the notice ``account`` sent to an address, if it is a subscriber's, may be mailed and got none just now.

    From outside all of this looks the same: nothing is returned, and in each case something is written.
    """
    person = connection.execute(
        select(subscribers.c.id)
        .where(
            subscribers.c.email_key == address.key,
            subscribers.c.erased_at.is_(None),
            subscribers.c.suppressed_at.is_(None),
        )
        # A sign-up that never was confirmed may be vanishing at this moment, and its person with it.
        .with_for_update(key_share=True)
    ).one_or_none()
    asked = person is not None and notices.ask(connection, "account", subscriber_id=person.id, list_id=None, now=now)
    if not asked:
        pretend(connection, now)


def open_account(connection: Connection, keys: Keys, token: str, now: datetime) -> int:
    """The subscriber whose account a token of purpose ``account`` opens; they may have been erased since.

    One that went to an address that they have left since has expired: that mailbox may be why they left it.

    Raises:
        LinkError: as ``links.read_expiring``.
    """
    number = read_expiring(keys, "account", token, now)
    moved = select(address_changes.c.id).where(
        address_changes.c.subscriber_id == number,
        address_changes.c.closed_at >= made_at("account", token),
        address_changes.c.old_confirmed_at.is_not(None),
        address_changes.c.new_confirmed_at.is_not(None),
    )
    if connection.execute(moved.limit(1)).first() is not None:
        raise LinkError("expired")
    return number


def pretend(connection: Connection, now: datetime) -> None:
    """Take the time that asking for a notice takes, and ask for none: also committing has something to write then."""
    made = connection.scalar(_PRETENDED, {"now": now})
    connection.execute(delete(table).where(table.c.id == made))


_PRETENDED = (
    insert(table)
    .from_select(
        ("kind", "subscriber_id", "data", "asked_at", "closed_at"),
        select(
            literal("account"),
            subscribers.c.id,
            literal({}, table.c.data.type),
            *[bindparam("now", type_=Moment())] * 2,
        ).limit(1),
    )
    .returning(table.c.id)
)
