"""What an admin sees and decides about runs: list, show, approve, cancel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, func, select, true, update

from newsletter.audience.subscribers import SCHEDULES
from newsletter.database import IDS, Among
from newsletter.digests.calendar import IMMEDIATE, SHORTEST_PATIENCE, next_due
from newsletter.digests.shards import is_due
from newsletter.errors import StateError, UnknownName
from newsletter.tables import OPEN, deliveries, lists, runs, subscriptions

EXPIRED = "Not accepted in time; the items go into the next digest."
AT_ONCE = 10_000
UNFINISHED = ("assembling", "held", "sending")
"""States of a run that can be cancelled."""


def find_run(connection: Connection, run_id: int) -> Any:
    """A run with its list's slug.

    Raises:
        UnknownName: there is none of this number.
    """
    statement = select(runs, lists.c.slug).join(lists, lists.c.id == runs.c.list_id).where(runs.c.id == run_id)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise UnknownName(f"There is no run {run_id}. `newsletter runs list` shows those there are.")
    return row


def recent_runs(connection: Connection, list_id: int | None, limit: int) -> Sequence[Any]:
    """The latest runs, newest first."""
    statement = select(runs, lists.c.slug).join(lists, lists.c.id == runs.c.list_id)
    if list_id is not None:
        statement = statement.where(runs.c.list_id == list_id)
    return connection.execute(statement.order_by(runs.c.id.desc()).limit(limit)).all()


def delivery_counts(connection: Connection, run_id: int) -> dict[str, int]:
    """How many deliveries of a run are in which state."""
    statement = select(deliveries.c.state, func.count().label("count_")).where(deliveries.c.run_id == run_id)
    return {row.state: row.count_ for row in connection.execute(statement.group_by(deliveries.c.state))}


def unserved_counts(connection: Connection, run_id: int) -> dict[str, int]:
    """Of the subscriptions that this run was the last to look at: how many got nothing, by reason."""
    statement = (
        select(subscriptions.c.last_outcome, func.count().label("count_"))
        .where(subscriptions.c.last_run_id == run_id, subscriptions.c.last_outcome != "digest")
        .group_by(subscriptions.c.last_outcome)
    )
    return {row.last_outcome: row.count_ for row in connection.execute(statement)}


def note(connection: Connection, run_id: int, language: str, text: str) -> dict[str, str]:
    """Put an editor's note above the digests of a run in one language, or take it away (no ``text``); all its notes.

    Raises:
        StateError: its digests are on their way.
    """
    run = find_run(connection, run_id)
    notes = {code: kept for code, kept in {**run.notes, language: text}.items() if kept}
    open_still = (runs.c.id == run_id, runs.c.state.in_(("assembling", "held")), runs.c.notes == run.notes)
    if run.state not in ("assembling", "held") or not run.needs_approval:
        raise StateError(
            f"The digests of run {run_id} do not wait for a note: the run is {run.state}.",
            f"Have each run wait for your word: `newsletter lists edit {run.slug} --approval`.",
        )
    if connection.execute(update(runs).where(*open_still).values(notes=notes)).rowcount == 0:
        raise StateError(f"Run {run_id} was changed at this moment.", "Try again.")
    return notes


def waiting_run(connection: Connection, run_id: int) -> Any:
    """A run that waits for approval.

    Raises:
        UnknownName: there is none of this number.
        StateError: it does not wait.
    """
    run = find_run(connection, run_id)
    if run.state != "held":
        raise StateError(f"Run {run_id} is not waiting for approval: it is {run.state}.")
    return run


def open_run(connection: Connection, run_id: int) -> Any:
    """A run that can still be cancelled.

    Raises:
        UnknownName: there is none of this number.
        StateError: it is done or cancelled.
    """
    run = find_run(connection, run_id)
    if run.state not in UNFINISHED:
        raise StateError(f"Run {run_id} cannot be cancelled: it is {run.state}.")
    return run


def approve(connection: Connection, run_id: int, now: datetime) -> int:
    """Release the held digests of a run; how many there were. Their deadline does not count the wait.

    Raises:
        StateError: the run is not waiting for approval.
    """
    waiting_run(connection, run_id)
    changed = connection.execute(
        update(runs).where(runs.c.id == run_id, runs.c.state == "held").values(state="sending", approved_at=now)
    )
    if changed.rowcount == 0:
        raise StateError(f"Run {run_id} was changed at this moment.", "Try again.")
    earliest = now + SHORTEST_PATIENCE
    released = connection.execute(
        update(deliveries)
        .where(deliveries.c.run_id == run_id, deliveries.c.state == "held")
        .values(
            state="queued",
            due_at=now,
            deadline=case((deliveries.c.deadline < earliest, earliest), else_=deliveries.c.deadline),
        )
    )
    return released.rowcount


def cancel(connection: Connection, run_id: int, now: datetime) -> int:
    """Cancel a run; how many digests will now not go out. Their items are left for each reader's next digest.

    What a worker holds in its hands at this moment is still sent, and settled as sent. Whom the run had still to look
    at waits for the next regular moment, unless another run takes them; who reads immediately, for the next item
    (``runs.open_due_runs``).

    Raises:
        StateError: it is done or cancelled already.
    """
    run = open_run(connection, run_id)
    # Of two that are cancelled at once each would leave its readers to the other: one waits for the other.
    others = select(runs.c.id).where(runs.c.list_id == run.list_id, runs.c.state == "assembling")
    connection.execute(others.order_by(runs.c.id).with_for_update(key_share=True))
    changed = connection.execute(
        update(runs).where(runs.c.id == run_id, runs.c.state.in_(UNFINISHED)).values(state="cancelled", finished_at=now)
    )
    if changed.rowcount == 0:
        raise StateError(f"Run {run_id} was changed at this moment.", "Try again.")
    _move_on(connection, run, now)
    return close_cancelled(connection, now)


def _move_on(connection: Connection, run: Any, now: datetime) -> None:
    """Have all who are still due in the run wait for their next moment: else the next tick opens another for them."""
    others = select(func.max(runs.c.slot)).where(runs.c.list_id == run.list_id, runs.c.state == "assembling")
    taken = connection.scalar(others)
    # Another run that is being assembled takes all who are due up to its slot.
    left = true() if taken is None else subscriptions.c.due_at > taken
    due = (
        SCHEDULES.where(is_due(run.list_id, run.slot, run.upper), subscriptions.c.frequency != IMMEDIATE, left)
        .order_by(subscriptions.c.id)
        .limit(AT_ONCE)
        # A shard that has locked some moves them itself, and then waits for us.
        .with_for_update(of=subscriptions, skip_locked=True)
    )
    last = 0
    while found := connection.execute(due.where(subscriptions.c.id > last)).all():
        last = found[-1][0]
        alike: defaultdict[datetime, list[int]] = defaultdict(list)
        for number, *schedule in found:
            alike[next_due(*schedule, now)].append(number)
        for moment, ids in alike.items():
            moved = update(subscriptions).where(Among(subscriptions.c.id, IDS)).values(due_at=moment)
            connection.execute(moved, {"ids": ids})


def close_expired(connection: Connection, list_id: int, now: datetime) -> None:
    """Close what is past its deadline and in nobody's hands: before a run looks who has an open digest."""
    sending = select(runs.c.id).where(runs.c.list_id == list_id, runs.c.state == "sending").scalar_subquery()
    connection.execute(
        update(deliveries)
        .where(
            deliveries.c.run_id.in_(sending),
            deliveries.c.state.in_(("queued", "deferred")),
            deliveries.c.deadline <= now,
        )
        .values(state="expired", answer=func.coalesce(deliveries.c.answer, EXPIRED), closed_at=now)
    )


def close_cancelled(connection: Connection, now: datetime) -> int:
    """Close what waits in cancelled runs, also what a shard added while the run was being cancelled."""
    cancelled = select(runs.c.id).where(runs.c.state == "cancelled").scalar_subquery()
    waiting = tuple(state for state in OPEN if state != "claimed")
    closed = connection.execute(
        update(deliveries)
        .where(deliveries.c.run_id.in_(cancelled), deliveries.c.state.in_(waiting))
        .values(state="cancelled", closed_at=now)
    )
    return closed.rowcount
