"""Confirmation mails: asked of every new subscription that is not confirmed otherwise (double opt-in)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, func, select, update

from newsletter.audience.addresses import address_hash
from newsletter.audience.links import seal
from newsletter.audience.subscribers import subscriptions_by_id
from newsletter.catalogue.geography import place_name
from newsletter.catalogue.themes import all_themes, theme_name
from newsletter.delivery.conversation import Answer, Verdict
from newsletter.delivery.letters import confirmation_envelope
from newsletter.delivery.signatures import signed
from newsletter.mail.compose import compose_confirmation
from newsletter.mail.letter import Confirmation, Message
from newsletter.settings import Settings
from newsletter.tables import Moment, consents, lists, subscribers, subscriptions, suppressions

BATCH = 50
PAUSE = timedelta(minutes=10)
PATIENCE = timedelta(days=4)


@dataclass(frozen=True, slots=True)
class Confirming:
    """A confirmation mail on its way."""

    subscription_id: int
    subscriber_id: int
    slug: str
    email: str
    message: Message


def any_due(connection: Connection, now: datetime) -> bool:
    """Whether a confirmation mail is to be sent."""
    return bool(connection.scalar(select(exists().where(_DUE)), {"now": now}))


_DUE = and_(subscriptions.c.state == "pending", subscriptions.c.confirm_due_at <= bindparam("now", type_=Moment()))
_NEXT = (
    select(subscriptions.c.id)
    .where(_DUE)
    .order_by(subscriptions.c.confirm_due_at)
    .limit(BATCH)
    .with_for_update(skip_locked=True)
)


def claim(connection: Connection, settings: Settings, now: datetime) -> list[Confirming]:
    """Take up to fifty confirmations that are due, composed. Who dies with them leaves them due in ten minutes."""
    return [
        Confirming(row.id, row.subscriber_id, row.slug, row.email, _compose(connection, settings, row, now))
        for row in _claim(connection, now)
    ]


def settle(connection: Connection, told: Sequence[tuple[Confirming, Answer]], now: datetime) -> int:
    """Write down the relays' answers; how many were accepted.

    One that was deferred, or whose answer was lost, is due again by itself.
    """
    for confirmation, answer in told:
        if answer.verdict in (Verdict.ACCEPTED, Verdict.REFUSED):
            _close(connection, confirmation.subscription_id)
        if answer.verdict is Verdict.REFUSED:
            connection.execute(
                update(subscribers)
                .where(subscribers.c.id == confirmation.subscriber_id)
                .values(failed_at=now, failure_code=answer.code, failure=answer.text)
            )
    return sum(answer.verdict is Verdict.ACCEPTED for _, answer in told)


def give_back(connection: Connection, confirmations: Sequence[Confirming], due_at: datetime) -> None:
    """Return those that were not tried."""
    if confirmations:
        ids = [confirmation.subscription_id for confirmation in confirmations]
        connection.execute(update(subscriptions).where(subscriptions.c.id.in_(ids)).values(confirm_due_at=due_at))


def _claim(connection: Connection, now: datetime) -> list[Any]:
    ids = list(connection.scalars(_NEXT, {"now": now}))
    if not ids:
        return []
    connection.execute(update(subscriptions).where(subscriptions.c.id.in_(ids)).values(confirm_due_at=now + PAUSE))
    rows = subscriptions_by_id(connection, ids)
    asked = dict(
        connection.execute(
            select(consents.c.subscriber_id, func.max(consents.c.at))
            .where(consents.c.subscriber_id.in_([row.subscriber_id for row in rows]))
            .where(consents.c.event == "asked")
            .group_by(consents.c.subscriber_id)
        ).all()
    )
    hashes = {address_hash(row.email_key): row.id for row in rows}
    blocked = connection.scalars(select(suppressions.c.address_hash).where(suppressions.c.address_hash.in_(hashes)))
    over = {hashes[found] for found in blocked}
    over |= {row.id for row in rows if now - asked.get(row.subscriber_id, row.created_at) > PATIENCE}
    over |= {row.id for row in rows if row.archived_at is not None}
    for subscription_id in over:
        _close(connection, subscription_id)
    return [row for row in rows if row.id not in over] or _claim(connection, now)


def _close(connection: Connection, subscription_id: int) -> None:
    connection.execute(update(subscriptions).where(subscriptions.c.id == subscription_id).values(confirm_due_at=None))


def _compose(connection: Connection, settings: Settings, row: Any, now: datetime) -> Message:
    list_row = connection.execute(select(lists).where(lists.c.id == row.list_id)).one()
    vocabulary = all_themes(connection, row.list_id)
    language = row.language if row.language in list_row.languages else list_row.languages[0]
    # Asking again later is a new request, and no copy of the first mail.
    request = connection.scalar(
        select(func.max(consents.c.id)).where(
            consents.c.subscriber_id == row.subscriber_id, consents.c.list_id == row.list_id
        )
    )
    message = compose_confirmation(
        Confirmation(
            language=language,
            list_name=list_row.name,
            list_slug=list_row.slug,
            description=list_row.description,
            sender_name=list_row.sender_name,
            sender_email=list_row.sender_email,
            postal_address=list_row.postal_address,
            places=tuple(place_name(code, language) for code in (*row.countries, *row.regions)),
            themes=tuple(theme_name(vocabulary[slug], language) for slug in row.themes if slug in vocabulary),
            frequency=row.frequency,
            hour=row.hour,
            weekday=row.weekday,
            timezone=row.timezone,
        ),
        confirmation_envelope(
            settings,
            list_row,
            row.id,
            to=(row.email, row.name),
            mark=seal(settings.key, "confirm", request or 0),
            dated_at=now,
        ),
    )
    return signed(settings, message, list_row.sender_email.rpartition("@")[2], now)
