"""Erasure (GDPR, article 17): what is left of a person is a keyed hash that keeps imports from bringing them back."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Text, case, delete, or_, select, type_coerce, update

from newsletter.audience.addresses import parse_address
from newsletter.audience.links import Keys
from newsletter.audience.suppressions import ERASED, suppress, suppression_hashes
from newsletter.errors import UnknownName
from newsletter.tables import (
    OPEN,
    address_changes,
    consents,
    deliveries,
    notices,
    relays,
    requests,
    subscribers,
    subscriptions,
    suppressions,
)


def erase(connection: Connection, keys: Keys, email: str, now: datetime) -> None:
    """Forget the person of an address, as ``erase_subscriber`` does.

    Raises:
        UnknownName: nobody of this address.
    """
    key = parse_address(email).key
    found = connection.scalar(select(subscribers.c.id).where(subscribers.c.email_key == key))
    if found is None:
        raise UnknownName(f"There is no subscriber {email}.")
    erase_subscriber(connection, keys, found, now)


def erase_subscriber(connection: Connection, keys: Keys, subscriber_id: int, now: datetime) -> None:
    """Forget a person: their rows lose whatever is personal, or go.

    Subscriptions and deliveries stay as numbers, so that those of past runs stay true. What waits to be sent is
    dropped here and now: an answer that comes for it later has nothing to be written to. Nothing happens if they
    were erased before. On SQLite, call ``database.empty_log`` afterwards.
    """
    person = connection.execute(
        select(subscribers).where(subscribers.c.id == subscriber_id, subscribers.c.erased_at.is_(None))
    ).one_or_none()
    if person is None:
        return
    _bar(connection, keys, person.email_key, now)
    theirs = select(subscriptions.c.id).where(subscriptions.c.subscriber_id == subscriber_id)
    waits = deliveries.c.state.in_(OPEN)
    connection.execute(
        update(deliveries)
        .where(deliveries.c.subscription_id.in_(theirs))
        .values(
            # Relays like to repeat the address in their answers.
            answer=None,
            state=case((waits, "dropped"), else_=deliveries.c.state),
            closed_at=case((waits, now), else_=deliveries.c.closed_at),
        )
    )
    connection.execute(
        update(subscriptions)
        .where(subscriptions.c.subscriber_id == subscriber_id)
        .values(state="unsubscribed", due_at=None, paused_until=None)
    )
    connection.execute(delete(consents).where(consents.c.subscriber_id == subscriber_id))
    spellings = {person.email, person.email_key}
    for table in (notices, address_changes):
        # Somebody else may have named this address as their new one.
        named = [table.c.email == spelling for spelling in spellings]
        connection.execute(delete(table).where(or_(table.c.subscriber_id == subscriber_id, *named)))
    connection.execute(delete(address_changes).where(address_changes.c.email_key == person.email_key))
    _redact(connection, spellings)
    erased = f"erased-{subscriber_id}@invalid"
    connection.execute(
        update(subscribers)
        .where(subscribers.c.id == subscriber_id)
        .values(
            email=erased,
            email_key=erased,
            name="",
            language="",
            timezone="UTC",
            failed_at=None,
            failure_code=None,
            failure=None,
            erased_at=now,
        )
    )


def _bar(connection: Connection, keys: Keys, address_key: str, now: datetime) -> None:
    suppress(connection, keys, address_key, ERASED, now)
    # An older reason may hold more of the person than that.
    present = suppression_hashes(keys, address_key)[0]
    connection.execute(update(suppressions).where(suppressions.c.address_hash == present).values(reason=ERASED))


def _redact(connection: Connection, spellings: set[str]) -> None:
    """Take the address out of what belongs to others: a relay's last error, their notices, kept answers of the API."""
    for spelling in spellings:
        tells = relays.c.last_error.icontains(spelling, autoescape=True)
        connection.execute(update(relays).where(tells).values(last_error=None))
        # A mail to somebody else may say that this is the address that they wish to have: it, and not one that ends so.
        names = type_coerce(notices.c.data, Text).icontains(f'"{spelling}"', autoescape=True)
        connection.execute(delete(notices).where(names))
        connection.execute(delete(requests).where(requests.c.answer.icontains(spelling, autoescape=True)))
