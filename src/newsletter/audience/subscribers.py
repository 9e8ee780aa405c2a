"""Subscribers and their subscriptions: each change in one place, with its line in the consent history.

A subscription is ``pending`` until confirmed, then ``active``; ``paused`` and ``unsubscribed`` get no mail.
Where a moment of sending is needed it is an argument: calendars belong to digests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from newsletter.audience import notices
from newsletter.audience.addresses import Address, parse_address
from newsletter.audience.consents import Proof, agreed, consent_hash, note, written
from newsletter.audience.enlisting import enlist
from newsletter.audience.links import Keys
from newsletter.audience.picks import Picks, profile_ids
from newsletter.audience.schedule import NextDue, Schedule
from newsletter.audience.suppressions import ERASED, lift, suppressed, suppression_hashes
from newsletter.controls import CONTROL
from newsletter.errors import InputError, StateError, UnknownName
from newsletter.resembling import nearest
from newsletter.tables import deliveries, lists, profiles, subscribers, subscriptions

PERSON = ("name", "language", "timezone")
"""What belongs to a subscriber, on whatever lists."""
LIVE = ("pending", "active", "paused")
"""States of a subscription that can be left."""


def find_person(connection: Connection, address: Address) -> Any | None:
    """The subscriber of an address, if there is one."""
    return connection.execute(
        select(
            subscribers.c.id.label("subscriber_id"),
            subscribers.c.name,
            subscribers.c.language,
            subscribers.c.timezone,
        ).where(subscribers.c.email_key == address.key)
    ).one_or_none()


def change_person(
    connection: Connection, person: Any, values: Mapping[str, Any], next_due: NextDue, now: datetime
) -> bool:
    """Change what ``values`` names of ``PERSON``; whether anything is another now.

    ``person`` is a row with ``subscriber_id`` and the columns of ``PERSON``. Every list's digests come in the new
    language, and at the same hour of the new zone.
    """
    changed = {name: value for name, value in values.items() if getattr(person, name) != value}
    if changed:
        connection.execute(update(subscribers).where(subscribers.c.id == person.subscriber_id).values(**changed))
    if "timezone" in changed:
        reschedule(connection, [person.subscriber_id], next_due, now)
    return bool(changed)


SCHEDULES = select(
    subscriptions.c.id, subscriptions.c.frequency, subscriptions.c.hour, subscriptions.c.weekday, subscribers.c.timezone
).join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
"""Of each subscription: its number, and what its slots follow from."""


def reschedule(connection: Connection, subscriber_ids: Sequence[int], next_due: NextDue, now: datetime) -> None:
    """Set the next slot of all active subscriptions of these people anew: their zone is another now."""
    found = connection.execute(
        SCHEDULES.where(subscribers.c.id.in_(subscriber_ids), subscriptions.c.state == "active")
    ).all()
    if found:
        connection.execute(
            update(subscriptions)
            .where(subscriptions.c.id == bindparam("row_id"), subscriptions.c.state == "active")
            .values(due_at=bindparam("new_due_at")),
            [
                {"row_id": row.id, "new_due_at": next_due(row.frequency, row.hour, row.weekday, row.timezone, now)}
                for row in found
            ],
        )


def find_subscription(connection: Connection, email: str, list_id: int) -> Any:
    """A subscription with its subscriber and profile, by address.

    Raises:
        UnknownName: nobody of this address on this list.
    """
    key = parse_address(email).key
    row = connection.execute(
        _listing().where(subscribers.c.email_key == key, subscriptions.c.list_id == list_id)
    ).one_or_none()
    if row is None:
        if elsewhere := sorted(other.slug for other in subscriptions_of(connection, email)):
            raise UnknownName(f"{email} is not on this list, but on {', '.join(elsewhere)}: name one with --list.")
        known = connection.scalars(
            select(subscribers.c.email)
            .where(subscribers.c.email_key.like(f"{key[:2]}%"), subscribers.c.erased_at.is_(None))
            .limit(500)
        )
        raise UnknownName(f"{email} is not on this list.", nearest(email, {address: address for address in known}))
    return row


def select_subscriptions(
    connection: Connection, list_id: int | None, state: str | None, search: str | None, limit: int | None
) -> Iterator[Any]:
    """Subscriptions by address, streamed; ``search`` is a part of address or name."""
    statement = _listing()
    if list_id is not None:
        statement = statement.where(subscriptions.c.list_id == list_id)
    if state:
        statement = statement.where(subscriptions.c.state == state)
    if search:
        statement = statement.where(
            subscribers.c.email_key.contains(search.lower(), autoescape=True)
            | subscribers.c.name.icontains(search, autoescape=True)
        )
    statement = statement.order_by(subscribers.c.email_key).limit(limit)
    yield from connection.execute(statement.execution_options(yield_per=1000))


def subscriptions_of(connection: Connection, email: str) -> Sequence[Any]:
    """Every subscription of an address."""
    key = parse_address(email).key
    return connection.execute(_listing().where(subscribers.c.email_key == key)).all()


_ROW = (
    subscriptions,
    subscribers.c.email,
    subscribers.c.email_key,
    subscribers.c.name,
    subscribers.c.language,
    subscribers.c.timezone,
    subscribers.c.failed_at,
    subscribers.c.failure_code,
    subscribers.c.failure,
    subscribers.c.suppressed_at,
    lists.c.slug,
    lists.c.last_position,
    lists.c.archived_at,
    profiles.c.countries,
    profiles.c.regions,
    profiles.c.themes,
    profiles.c.languages,
)


def _listing() -> Any:
    return (
        select(*_ROW)
        .join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
        .join(lists, lists.c.id == subscriptions.c.list_id)
        .join(profiles, profiles.c.id == subscriptions.c.profile_id)
        .where(subscribers.c.erased_at.is_(None))
    )


_PERSON = (subscribers.c.email_key == bindparam("key")) & subscribers.c.erased_at.is_(None)
_THEIRS = (subscriptions.c.list_id == lists.c.id) & (subscriptions.c.subscriber_id == subscribers.c.id)
_STANDING = (
    select(*_ROW)
    .select_from(lists)
    .outerjoin(subscribers, _PERSON)
    .outerjoin(subscriptions, _THEIRS)
    .outerjoin(profiles, profiles.c.id == subscriptions.c.profile_id)
    .where(lists.c.id == bindparam("list"))
)


def standing(connection: Connection, list_id: int, address: Address) -> Any:
    """How an address stands with a list: a row as of ``find_subscription``.

    What is of the list is always there; of the rest all is None if the address is not on it.
    """
    return connection.execute(_STANDING, {"list": list_id, "key": address.key}).one()


def subscribe(
    connection: Connection,
    list_id: int,
    address: Address,
    picks: Picks,
    schedule: Schedule,
    *,
    keys: Keys,
    name: str,
    language: str,
    timezone: str,
    cursor: int | None,
    due_at: datetime | None,
    source: str,
    now: datetime,
    proof: Proof | None = None,
    by_reader: bool = False,
) -> int:
    """Put an address on a list; the subscription's id.

    With ``due_at`` the subscription is confirmed and active; without, pending, and the confirmation mail
    is asked for. Somebody who left before comes back this way. ``cursor``: None is where the list stands.
    Name, language and zone are for a new subscriber; one who is there keeps theirs (``change_person``).
    ``keys``: all secret keys; address and picks are added to ``proof``. ``by_reader``: whether they ask themselves,
    and are asked to confirm; then it may be somebody who was erased.

    Raises:
        StateError: the address is suppressed, or on the list already, or the list is archived.
    """
    proof = replace(proof or Proof(), address_hash=consent_hash(keys, address.key), picks=agreed(picks, schedule))
    event = "asked" if due_at is None else "confirmed"
    values = {
        "list_id": list_id,
        "created_at": now,
        "email": address.email,
        "email_key": address.key,
        "name": name,
        "language": language,
        "timezone": timezone,
        "key": picks.key,
        **picks.columns(),
        "state": "pending" if due_at is None else "active",
        **asdict(schedule),
        "start": cursor,
        "cursor": cursor,
        "due_at": due_at,
        **written(event, source, now, proof),
        "by_reader": by_reader and due_at is None,
        "since": now - notices.PAUSE,
    }
    while (made := enlist(connection, values, suppression_hashes(keys, address.key))) is None:
        _check_free(connection, keys, list_id, address, by_reader)
    if cursor is not None:
        # Made for the picks of before they left, it would go out beside what is due from here on.
        waits = deliveries.c.subscription_id == made.id, deliveries.c.state.in_(("held", "queued", "deferred"))
        connection.execute(update(deliveries).where(*waits).values(state="dropped", closed_at=now))
    if due_at is None and not made.is_asked:
        notices.ask(connection, "confirm", subscriber_id=made.subscriber_id, list_id=list_id, now=now)
    return made.id


def _check_free(connection: Connection, keys: Keys, list_id: int, address: Address, by_reader: bool) -> None:
    why = suppressed(connection, keys, [address.key]).get(address.key)
    if why and not (by_reader and why == ERASED):
        raise StateError(f"{address.email} must not be mailed: {why}.")
    present = standing(connection, list_id, address)
    if present.archived_at is not None:
        raise StateError(f"The list {present.slug!r} is archived.")
    if present.state not in (None, "unsubscribed"):
        confirming = ", or confirm it with `newsletter subscribers add --confirmed`" * (present.state == "pending")
        raise StateError(
            f"{address.email} is on this list already ({present.state}).",
            f"Change it with `newsletter subscribers edit`{confirming}.",
        )


def edit(
    connection: Connection,
    row: Any,
    *,
    person: Mapping[str, Any],
    picks: Picks,
    schedule: Schedule,
    next_due: NextDue,
    source: str,
    now: datetime,
    proof: Proof | None = None,
) -> bool:
    """Change a subscription (``row`` of ``find_subscription``) and its subscriber; whether anything is another now.

    Changed picks hold from the next run on; the cursor stays, so that nothing comes twice.
    """
    values: dict[str, Any] = {}
    if any(getattr(row, kind) != chosen for kind, chosen in picks.columns().items()):
        values["profile_id"] = profile_ids(connection, [picks])[picks]
    if schedule != Schedule(row.frequency, row.hour, row.weekday):
        values |= {"frequency": schedule.frequency, "hour": schedule.hour, "weekday": schedule.weekday}
        if row.state == "active":
            zone = person.get("timezone", row.timezone)
            values["due_at"] = next_due(schedule.frequency, schedule.hour, schedule.weekday, zone, now)
    if values:
        connection.execute(update(subscriptions).where(subscriptions.c.id == row.id).values(**values))
    changed = change_person(connection, row, person, next_due, now) or bool(values)
    if changed:
        note(connection, row.subscriber_id, row.list_id, "changed", source, now, proof)
    return changed


def confirm(
    connection: Connection,
    keys: Keys,
    subscription_id: int,
    source: str,
    due_at: datetime,
    now: datetime,
    proof: Proof | None = None,
) -> None:
    """Make a pending subscription active at its reader's own word, and ask for the welcome; twice changes nothing.

    Who was erased before may be mailed again from now on.
    """
    change = _Change(("pending",), "active", "confirmed", source, due_at)
    address_key = str(key_of(connection, subscription_id))
    proof = replace(proof or Proof(), address_hash=consent_hash(keys, address_key))
    row = _make(connection, subscription_id, change, now, proof)
    if row is not None:
        lift(connection, keys, address_key)
        notices.ask(connection, "welcome", subscriber_id=row.subscriber_id, list_id=row.list_id, now=now)


def confirm_for(
    connection: Connection,
    keys: Keys,
    row: Any,
    source: str,
    due_at: datetime,
    now: datetime,
    *,
    cursor: int | None = None,
) -> None:
    """Make a pending subscription (``row`` of ``find_subscription``) active at an admin's word that its reader agreed.

    Nobody gets a mail of it. ``cursor``: None leaves it where it stands.

    Raises:
        StateError: the address is suppressed.
    """
    if why := suppressed(connection, keys, [row.email_key]).get(row.email_key):
        raise StateError(f"{row.email} must not be mailed: {why}.")
    if cursor is not None:
        values = {"start": cursor, "cursor": cursor}
        connection.execute(update(subscriptions).where(subscriptions.c.id == row.id).values(**values))
    proof = Proof(consent_hash(keys, row.email_key))
    _make(connection, row.id, _Change(("pending",), "active", "confirmed", source, due_at), now, proof)


def key_of(connection: Connection, subscription_id: int) -> str | None:
    """The comparable address of a subscription's reader."""
    theirs = select(subscriptions.c.subscriber_id).where(subscriptions.c.id == subscription_id)
    return connection.scalar(select(subscribers.c.email_key).where(subscribers.c.id == theirs.scalar_subquery()))


