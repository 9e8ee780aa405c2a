"""The outbox: claim, settle, sweep. The database holds the work; whoever asks gets the next of it.

A claim is a lease: it sets ``due_at`` ahead, so that a delivery whose worker fell silent is simply due again.
Claims and answers go through in batches, a few statements each.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, case, func, or_, select, text, update

from newsletter.columns import Moment
from newsletter.database import IDS, any_of
from newsletter.delivery.shares import Carried, any_list
from newsletter.delivery.smtp.outcomes import HUNG_UP
from newsletter.digests.oversight import EXPIRED, close_cancelled
from newsletter.digests.runs import close_finished
from newsletter.digests.writing import edition_beyond
from newsletter.tables import deliveries, lists, runs


class Claimed(NamedTuple):
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
    hung_up: bool = False
    """Whether a relay hung up over it the last time."""

    @property
    def domain(self) -> str:
        """The recipient's, in small letters: what pace is kept by."""
        return self.email.rpartition("@")[2].lower()


_SENDING = (
    select(runs.c.id, runs.c.list_id, lists.c.slug, runs.c.slot, runs.c.upper, lists.c.archived_at)
    .join(lists, lists.c.id == runs.c.list_id)
    .where(runs.c.state.in_(("assembling", "sending")))
)


def _sending_runs(connection: Connection, carried: Carried) -> dict[int, Any]:
    """The runs that are being sent, with their lists, by number. They are few."""
    return {row.id: row for row in connection.execute(_SENDING) if carried(row.slug)}


# The states as literals: only so do both databases know that the index of what is claimable will do. The runs by
# number: asked row by row, whether a run is being sent costs more than all the rest.
_CLAIMABLE = "state IN ('queued', 'deferred', 'claimed')"
_READY = {
    "postgresql": f"""
        FROM deliveries WHERE {_CLAIMABLE} AND due_at <= :now
        AND run_id = {any_of(":ids", "bigint")}
    """,
    "sqlite": f"""
        FROM deliveries WHERE {_CLAIMABLE} AND due_at <= :now
        AND +run_id IN (SELECT value FROM json_each(:ids))
    """,  # noqa: S608 - all of it stands here
}
_NOW = bindparam("now", type_=Moment())
_COUNT = {
    dialect: select(func.count()).select_from(text(f"(SELECT 1 {ready} LIMIT :most) AS waiting").bindparams(IDS, _NOW))
    for dialect, ready in _READY.items()
}


def ready_count(connection: Connection, now: datetime, most: int, carried: Carried = any_list) -> int:
    """How many deliveries could be claimed now, counted up to ``most``."""
    values = {"now": now, "ids": _sending_runs(connection, carried), "most": most}
    return connection.scalar(_COUNT[connection.dialect.name], values) or 0


_TAKE = """
    UPDATE deliveries SET state = 'claimed', claim = :owner, claimed_at = :now, due_at = :until,
        dated_at = coalesce(dated_at, :now), attempts = attempts + 1, doubtful = doubtful OR state = 'claimed'
"""
_READ = """
    SELECT taken.id, run_id, subscription_id, taken.profile_id, edition_id, attempts, deadline, dated_at,
        subscriptions.state, frequency, email, name, timezone, taken.answer = '{hung_up}',
        erased_at IS NOT NULL, suppressed_at IS NOT NULL, cursor, taken.lower
    FROM {taken} AS taken
    JOIN subscriptions ON subscriptions.id = subscription_id
    JOIN subscribers ON subscribers.id = subscriber_id
    ORDER BY taken.id
"""
_READ_COLUMNS = {"deadline": Moment(), "dated_at": Moment()}
# One statement, which finds each row once: by its place, from taking it to reading what belongs to it.
_CLAIM_POSTGRESQL = (
    text(f"""
        WITH claimed AS (
            {_TAKE}
            WHERE ctid = ANY(ARRAY(
                SELECT ctid {_READY["postgresql"]}
                AND NOT (state = 'claimed' AND claim = {any_of(":living", "text")})
                ORDER BY due_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
            ))
            RETURNING id, run_id, subscription_id, profile_id, edition_id, attempts, deadline, dated_at, answer, lower
        )
        {_READ.format(taken="claimed", hung_up=HUNG_UP.text)}
    """)
    .bindparams(IDS, _NOW, bindparam("until", type_=Moment()))
    .columns(**_READ_COLUMNS)
)
_TAKE_SQLITE = text(f"""
    {_TAKE}
    WHERE id IN (
        SELECT id {_READY["sqlite"]} AND NOT (state = 'claimed' AND claim IN (SELECT value FROM json_each(:living)))
        ORDER BY due_at, id LIMIT :limit
    )
    RETURNING id
""").bindparams(IDS, _NOW, bindparam("until", type_=Moment()))  # noqa: S608 - all of it stands here
_READ_SQLITE = (
    text(
        _READ.format(
            taken="(SELECT * FROM deliveries WHERE id IN (SELECT value FROM json_each(:ids)))",
            hung_up=HUNG_UP.text,
        )
    )
    .bindparams(IDS)
    .columns(**_READ_COLUMNS)
)


