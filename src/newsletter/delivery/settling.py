"""Settling: what relays answered, written down a batch at a time; and what a dead worker process left behind."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, case, literal, or_, select, text, update

from newsletter.columns import Moment
from newsletter.delivery.journal import Entry
from newsletter.delivery.ledger import as_claimed, select_by_ids
from newsletter.delivery.outbox import Claimed
from newsletter.delivery.smtp.conversation import Answer, Verdict
from newsletter.digests.calendar import IMMEDIATE, pause_after
from newsletter.tables import deliveries, subscribers, subscriptions


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a relay said to a delivery; ``body_hash`` of the message it was given."""

    delivery: Claimed
    answer: Answer
    relay: str = ""
    body_hash: str = ""


def settle(connection: Connection, outcomes: Sequence[Outcome], now: datetime) -> Counter[str]:
    """Write down the relays' answers; gives the new states, counted.

    An acceptance counts whatever became of the delivery meanwhile, but for readers who were erased, and moves the
    cursor in the same transaction (promise 2), unless that was set back to before the digest. Any other answer counts
    only from the worker that still holds the claim.
    """
    states: Counter[str] = Counter()
    accepted = [outcome for outcome in outcomes if outcome.answer.verdict is Verdict.ACCEPTED]
    if accepted:
        _settle_accepted(connection, accepted, now)
        states["sent"] += len(accepted)
    for outcome in outcomes:
        if outcome.answer.verdict is Verdict.REFUSED:
            _settle_refused(connection, outcome, now)
            states["failed"] += 1
        elif outcome.answer.verdict is not Verdict.ACCEPTED:
            states[_settle_deferred(connection, outcome, now)] += 1
    return states


# One statement for a batch, and always the same one, whatever the size; rows travel as one JSON value, which costs
# less than an array for each column. SQLite, which is in this process, takes rows one by one.
_UNSETTLED = """
    deliveries.state <> 'sent' AND (deliveries.state <> 'dropped' OR NOT EXISTS (
        SELECT 1 FROM subscriptions JOIN subscribers ON subscribers.id = subscriptions.subscriber_id
        WHERE subscriptions.id = deliveries.subscription_id AND subscribers.erased_at IS NOT NULL
    ))
"""
_SENT_POSTGRESQL = text(
    f"""
    WITH answers AS (
        SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS a(
            id_ bigint, code_ smallint, answer_ text, relay_ text, hash_ text, upper_ bigint
        )
    ), settled AS (
        UPDATE deliveries SET state = 'sent', code = code_, answer = answer_, relay = relay_, body_hash = hash_,
            closed_at = :now
        FROM answers
        WHERE deliveries.id = id_ AND {_UNSETTLED}
        RETURNING deliveries.subscription_id, deliveries.lower, upper_
    )
    UPDATE subscriptions SET cursor = upper_ FROM settled
    WHERE subscriptions.id = settled.subscription_id
        AND subscriptions.cursor >= settled.lower AND subscriptions.cursor < upper_
    """  # noqa: S608 - all of it stands here
)
_SENT_SQLITE = f"""
    UPDATE deliveries SET state = 'sent', code = ?, answer = ?, relay = ?, body_hash = ?, closed_at = ?
    WHERE id = ? AND {_UNSETTLED}
"""  # noqa: S608 - all of it stands here
_SERVED_SQLITE = """
    UPDATE subscriptions SET cursor = ?
    WHERE id = ? AND cursor < ?
        AND cursor >= (SELECT lower FROM deliveries WHERE deliveries.id = ? AND deliveries.state = 'sent')
"""


def _settle_accepted(connection: Connection, outcomes: Sequence[Outcome], now: datetime) -> None:
    if connection.dialect.name == "postgresql":
        rows = [
            {
                "id_": outcome.delivery.id,
                "code_": outcome.answer.code,
                "answer_": outcome.answer.text,
                "relay_": outcome.relay,
                "hash_": outcome.body_hash,
                "upper_": outcome.delivery.upper,
            }
            for outcome in outcomes
        ]
        connection.execute(_SENT_POSTGRESQL, {"rows": json.dumps(rows), "now": now})
        return
    # Rows for the driver as they are: to be looked at value by value they would cost twice as much.
    write = Moment().dialect_impl(connection.dialect).bind_processor(connection.dialect)
    assert write
    closed_at = write(now)
    sent = [(o.answer.code, o.answer.text, o.relay, o.body_hash, closed_at, o.delivery.id) for o in outcomes]
    connection.exec_driver_sql(_SENT_SQLITE, sent)
    served = [(one.upper, one.subscription_id, one.upper, one.id) for one in [o.delivery for o in outcomes]]
    connection.exec_driver_sql(_SERVED_SQLITE, served)