def unsubscribe(
    connection: Connection, subscription_id: int, source: str, now: datetime, proof: Proof | None = None
) -> None:
    """End a subscription; what is still waiting for it will not go out."""
    change = _Change(LIVE, "unsubscribed", "unsubscribed", source)
    _make(connection, subscription_id, change, now, proof)


def pause(connection: Connection, subscription_id: int, now: datetime, proof: Proof | None = None) -> None:
    """Send nothing until resumed; the cursor waits too, so that what is missed comes then."""
    _make(connection, subscription_id, _Change(("active",), "paused", "changed", "paused"), now, proof)


def resume(
    connection: Connection, subscription_id: int, due_at: datetime, now: datetime, proof: Proof | None = None
) -> None:
    """Go on after a pause."""
    _make(connection, subscription_id, _Change(("paused",), "active", "changed", "resumed", due_at), now, proof)


@dataclass(frozen=True, slots=True)
class _Change:
    """From the states ``before`` to ``after``, and what the consent history says of it."""

    before: tuple[str, ...]
    after: str
    event: str
    source: str
    due_at: datetime | None = None


def _make(connection: Connection, subscription_id: int, change: _Change, now: datetime, proof: Proof | None) -> Any:
    row = connection.execute(
        update(subscriptions)
        .where(subscriptions.c.id == subscription_id, subscriptions.c.state.in_(change.before))
        .values(state=change.after, due_at=change.due_at, paused_until=None)
        .returning(subscriptions.c.subscriber_id, subscriptions.c.list_id)
    ).one_or_none()
    if row is not None:
        note(connection, row.subscriber_id, row.list_id, change.event, change.source, now, proof)
    return row


def check_name(text: str) -> str:
    """A person's name as it may stand in a To header.

    Raises:
        InputError: it holds a line end or another control character, or is longer than 200.
    """
    name = text.strip()
    if CONTROL.search(name):
        raise InputError(f"The name {name!r} holds a line end or control character.")
    if len(name) > 200:
        raise InputError("The name is longer than 200 characters.")
    return name