def claim(
    connection: Connection,
    owner: str,
    now: datetime,
    lease: timedelta,
    limit: int,
    living: Sequence[str] = (),
    carried: Carried = any_list,
) -> list[Claimed]:
    """Take up to ``limit`` deliveries for ``owner``, for the time of ``lease``.

    One that was claimed before and never settled is marked doubtful: its answer may have been outstanding. It is
    left to its owner if that is among the ``living``, whatever the clock says.
    Those that must not go out any more (promise 6, or past their deadline) are closed here and left out,
    so that fewer may come back than were claimed, and none while there are more: see ``ready_count``.
    What the reader's cursor has passed meanwhile is taken out: it came in a digest whose acceptance was settled late.
    """
    sending = _sending_runs(connection, carried)
    if not sending:
        return []
    until = now + lease
    values = {"owner": owner, "now": now, "until": until, "ids": sending, "limit": limit}
    claimed = []
    for row in _take(connection, values, living):
        number, run_id, subscription_id, profile_id, edition_id, attempts, deadline, dated_at = row[:8]
        state, frequency, email, name, timezone, hung_up, erased, suppressed, cursor, lower = row[8:]
        run = sending[run_id]
        if erased or suppressed or state != "active" or run.archived_at is not None or deadline < now:
            closing, why = _closing(deadline, state, now, erased=erased, suppressed=suppressed)
            _close(connection, number, closing, why, now)
            continue
        if cursor > lower:
            left = edition_beyond(connection, edition_id, cursor)
            if left is None:
                _close(connection, number, "dropped", "The cursor has passed every item.", now)
                continue
            edition_id = left
            rest = update(deliveries).where(deliveries.c.id == number).values(lower=cursor, edition_id=edition_id)
            connection.execute(rest)
        claimed.append(
            Claimed(
                number,
                owner,
                until,
                run_id,
                run.list_id,
                run.slug,
                run.slot,
                run.upper,
                subscription_id,
                profile_id,
                edition_id,
                frequency,
                attempts,
                deadline,
                dated_at,
                now,
                email,
                name,
                timezone,
                bool(hung_up),
            )
        )
    return claimed


def _take(connection: Connection, values: dict[str, Any], living: Collection[str]) -> Sequence[Any]:
    """Claim, and read what ``_READ`` names of each that was claimed."""
    if connection.dialect.name == "postgresql":
        # Owners are hexadecimal numbers: nothing in them needs quoting.
        return connection.execute(_CLAIM_POSTGRESQL, values | {"living": f"{{{','.join(living)}}}"}).all()
    taken = connection.scalars(_TAKE_SQLITE, values | {"living": json.dumps(list(living))}).all()
    return connection.execute(_READ_SQLITE, {"ids": taken}).all() if taken else []


def _close(connection: Connection, number: int, state: str, why: str, now: datetime) -> None:
    closed = update(deliveries).where(deliveries.c.id == number)
    connection.execute(closed.values(state=state, answer=why, code=None, relay=None, closed_at=now))


def _closing(deadline: datetime, state: str, now: datetime, *, erased: bool, suppressed: bool) -> tuple[str, str]:
    """The closing state and reason of a delivery that must not be sent any more."""
    if suppressed:
        return "dropped", "The address is suppressed."
    if erased:
        return "dropped", "The subscriber was erased."
    if state != "active":
        return "dropped", f"The subscription is {state}."
    if deadline < now:
        return "expired", EXPIRED
    return "dropped", "The list is archived."


def sweep(connection: Connection, now: datetime, living: Sequence[str]) -> None:
    """Put in order what nobody else will: what a cancelled run still holds, and runs that have finished.

    What was claimed by who is not among the ``living`` any more is closed in a cancelled run, and in any other past its
    deadline: it may have been sent.
    """
    close_cancelled(connection, now)
    cancelled = deliveries.c.run_id.in_(select(runs.c.id).where(runs.c.state == "cancelled"))
    late = func.coalesce(deliveries.c.answer, EXPIRED)
    connection.execute(
        update(deliveries)
        .where(text(_CLAIMABLE), deliveries.c.state == "claimed", deliveries.c.due_at <= now)
        .where(deliveries.c.claim.not_in(living), or_(cancelled, deliveries.c.deadline <= now))
        .values(
            state=case((cancelled, "cancelled"), else_="expired"),
            answer=case((cancelled, deliveries.c.answer), else_=late),
            doubtful=True,
            closed_at=now,
        )
    )
    close_finished(connection, now)
