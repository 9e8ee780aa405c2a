"""The outbox: claim, settle, sweep. The database holds the work; whoever asks gets the next of it.

A claim is a lease: it sets ``due_at`` ahead, so that a delivery whose worker fell silent is simply due again.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, case, exists, func, literal, or_, select, update

from newsletter.audience.addresses import address_hash
from newsletter.delivery.smtp import Answer, Verdict
from newsletter.digests.calendar import IMMEDIATE, pause_after
from newsletter.digests.oversight import close_cancelled
from newsletter.digests.runs import close_finished
from newsletter.tables import (
    OPEN,
    deliveries,
    editions,
    lists,
    runs,
    subscribers,
    subscriptions,
    suppressions,
)

CLAIMABLE = ("queued", "deferred", "claimed")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery in a worker's hands until ``expires``."""

    id: int
    claim: str
    expires: datetime
    run_id: int
    list_id: int
    slot: datetime
    upper: int
    subscription_id: int
    profile_id: int
    edition_id: int
    frequency: str
    attempts: int
    deadline: datetime
    dated_at: datetime
    claimed_at: datetime
    email: str
    name: str
    timezone: str


def _ready(now: datetime) -> Any:
    sendable = exists().where(runs.c.id == deliveries.c.run_id, runs.c.state.in_(("assembling", "sending")))
    return and_(deliveries.c.state.in_(CLAIMABLE), deliveries.c.due_at <= now, sendable)


def ready_count(connection: Connection, now: datetime, most: int) -> int:
    """How many deliveries could be claimed now, counted up to ``most``."""
    waiting = select(deliveries.c.id).where(_ready(now)).limit(most).subquery()
    return connection.scalar(select(func.count()).select_from(waiting)) or 0


def claim(connection: Connection, now: datetime, lease: timedelta, limit: int) -> list[Claimed]:
    """Take up to ``limit`` deliveries, for the time of ``lease``.

    One that was claimed before and never settled is marked doubtful: its answer may have been outstanding.
    Those that must not go out any more (promise 6, or past their deadline) are closed here and left out,
    so that fewer may come back than were claimed, and none while there are more: see ``ready_count``.
    """
    token = uuid.uuid4().hex
    chosen = (
        select(deliveries.c.id)
        .where(_ready(now))
        .order_by(deliveries.c.due_at, deliveries.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id.in_(chosen))
        .values(
            state="claimed",
            claim=token,
            claimed_at=now,
            due_at=now + lease,
            dated_at=func.coalesce(deliveries.c.dated_at, now),
            attempts=deliveries.c.attempts + 1,
            doubtful=or_(deliveries.c.doubtful, deliveries.c.state == "claimed"),
        )
    )
    sendable = []
    rows = _claimed_rows(connection, token)
    suppressed = _suppressed(connection, rows)
    for row in rows:
        problem = ("dropped", "The address is suppressed.") if row.id in suppressed else _must_not_go(row, now)
        if problem:
            state, why = problem
            _close(connection, row.id, state, now, answer=why)
        else:
            values = {name: getattr(row, name) for name in Claimed.__slots__ if name != "expires"}
            sendable.append(Claimed(**values, expires=now + lease))
    return sendable


def _claimed_rows(connection: Connection, token: str) -> Sequence[Any]:
    own = [deliveries.c[name] for name in ("id", "claim", "run_id", "subscription_id", "profile_id", "edition_id")]
    own += [deliveries.c[name] for name in ("attempts", "deadline", "dated_at", "claimed_at")]
    rows = connection.execute(
        select(
            *own,
            runs.c.list_id,
            runs.c.slot,
            runs.c.upper,
            subscriptions.c.state,
            subscriptions.c.frequency,
            subscribers.c.email,
            subscribers.c.email_key,
            subscribers.c.name,
            subscribers.c.timezone,
            subscribers.c.erased_at,
            lists.c.archived_at,
        )
        .join(runs, runs.c.id == deliveries.c.run_id)
        .join(lists, lists.c.id == runs.c.list_id)
        .join(subscriptions, subscriptions.c.id == deliveries.c.subscription_id)
        .join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
        .where(deliveries.c.claim == token)
        .order_by(deliveries.c.id)
    ).all()
    return rows


