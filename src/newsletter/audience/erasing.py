"""Erasure (GDPR, article 17): what is left of a person is a keyed hash that keeps imports from bringing them back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, delete, or_, select, update

from newsletter.audience.addresses import parse_address
from newsletter.audience.holding import hold
from newsletter.audience.links import Keys
from newsletter.audience.notices import ADDRESS
from newsletter.audience.suppressions import ERASED, suppress, suppression_hashes
from newsletter.database import IDS, Among
from newsletter.errors import UnknownName
from newsletter.tables import (
    OPEN,
    address_changes,
    consents,
    deliveries,
    lists,
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
    hold(connection, subscribers.c.id == subscriber_id)
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
    # Last: the address waited for whoever was writing of them at this moment, and what they wrote is there now.
    connection.execute(delete(consents).where(consents.c.subscriber_id == subscriber_id))
    connection.execute(delete(notices).where(notices.c.subscriber_id == subscriber_id))
    # Somebody else may have named this address as their new one.
    named = address_changes.c.email_key == person.email_key
    connection.execute(delete(address_changes).where(or_(address_changes.c.subscriber_id == subscriber_id, named)))
    _redact(connection, person)


def _bar(connection: Connection, keys: Keys, address_key: str, now: datetime) -> None:
    suppress(connection, keys, address_key, ERASED, now)
    # An older reason may hold more of the person than that.
    present = suppression_hashes(keys, address_key)[0]
    connection.execute(update(suppressions).where(suppressions.c.address_hash == present).values(reason=ERASED))


def _redact(connection: Connection, person: Any) -> None:
    """Take the address out of what belongs to others: a relay's last error, their notices, the addresses that lists
    report to, kept answers of the API."""
    key = person.email_key
    # Compared here, in any spelling: for SQLite É is no capital of é.
    sent = select(notices.c.id, notices.c.email, notices.c.data)
    sent = sent.where(or_(notices.c.email.is_not(None), notices.c.kind.in_(ADDRESS)))
    # A mail to somebody else may say that this is the address that they wish to have: it, and not one that ends so.
    naming = [row.id for row in connection.execute(sent) if key in map(str.lower, _addresses(row))]
    connection.execute(delete(notices).where(Among(notices.c.id, IDS)), {"ids": naming})
    errors = select(relays.c.name, relays.c.last_error).where(relays.c.last_error.is_not(None))
    telling = [row.name for row in connection.execute(errors) if key in row.last_error.lower()]
    connection.execute(update(relays).where(relays.c.name.in_(telling)).values(last_error=None))
    for row in connection.execute(select(lists.c.id, lists.c.reports_to)).all():
        kept = [email for email in row.reports_to if email.lower() != key]
        if kept != row.reports_to:
            connection.execute(update(lists).where(lists.c.id == row.id).values(reports_to=kept))
    for spelling in {person.email, key}:
        connection.execute(delete(requests).where(requests.c.answer.icontains(spelling, autoescape=True)))


def _addresses(notice: Any) -> list[str]:
    """The addresses that a notice goes to or names, but for its subscriber's."""
    return [str(notice.email or ""), str(notice.data.get("email", ""))]
