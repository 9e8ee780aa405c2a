"""Notices on their way: transactional mail that waits in the database overtakes every digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection, and_, exists, func, or_, select, update
from sqlalchemy.exc import DBAPIError

from newsletter.audience.addresses import parse_address
from newsletter.audience.suppressions import ERASED, suppressed
from newsletter.delivery.composing.wording import Writer
from newsletter.delivery.shares import Carried, any_list
from newsletter.delivery.smtp.conversation import Answer, Verdict
from newsletter.mail.letter import Message
from newsletter.settings import LEASE_TIMEOUTS, Settings
from newsletter.tables import lists, notices, subscribers, subscriptions

log = structlog.get_logger("newsletter.delivery")

BATCH = 50
PAUSE = timedelta(minutes=10)
SOONEST = timedelta(minutes=1)
PATIENCE = timedelta(days=4)

STATES = {"confirm": ("pending",), "welcome": ("active",), "known": ("active", "paused"), "goodbye": ("unsubscribed",)}
"""States of a subscription of which a kind of notice still speaks true."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A notice in hand, composed; ``slug`` is that of the list it comes from.

    ``subscriber_id``: whose address it goes to; None if that is no subscriber's, or not yet.
    """

    id: int
    kind: str
    subscriber_id: int | None
    slug: str
    email: str
    message: Message
    asked_at: datetime
    claimed_at: datetime


def any_due(connection: Connection, now: datetime) -> bool:
    """Whether a notice is to be sent."""
    return bool(connection.scalar(select(exists().where(notices.c.due_at <= now))))


def claim(connection: Connection, settings: Settings, now: datetime, carried: Carried = any_list) -> list[Taken]:
    """Take up to fifty notices that are due, of lists that are ``carried``, composed.

    Who dies with them leaves them due in ten minutes, or more where relays may think longer.
    """
    pause = max(PAUSE, timedelta(seconds=LEASE_TIMEOUTS * settings.smtp_timeout))
    known = connection.execute(select(lists.c.id, lists.c.slug)).all()
    left_out = [row.id for row in known if not carried(row.slug)]
    while rows := _take(connection, now, pause, left_out):
        writer = Writer(connection, settings, now)
        blocked = suppressed(connection, settings.keys, {_key(row) for row in rows if not row.gone})
        taken = []
        for row in rows:
            try:
                over = _over(row, blocked, now) or writer.over(row)
                if over:
                    _close(connection, row.id, now, None, over)
                    continue
                slug, message = writer.write(row)
            except DBAPIError:
                raise
            except Exception as error:  # noqa: BLE001 - the others must not wait for it, and it stays due after the pause
                log.warning("a notice could not be composed", notice=row.id, kind=row.kind, error=type(error).__name__)
                continue
            whose = None if row.email else row.subscriber_id
            taken.append(Taken(row.id, row.kind, whose, slug, _to(row), message, row.asked_at, now))
        if taken:
            return taken
    return []


def settle(connection: Connection, told: Sequence[tuple[Taken, Answer]], now: datetime) -> int:
    """Write down the relays' answers; how many were accepted.

    One that was not taken is due again after 1, 2, 4 … 10 minutes; one whose answer was lost, as it is by its claim.
    """
    for notice, answer in told:
        if answer.verdict in (Verdict.ACCEPTED, Verdict.REFUSED):
            _close(connection, notice.id, now, answer.code, answer.text)
        else:
            said: dict[str, Any] = {"code": answer.code or None, "answer": answer.text}
            connection.execute(update(notices).where(notices.c.id == notice.id).values(said))
            if answer.verdict is not Verdict.UNKNOWN:
                # As long again as it has waited: somebody sits before their mailbox.
                again = now + min(PAUSE, max(SOONEST, now - notice.asked_at))
                give_back(connection, [notice], again)
        # A refusal at another address says nothing about the subscriber's own.
        if answer.verdict is Verdict.REFUSED and notice.subscriber_id is not None:
            connection.execute(
                update(subscribers)
                .where(subscribers.c.id == notice.subscriber_id, subscribers.c.erased_at.is_(None))
                .values(failed_at=now, failure_code=answer.code, failure=answer.text)
            )
    return sum(answer.verdict is Verdict.ACCEPTED for _, answer in told)


def give_back(connection: Connection, untried: Sequence[Taken], due_at: datetime) -> None:
    """Return those that were not tried."""
    if untried:
        ids = [notice.id for notice in untried]
        connection.execute(
            update(notices).where(notices.c.id.in_(ids), notices.c.due_at.is_not(None)).values(due_at=due_at)
        )


def _take(connection: Connection, now: datetime, pause: timedelta, left_out: Sequence[int]) -> Sequence[Any]:
    due = (
        select(notices.c.id)
        .where(notices.c.due_at <= now, or_(notices.c.list_id.is_(None), notices.c.list_id.not_in(left_out)))
        .order_by(notices.c.due_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.scalars(due))
    if not ids:
        return []
    connection.execute(
        update(notices)
        .where(notices.c.id.in_(ids))
        .values(due_at=now + pause, dated_at=func.coalesce(notices.c.dated_at, now))
    )
    same = and_(subscriptions.c.subscriber_id == notices.c.subscriber_id, subscriptions.c.list_id == notices.c.list_id)
    return connection.execute(
        select(
            notices,
            subscribers.c.email.label("own_email"),
            subscribers.c.email_key,
            subscribers.c.language,
            subscribers.c.timezone,
            or_(subscribers.c.erased_at.is_not(None), subscribers.c.suppressed_at.is_not(None)).label("gone"),
            subscriptions.c.id.label("subscription_id"),
            subscriptions.c.state,
            subscriptions.c.frequency,
            subscriptions.c.hour,
            subscriptions.c.weekday,
            subscriptions.c.cursor,
            subscriptions.c.profile_id,
            subscriptions.c.due_at.label("next_at"),
        )
        .outerjoin(subscribers, subscribers.c.id == notices.c.subscriber_id)
        .outerjoin(subscriptions, same)
        .where(notices.c.id.in_(ids))
        .order_by(notices.c.id)
    ).all()


def _to(row: Any) -> str:
    return str(row.email or row.own_email)


def _key(row: Any) -> str:
    return parse_address(row.email).key if row.email else str(row.email_key)


def _over(row: Any, blocked: Mapping[str, str], now: datetime) -> str:
    """Why this notice is not to go out any more; empty if it is."""
    barred = blocked.get(_key(row))
    if row.gone or (barred and (barred, row.kind) != (ERASED, "confirm")):
        return "The address must not be mailed."
    if now - row.asked_at > PATIENCE:
        return "Not accepted for four days."
    if row.list_id is not None and row.kind in STATES and row.state not in STATES[row.kind]:
        return f"The subscription is {row.state or 'gone'}."
    return ""


def _close(connection: Connection, notice_id: int, now: datetime, code: int | None, answer: str) -> None:
    connection.execute(
        update(notices).where(notices.c.id == notice_id).values(due_at=None, closed_at=now, code=code, answer=answer)
    )