def _suppressed(connection: Connection, rows: Sequence[Any]) -> set[int]:
    """The ids of the deliveries whose address must not be mailed."""
    hashes = {address_hash(row.email_key): row.id for row in rows}
    statement = select(suppressions.c.address_hash).where(suppressions.c.address_hash.in_(list(hashes)))
    return {hashes[blocked] for blocked in connection.scalars(statement)}


def _must_not_go(row: Any, now: datetime) -> tuple[str, str] | None:
    """The closing state and reason of a delivery that must not be sent any more."""
    if row.erased_at is not None:
        return "dropped", "The subscriber was erased."
    if row.state != "active":
        return "dropped", f"The subscription is {row.state}."
    if row.archived_at is not None:
        return "dropped", "The list is archived."
    if row.deadline < now:
        return (
            "expired",
            f"Not accepted by {row.deadline:%Y-%m-%d %H:%M} UTC; the items go into the next digest.",
        )
    return None


def settle(connection: Connection, delivery: Claimed, answer: Answer, body_hash: str, now: datetime) -> str:
    """Write down the relay's answer; gives the new state.

    An acceptance counts even if the lease ran out meanwhile, and moves the cursor in the same transaction
    (promise 2). Any other answer counts only from the worker that still holds the claim.
    """
    if answer.verdict is Verdict.ACCEPTED:
        accepted = connection.execute(
            update(deliveries)
            .where(deliveries.c.id == delivery.id, deliveries.c.state.in_((*OPEN, "expired")))
            .values(
                state="sent",
                code=answer.code,
                answer=answer.text,
                body_hash=body_hash,
                dated_at=delivery.dated_at,
                claimed_at=delivery.claimed_at,
                closed_at=now,
            )
        )
        if accepted.rowcount:
            move_cursor(connection, delivery.subscription_id, delivery.upper)
        return "sent"
    if answer.verdict is Verdict.REFUSED:
        _close(connection, delivery.id, "failed", now, claim=delivery.claim, code=answer.code, answer=answer.text)
        if delivery.frequency == IMMEDIATE:
            # Without a pause the next tick would try the same address again, a minute later.
            connection.execute(
                update(subscriptions)
                .where(subscriptions.c.id == delivery.subscription_id, subscriptions.c.state == "active")
                .values(due_at=now + timedelta(days=1))
            )
        return "failed"
    again = now + pause_after(delivery.attempts)
    if again > delivery.deadline:
        _close(
            connection,
            delivery.id,
            "expired",
            now,
            claim=delivery.claim,
            code=answer.code,
            answer=answer.text,
        )
        return "expired"
    connection.execute(
        update(deliveries)
        .where(
            deliveries.c.id == delivery.id,
            deliveries.c.claim == delivery.claim,
            deliveries.c.state == "claimed",
        )
        .values(
            state="deferred",
            due_at=again,
            code=answer.code or None,
            answer=answer.text,
            doubtful=or_(deliveries.c.doubtful, literal(answer.verdict is Verdict.UNKNOWN)),
        )
    )
    return "deferred"


def settle_withdrawn(connection: Connection, delivery: Claimed, now: datetime) -> None:
    """Close a delivery whose every item was withdrawn: there is nothing to send, so the cursor moves."""
    _close(connection, delivery.id, "withdrawn", now, claim=delivery.claim, answer="Every item was withdrawn.")
    move_cursor(connection, delivery.subscription_id, delivery.upper)


def give_back(connection: Connection, claimed: Sequence[Claimed], pause: timedelta, reason: str, now: datetime) -> None:
    """Return deliveries that were not tried: no attempt is counted, nothing becomes doubtful."""
    if not claimed:
        return
    connection.execute(
        update(deliveries)
        .where(
            deliveries.c.id.in_([delivery.id for delivery in claimed]),
            deliveries.c.claim == claimed[0].claim,
            deliveries.c.state == "claimed",
        )
        .values(
            state=case((deliveries.c.attempts > 1, "deferred"), else_="queued"),
            attempts=deliveries.c.attempts - 1,
            due_at=now + pause,
            answer=reason or deliveries.c.answer,
        )
    )


def move_cursor(connection: Connection, subscription_id: int, upper: int) -> None:
    """Move a cursor ahead; never back."""
    connection.execute(
        update(subscriptions)
        .where(subscriptions.c.id == subscription_id, subscriptions.c.cursor < upper)
        .values(cursor=upper)
    )