def _settle_refused(connection: Connection, outcome: Outcome, now: datetime) -> None:
    delivery, answer = outcome.delivery, outcome.answer
    if not _close_with_answer(connection, outcome, "failed", now):
        return
    owner = select(subscriptions.c.subscriber_id).where(subscriptions.c.id == delivery.subscription_id)
    connection.execute(
        update(subscribers)
        .where(subscribers.c.id == owner.scalar_subquery())
        .values(failed_at=now, failure_code=answer.code, failure=answer.text)
    )
    if delivery.frequency == IMMEDIATE:
        # Without a pause the next tick would try the same address again, a minute later.
        connection.execute(
            update(subscriptions)
            .where(subscriptions.c.id == delivery.subscription_id, subscriptions.c.state == "active")
            .values(due_at=now + timedelta(days=1))
        )


def _settle_deferred(connection: Connection, outcome: Outcome, now: datetime) -> str:
    delivery = outcome.delivery
    again = now + pause_after(delivery.attempts)
    if again > delivery.deadline:
        _close_with_answer(connection, outcome, "expired", now)
        return "expired"
    connection.execute(
        update(deliveries)
        .where(
            deliveries.c.id == delivery.id,
            deliveries.c.claim == delivery.claim,
            deliveries.c.state == "claimed",
        )
        .values(state="deferred", due_at=again, **_said(outcome))
    )
    return "deferred"


def _said(outcome: Outcome) -> dict[str, Any]:
    """What a delivery keeps of an answer. Once it was in doubt it stays so."""
    answer = outcome.answer
    return {
        "code": answer.code or None,
        "answer": answer.text,
        "relay": outcome.relay or None,
        "doubtful": or_(deliveries.c.doubtful, literal(answer.verdict is Verdict.UNKNOWN)),
    }


def recover(connection: Connection, owner: str, entries: Sequence[Entry], now: datetime) -> Counter[str]:
    """Settle what a dead worker process left: by its journal, as far as that goes (promise 5).

    What the journal has an answer for is settled with it; what was handed over and not answered is due again and
    doubtful; all else that ``owner`` claimed was certainly not sent, and goes back as if it had not been claimed.
    """
    left = {row.id: row for row in select_by_ids(connection, [entry.delivery_id for entry in entries])}
    outcomes, handed = [], []
    for entry in entries:
        row = left.get(entry.delivery_id)
        if row is None:
            continue
        if entry.answer is None:
            handed.append(row.id)
            continue
        # Claimed by somebody else meanwhile: an acceptance still counts, with the claim it belongs to.
        delivery = as_claimed(row, now)._replace(claim=owner)
        outcomes.append(Outcome(delivery, entry.answer, row.relay or "", entry.body_hash))
    states = settle(connection, outcomes, now)
    mine = and_(deliveries.c.claim == owner, deliveries.c.state == "claimed")
    doubted = connection.execute(
        update(deliveries).where(mine, deliveries.c.id.in_(handed)).values(state="deferred", due_at=now, doubtful=True)
    )
    states["doubtful"] += doubted.rowcount
    states["given back"] += connection.execute(update(deliveries).where(mine).values(_unclaimed(now))).rowcount
    return states


def settle_withdrawn(connection: Connection, delivery: Claimed, now: datetime) -> None:
    """Close a delivery whose every item was withdrawn: there is nothing to send, so the cursor moves."""
    _close(connection, delivery, now, state="withdrawn", code=None, answer="Every item was withdrawn.")
    move_cursor(connection, delivery.subscription_id, delivery.upper)


def give_back(connection: Connection, claimed: Sequence[Claimed], pause: timedelta, reason: str, now: datetime) -> None:
    """Return deliveries that were not tried: no attempt is counted, nothing becomes doubtful."""
    if not claimed:
        return
    values = _unclaimed(now + pause) | {"answer": reason or deliveries.c.answer}
    connection.execute(
        update(deliveries)
        .where(
            deliveries.c.id.in_([delivery.id for delivery in claimed]),
            deliveries.c.claim == claimed[0].claim,
            # So written, no index of all that is open will do: without statistics PostgreSQL reads that for a few ids.
            deliveries.c.state.concat("") == "claimed",
        )
        .values(values)
    )


def _unclaimed(due_at: datetime) -> dict[str, Any]:
    return {
        "state": case((deliveries.c.attempts > 1, "deferred"), else_="queued"),
        "attempts": deliveries.c.attempts - 1,
        "due_at": due_at,
    }


def move_cursor(connection: Connection, subscription_id: int, upper: int) -> None:
    """Move a cursor ahead; never back."""
    connection.execute(
        update(subscriptions)
        .where(subscriptions.c.id == subscription_id, subscriptions.c.cursor < upper)
        .values(cursor=upper)
    )


def _close_with_answer(connection: Connection, outcome: Outcome, state: str, now: datetime) -> bool:
    return _close(connection, outcome.delivery, now, state=state, **_said(outcome))


def _close(connection: Connection, delivery: Claimed, now: datetime, **values: object) -> bool:
    """Close a delivery that is still in the hands of whoever claimed it so; whether it was."""
    closed = connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery.id, deliveries.c.claim == delivery.claim, deliveries.c.state == "claimed")
        .values(closed_at=now, **values)
    )
    return closed.rowcount > 0
