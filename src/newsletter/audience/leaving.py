"""Leaving lists, taking a leaving back, and the two things that people want more often: fewer mails, or a pause."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select, update

from newsletter.audience import subscribers as audience
from newsletter.audience.consents import Proof, note
from newsletter.audience.links import Keys, read_seal, seal
from newsletter.audience.schedule import FREQUENCIES, NextDue
from newsletter.audience.subscribers import LIVE
from newsletter.tables import consents, lists, subscribers, subscriptions

REGRET = timedelta(days=1)
"""How long a leaving can be taken back; later one subscribes like everybody."""


@dataclass(frozen=True, slots=True)
class Left:
    """A subscription that was left just now: the state that it had, and until when it was paused."""

    subscription_id: int
    list_id: int
    before: str
    paused_until: datetime | None
    consent_id: int

    def mark(self, keys: Keys) -> str:
        """What takes exactly this leaving back, see ``come_back``."""
        before = f"{self.before}.{int(self.paused_until.timestamp()) if self.paused_until else 0}"
        return f"{before}.{seal(keys[0], _kind(before), self.consent_id)}"


def _kind(before: str) -> str:
    return f"back to {before}"


def _read_mark(keys: Keys, mark: str) -> tuple[int, str, datetime | None]:
    """The event that a mark names, the state before it, and until when it was a pause."""
    state, _, rest = mark.partition(".")
    until, _, sealed = rest.partition(".")
    consent_id = read_seal(keys, _kind(f"{state}.{until}"), sealed)
    return consent_id, state, datetime.fromtimestamp(int(until), UTC) if until != "0" else None


def leave(
    connection: Connection, subscription_id: int, source: str, now: datetime, proof: Proof | None = None
) -> Left | None:
    """End a subscription; None if it had ended before (or is none), and then nothing changes."""
    row = connection.execute(
        select(
            subscriptions.c.subscriber_id,
            subscriptions.c.list_id,
            subscriptions.c.state,
            subscriptions.c.paused_until,
        )
        .where(subscriptions.c.id == subscription_id)
        # Two clicks at one moment: the second sees what the first did.
        .with_for_update()
    ).one_or_none()
    if row is None or row.state not in LIVE:
        return None
    audience.unsubscribe(connection, subscription_id, source, now, proof)
    latest = _latest_event(row.subscriber_id, row.list_id)
    consent_id = connection.execute(latest).scalar_one()
    return Left(subscription_id, row.list_id, row.state, row.paused_until, consent_id)


def leave_all(
    connection: Connection, subscriber_id: int, source: str, now: datetime, proof: Proof | None = None
) -> list[Left]:
    """End every subscription of a person; those that had not ended before."""
    numbers = connection.scalars(
        select(subscriptions.c.id)
        .where(subscriptions.c.subscriber_id == subscriber_id, subscriptions.c.state.in_(LIVE))
        .order_by(subscriptions.c.id)
    ).all()
    found = (leave(connection, number, source, now, proof) for number in numbers)
    return [left for left in found if left is not None]


def _latest_event(subscriber_id: int, list_id: int) -> Any:
    return select(func.max(consents.c.id)).where(
        consents.c.subscriber_id == subscriber_id, consents.c.list_id == list_id
    )


def come_back(
    connection: Connection,
    keys: Keys,
    subscriber_id: int,
    marks: Iterable[str],
    *,
    next_due: NextDue,
    source: str,
    now: datetime,
    proof: Proof | None = None,
) -> list[int]:
    """Take leavings of a person back, each to the state that was before; the subscriptions that are there again.

    Only what ``marks`` (``Left.mark``) name, within a day, and only if nothing has happened to the subscription
    since: an old page brings nobody back who left anew. Who had not confirmed has still to confirm.

    Raises:
        LinkError: a mark is not ours.
    """
    back = []
    for consent_id, before, until in dict.fromkeys(_read_mark(keys, mark) for mark in marks):
        row = connection.execute(
            select(
                subscriptions.c.id,
                subscriptions.c.list_id,
                subscriptions.c.frequency,
                subscriptions.c.hour,
                subscriptions.c.weekday,
                subscribers.c.timezone,
                consents.c.at,
            )
            .join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
            .join(lists, lists.c.id == subscriptions.c.list_id)
            .join(
                consents,
                (consents.c.subscriber_id == subscriptions.c.subscriber_id)
                & (consents.c.list_id == subscriptions.c.list_id),
            )
            .where(
                consents.c.id == consent_id,
                consents.c.event == "unsubscribed",
                consents.c.at > now - REGRET,
                subscriptions.c.subscriber_id == subscriber_id,
                subscriptions.c.state == "unsubscribed",
                subscribers.c.erased_at.is_(None),
                subscribers.c.suppressed_at.is_(None),
                lists.c.archived_at.is_(None),
            )
            .with_for_update(of=subscriptions)
        ).one_or_none()
        if row is None or connection.scalar(_latest_event(subscriber_id, row.list_id)) != consent_id:
            continue
        # A slot that went by meanwhile is made up for.
        due = next_due(row.frequency, row.hour, row.weekday, row.timezone, row.at) if before == "active" else None
        connection.execute(
            update(subscriptions)
            .where(subscriptions.c.id == row.id)
            .values(state=before, due_at=due, paused_until=until)
        )
        event = "asked" if before == "pending" else "confirmed"
        note(connection, subscriber_id, row.list_id, event, source, now, proof)
        back.append(row.id)
    return back


def less_often(frequency: str) -> tuple[str, ...]:
    """The frequencies with fewer mails than this one."""
    return FREQUENCIES[FREQUENCIES.index(frequency) + 1 :]


def choose_less(
    connection: Connection,
    subscription_id: int,
    frequency: str,
    *,
    next_due: NextDue,
    source: str,
    now: datetime,
    proof: Proof | None = None,
) -> bool:
    """Take a frequency with fewer mails; False if it has no fewer, or the subscription has ended."""
    row = connection.execute(
        select(subscriptions, subscribers.c.timezone)
        .join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
        .where(subscriptions.c.id == subscription_id)
        # Who leaves, or is erased, at this moment has left.
        .with_for_update(of=subscriptions)
    ).one_or_none()
    if row is None or row.state not in LIVE or frequency not in less_often(row.frequency):
        return False
    values: dict[str, Any] = {"frequency": frequency}
    if row.state == "active":
        values["due_at"] = next_due(frequency, row.hour, row.weekday, row.timezone, now)
    connection.execute(update(subscriptions).where(subscriptions.c.id == subscription_id).values(values))
    note(connection, row.subscriber_id, row.list_id, "changed", source, now, proof)
    return True


def pause_until(
    connection: Connection,
    subscription_id: int,
    until: datetime,
    source: str,
    now: datetime,
    proof: Proof | None = None,
) -> bool:
    """Send nothing before a moment; False unless active or paused. The cursor waits: what is missed comes then."""
    row = connection.execute(
        update(subscriptions)
        .where(subscriptions.c.id == subscription_id, subscriptions.c.state.in_(("active", "paused")))
        .values(state="paused", due_at=None, paused_until=until)
        .returning(subscriptions.c.subscriber_id, subscriptions.c.list_id)
    ).one_or_none()
    if row is None:
        return False
    note(connection, row.subscriber_id, row.list_id, "changed", f"{source}: paused until {until:%Y-%m-%d}", now, proof)
    return True


def resume(connection: Connection, row: Any, next_due: NextDue, now: datetime, proof: Proof | None = None) -> None:
    """Go on after a pause; ``row`` has the subscription and its subscriber's ``timezone``."""
    due_at = next_due(row.frequency, row.hour, row.weekday, row.timezone, now)
    audience.resume(connection, row.id, due_at, now, proof)