def _close(
    connection: Connection,
    delivery_id: int,
    state: str,
    now: datetime,
    *,
    claim: str | None = None,
    code: int | None = None,
    answer: str = "",
) -> None:
    statement = update(deliveries).where(deliveries.c.id == delivery_id, deliveries.c.state == "claimed")
    if claim is not None:
        statement = statement.where(deliveries.c.claim == claim)
    connection.execute(statement.values(state=state, code=code, answer=answer, closed_at=now))


def sweep(connection: Connection, now: datetime) -> None:
    """Put in order what nobody else will: what a cancelled run still holds, and runs that have finished."""
    close_cancelled(connection, now)
    close_finished(connection, now)


def retry(connection: Connection, now: datetime, *, delivery_id: int | None = None, run_id: int | None = None) -> int:
    """Make deferred deliveries due now, and failed ones once more; how many.

    A failed one is taken up again only if its subscription has no other open delivery and its cursor still
    stands where the digest began: otherwise its items have gone, or are going, another way.
    """
    scope = deliveries.c.id == delivery_id if delivery_id is not None else deliveries.c.run_id == run_id
    deferred = connection.execute(update(deliveries).where(scope, deliveries.c.state == "deferred").values(due_at=now))
    other = deliveries.alias("other")
    free = ~exists().where(other.c.subscription_id == deliveries.c.subscription_id, other.c.state.in_(OPEN))
    unserved = exists().where(
        subscriptions.c.id == deliveries.c.subscription_id,
        subscriptions.c.cursor == deliveries.c.lower,
        subscriptions.c.state == "active",
    )
    latest = ~exists().where(other.c.subscription_id == deliveries.c.subscription_id, other.c.id > deliveries.c.id)
    failed = connection.execute(
        update(deliveries)
        .where(scope, deliveries.c.state.in_(("failed", "expired")), free, unserved, latest)
        .values(state="queued", due_at=now, deadline=now + timedelta(hours=4), closed_at=None)
    )
    reopened = select(deliveries.c.run_id).where(scope, deliveries.c.state == "queued").scalar_subquery()
    connection.execute(
        update(runs).where(runs.c.id.in_(reopened), runs.c.state == "done").values(state="sending", finished_at=None)
    )
    return deferred.rowcount + failed.rowcount


def content_hash(content: bytes) -> str:
    """What the ledger keeps of a message that was sent: SHA-256, in hex."""
    return hashlib.sha256(content).hexdigest()


def as_claimed(row: Any, now: datetime) -> Claimed:
    """A delivery of ``find_delivery`` as it was, or would be, in a worker's hands: to compose it again."""
    values = {name: getattr(row, name) for name in Claimed.__slots__ if name != "expires"}
    values |= {"dated_at": row.dated_at or now, "claimed_at": row.claimed_at or now, "claim": row.claim or ""}
    return Claimed(**values, expires=now)


def find_delivery(connection: Connection, delivery_id: int) -> Any:
    """A delivery with its run, reader and edition, or None."""
    return connection.execute(_listing().where(deliveries.c.id == delivery_id)).one_or_none()


def select_deliveries(
    connection: Connection,
    *,
    list_id: int | None,
    run_id: int | None,
    state: str | None,
    email_key: str | None,
    limit: int,
) -> Sequence[Any]:
    """The latest deliveries that meet every condition given, newest first."""
    statement = _listing()
    for condition, column in (
        (list_id, runs.c.list_id),
        (run_id, deliveries.c.run_id),
        (state, deliveries.c.state),
        (email_key, subscribers.c.email_key),
    ):
        if condition is not None:
            statement = statement.where(column == condition)
    return connection.execute(statement.order_by(deliveries.c.id.desc()).limit(limit)).all()


def _listing() -> Any:
    return (
        select(
            deliveries,
            runs.c.list_id,
            runs.c.slot,
            runs.c.upper,
            subscriptions.c.frequency,
            subscribers.c.email,
            subscribers.c.name,
            subscribers.c.timezone,
            editions.c.language,
            editions.c.item_ids,
        )
        .join(runs, runs.c.id == deliveries.c.run_id)
        .join(editions, editions.c.id == deliveries.c.edition_id)
        .join(subscriptions, subscriptions.c.id == deliveries.c.subscription_id)
        .join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
    )
