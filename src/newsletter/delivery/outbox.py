"""The outbox: claim, settle, sweep. The database holds the work; whoever asks gets the next of it.

A claim is a lease: it sets ``due_at`` ahead, so that a delivery whose worker fell silent is simply due again.
Claims and answers go through in batches, a few statements each.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, func, not_, or_, select, update

from newsletter.audience.addresses import address_hash
from newsletter.database import among
from newsletter.digests.oversight import close_cancelled
from newsletter.digests.runs import close_finished
from newsletter.tables import (
    CLAIMABLE,
    deliveries,
    lists,
    runs,
    subscribers,
    subscriptions,
    suppressions,
)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery in a worker's hands until ``expires``."""

    id: int
    claim: str
    expires: datetime
    run_id: int
    list_id: int
    slug: str
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

    @property
    def domain(self) -> str:
        """The recipient's, in small letters: what pace is kept by."""
        return self.email.rpartition("@")[2].lower()


def _sending_runs(connection: Connection) -> dict[int, Any]:
    """The runs that are being sent, with their lists, by number. They are few."""
    rows = connection.execute(
        select(runs.c.id, runs.c.list_id, lists.c.slug, runs.c.slot, runs.c.upper, lists.c.archived_at)
        .join(lists, lists.c.id == runs.c.list_id)
        .where(runs.c.state.in_(("assembling", "sending")))
    )
    return {row.id: row for row in rows}


def _ready(now: datetime, run_ids: Collection[int]) -> Any:
    # The runs by number: asked row by row, whether a run is being sent costs more than all the rest.
    return and_(deliveries.c.state.in_(CLAIMABLE), deliveries.c.due_at <= now, deliveries.c.run_id.in_(list(run_ids)))


def ready_count(connection: Connection, now: datetime, most: int) -> int:
    """How many deliveries could be claimed now, counted up to ``most``."""
    waiting = select(deliveries.c.id).where(_ready(now, _sending_runs(connection))).limit(most).subquery()
    return connection.scalar(select(func.count()).select_from(waiting)) or 0


def claim(
    connection: Connection, owner: str, now: datetime, lease: timedelta, limit: int, living: Sequence[str] = ()
) -> list[Claimed]:
    """Take up to ``limit`` deliveries for ``owner``, for the time of ``lease``.

    One that was claimed before and never settled is marked doubtful: its answer may have been outstanding. It is
    left to its owner if that is among the ``living``, whatever the clock says.
    Those that must not go out any more (promise 6, or past their deadline) are closed here and left out,
    so that fewer may come back than were claimed, and none while there are more: see ``ready_count``.
    """
    others = not_(and_(deliveries.c.state == "claimed", deliveries.c.claim.in_(living)))
    sending = _sending_runs(connection)
    chosen = (
        select(deliveries.c.id)
        .where(_ready(now, sending), others)
        .order_by(deliveries.c.due_at, deliveries.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    taken = connection.scalars(
        update(deliveries)
        .where(deliveries.c.id == chosen.c.id)
        .values(
            state="claimed",
            claim=owner,
            claimed_at=now,
            due_at=now + lease,
            dated_at=func.coalesce(deliveries.c.dated_at, now),
            attempts=deliveries.c.attempts + 1,
            doubtful=or_(deliveries.c.doubtful, deliveries.c.state == "claimed"),
        )
        .returning(deliveries.c.id)
    ).all()
    if not taken:
        return []
    sendable, expires = [], now + lease
    rows = _claimed_rows(connection, taken)
    suppressed = _suppressed(connection, rows)
    for row in rows:
        run = sending[row.run_id]
        problem = ("dropped", "The address is suppressed.") if row.id in suppressed else _must_not_go(row, run, now)
        if problem:
            state, why = problem
            closed = update(deliveries).where(deliveries.c.id == row.id)
            connection.execute(closed.values(state=state, answer=why, code=None, relay=None, closed_at=now))
            continue
        sendable.append(
            Claimed(
                id=row.id,
                claim=owner,
                expires=expires,
                run_id=run.id,
                list_id=run.list_id,
                slug=run.slug,
                slot=run.slot,
                upper=run.upper,
                subscription_id=row.subscription_id,
                profile_id=row.profile_id,
                edition_id=row.edition_id,
                frequency=row.frequency,
                attempts=row.attempts,
                deadline=row.deadline,
                dated_at=row.dated_at,
                claimed_at=now,
                email=row.email,
                name=row.name,
                timezone=row.timezone,
            )
        )
    return sendable


def _claimed_rows(connection: Connection, ids: Sequence[int]) -> Sequence[Any]:
    own = ("id", "run_id", "subscription_id", "profile_id", "edition_id", "attempts", "deadline", "dated_at")
    return connection.execute(
        select(
            *(deliveries.c[name] for name in own),
            subscriptions.c.state,
            subscriptions.c.frequency,
            subscribers.c.email,
            subscribers.c.email_key,
            subscribers.c.name,
            subscribers.c.timezone,
            subscribers.c.erased_at.is_not(None).label("erased"),
            subscribers.c.suppressed_at.is_not(None).label("suppressed"),
        )
        .join(subscriptions, subscriptions.c.id == deliveries.c.subscription_id)
        .join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
        .where(among(connection, deliveries.c.id, ids))
        .order_by(deliveries.c.id)
    ).all()


def _suppressed(connection: Connection, rows: Sequence[Any]) -> set[int]:
    """The ids of the deliveries whose address must not be mailed."""
    hashes = {address_hash(row.email_key): row.id for row in rows}
    statement = select(suppressions.c.address_hash).where(among(connection, suppressions.c.address_hash, hashes))
    marked = {row.id for row in rows if row.suppressed}
    return marked | {hashes[blocked] for blocked in connection.scalars(statement)}


def _must_not_go(row: Any, run: Any, now: datetime) -> tuple[str, str] | None:
    """The closing state and reason of a delivery that must not be sent any more."""
    if row.erased:
        return "dropped", "The subscriber was erased."
    if row.state != "active":
        return "dropped", f"The subscription is {row.state}."
    if run.archived_at is not None:
        return "dropped", "The list is archived."
    if row.deadline < now:
        return (
            "expired",
            f"Not accepted by {row.deadline:%Y-%m-%d %H:%M} UTC; the items go into the next digest.",
        )
    return None


def sweep(connection: Connection, now: datetime) -> None:
    """Put in order what nobody else will: what a cancelled run still holds, and runs that have finished."""
    close_cancelled(connection, now)
    close_finished(connection, now)
