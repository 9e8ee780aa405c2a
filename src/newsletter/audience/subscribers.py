"""Subscribers and their subscriptions: each change in one place, with its line in the consent history.

A subscription is ``pending`` until confirmed, then ``active``; ``paused`` and ``unsubscribed`` get no mail.
Where a moment of sending is needed it is an argument: calendars belong to digests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from newsletter.audience import notices
from newsletter.audience.addresses import Address, address_hash, parse_address
from newsletter.audience.picks import Picks, profile_ids
from newsletter.audience.schedule import NextDue, Schedule
from newsletter.database import insert as dialect_insert
from newsletter.errors import InputError, StateError, UnknownName
from newsletter.resembling import nearest
from newsletter.tables import consents, deliveries, lists, profiles, subscribers, subscriptions, suppressions

PERSON = ("name", "language", "timezone")
"""What belongs to a subscriber, on whatever lists."""


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


def reschedule(connection: Connection, subscriber_ids: Sequence[int], next_due: NextDue, now: datetime) -> None:
    """Set the next slot of all active subscriptions of these people anew: their zone is another now."""
    found = connection.execute(
        select(
            subscriptions.c.id,
            subscriptions.c.frequency,
            subscriptions.c.hour,
            subscriptions.c.weekday,
            subscribers.c.timezone,
        )
        .join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
        .where(subscribers.c.id.in_(subscriber_ids), subscriptions.c.state == "active")
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
            subscribers.c.email_key.contains(search.casefold(), autoescape=True)
            | subscribers.c.name.icontains(search, autoescape=True)
        )
    statement = statement.order_by(subscribers.c.email_key).limit(limit)
    yield from connection.execute(statement.execution_options(yield_per=1000))


def subscriptions_of(connection: Connection, email: str) -> Sequence[Any]:
    """Every subscription of an address."""
    key = parse_address(email).key
    return connection.execute(_listing().where(subscribers.c.email_key == key)).all()


def _listing() -> Any:
    return (
        select(
            subscriptions,
            subscribers.c.email,
            subscribers.c.email_key,
            subscribers.c.name,
            subscribers.c.language,
            subscribers.c.timezone,
            subscribers.c.failed_at,
            subscribers.c.failure_code,
            subscribers.c.failure,
            lists.c.slug,
            lists.c.last_position,
            profiles.c.countries,
            profiles.c.regions,
            profiles.c.themes,
            profiles.c.languages,
        )
        .join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
        .join(lists, lists.c.id == subscriptions.c.list_id)
        .join(profiles, profiles.c.id == subscriptions.c.profile_id)
        .where(subscribers.c.erased_at.is_(None))
    )


def consent_history(connection: Connection, subscriber_id: int) -> Sequence[Any]:
    """What this subscriber asked for and confirmed, when and where, oldest first."""
    return connection.execute(
        select(consents, lists.c.slug)
        .join(lists, lists.c.id == consents.c.list_id)
        .where(consents.c.subscriber_id == subscriber_id)
        .order_by(consents.c.id)
    ).all()


def subscribe(
    connection: Connection,
    list_id: int,
    address: Address,
    picks: Picks,
    schedule: Schedule,
    *,
    name: str,
    language: str,
    timezone: str,
    cursor: int,
    due_at: datetime | None,
    source: str,
    now: datetime,
) -> int:
    """Put an address on a list; the subscription's id.

    With ``due_at`` the subscription is confirmed and active; without, pending, and the confirmation mail
    is asked for. Somebody who left before comes back this way, with their cursor where it was asked to be.
    Name, language and zone are for a new subscriber; one who is there keeps theirs (``change_person``).

    Raises:
        StateError: the address is suppressed, or on the list already.
    """
    reason = connection.scalar(
        select(suppressions.c.reason).where(suppressions.c.address_hash == address_hash(address.key))
    )
    if reason is not None:
        raise StateError(f"{address.email} must not be mailed: {reason}.")
    subscriber_id = _keep_subscriber(connection, address, name, language, timezone, now)
    present = connection.execute(
        select(subscriptions.c.id, subscriptions.c.state).where(
            subscriptions.c.list_id == list_id, subscriptions.c.subscriber_id == subscriber_id
        )
    ).one_or_none()
    if present is not None and present.state != "unsubscribed":
        raise StateError(
            f"{address.email} is on this list already ({present.state}).",
            "Change it with `newsletter subscribers edit`.",
        )
    values = {
        "profile_id": profile_ids(connection, [picks])[picks],
        "state": "pending" if due_at is None else "active",
        "frequency": schedule.frequency,
        "hour": schedule.hour,
        "weekday": schedule.weekday,
        "start": cursor,
        "cursor": cursor,
        "due_at": due_at,
        "paused_until": None,
        "last_run_id": None,
        "last_outcome": None,
    }
    if present is None:
        values |= {"list_id": list_id, "subscriber_id": subscriber_id, "created_at": now}
        subscription_id = _id(connection, insert(subscriptions).values(**values).returning(subscriptions.c.id))
    else:
        subscription_id = int(present.id)
        connection.execute(update(subscriptions).where(subscriptions.c.id == present.id).values(**values))
    event = "asked" if due_at is None else "confirmed"
    _note(connection, subscriber_id, list_id, event, source, now)
    if due_at is None:
        notices.ask(connection, "confirm", subscriber_id=subscriber_id, list_id=list_id, now=now)
    return subscription_id


def _keep_subscriber(
    connection: Connection, address: Address, name: str, language: str, timezone: str, now: datetime
) -> int:
    # The spelling that they gave last is the one to write to. Written first, which locks them: a sign-up that never
    # was confirmed may be vanishing at this moment.
    present = connection.scalar(
        update(subscribers)
        .where(subscribers.c.email_key == address.key)
        .values(email=address.email)
        .returning(subscribers.c.id)
    )
    if present is not None:
        return int(present)
    statement = insert(subscribers).values(
        email=address.email,
        email_key=address.key,
        name=name,
        language=language,
        timezone=timezone,
        created_at=now,
    )
    return _id(connection, statement.returning(subscribers.c.id))


def _id(connection: Connection, statement: Any) -> int:
    return int(connection.execute(statement).scalar_one())


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
        _note(connection, row.subscriber_id, row.list_id, "changed", source, now)
    return changed


def confirm(connection: Connection, subscription_id: int, source: str, due_at: datetime, now: datetime) -> None:
    """Make a pending subscription active, and ask for the welcome; doing it twice changes nothing."""
    row = _change(connection, subscription_id, ("pending",), "active", "confirmed", source, now, due_at=due_at)
    if row is not None:
        notices.ask(connection, "welcome", subscriber_id=row.subscriber_id, list_id=row.list_id, now=now)


def unsubscribe(connection: Connection, subscription_id: int, source: str, now: datetime) -> None:
    """End a subscription; what is still waiting for it will not go out."""
    _change(
        connection,
        subscription_id,
        ("pending", "active", "paused"),
        "unsubscribed",
        "unsubscribed",
        source,
        now,
    )


def pause(connection: Connection, subscription_id: int, now: datetime) -> None:
    """Send nothing until resumed; the cursor waits too, so that what is missed comes then."""
    _change(connection, subscription_id, ("active",), "paused", "changed", "paused", now)


def resume(connection: Connection, subscription_id: int, due_at: datetime, now: datetime) -> None:
    """Go on after a pause."""
    _change(connection, subscription_id, ("paused",), "active", "changed", "resumed", now, due_at=due_at)


def _change(
    connection: Connection,
    subscription_id: int,
    before: tuple[str, ...],
    after: str,
    event: str,
    source: str,
    now: datetime,
    due_at: datetime | None = None,
) -> Any | None:
    row = connection.execute(
        update(subscriptions)
        .where(subscriptions.c.id == subscription_id, subscriptions.c.state.in_(before))
        .values(state=after, due_at=due_at, paused_until=None)
        .returning(subscriptions.c.subscriber_id, subscriptions.c.list_id)
    ).one_or_none()
    if row is not None:
        _note(connection, row.subscriber_id, row.list_id, event, source, now)
    return row


def erase(connection: Connection, email: str, now: datetime) -> None:
    """Forget a person (GDPR, article 17): address, name and consent sources go, a hash stays.

    The hash keeps a later import from mailing them again; the numbers of past runs stay true.

    Raises:
        UnknownName: nobody of this address.
    """
    address = parse_address(email)
    subscriber_id = connection.scalar(select(subscribers.c.id).where(subscribers.c.email_key == address.key))
    if subscriber_id is None:
        raise UnknownName(f"There is no subscriber {email}.")
    hashed = address_hash(address.key)
    connection.execute(
        update(subscriptions)
        .where(subscriptions.c.subscriber_id == subscriber_id)
        .values(state="unsubscribed", due_at=None, paused_until=None)
    )
    connection.execute(delete(consents).where(consents.c.subscriber_id == subscriber_id))
    theirs = select(subscriptions.c.id).where(subscriptions.c.subscriber_id == subscriber_id)
    # Relays like to repeat the address in their answers.
    connection.execute(update(deliveries).where(deliveries.c.subscription_id.in_(theirs)).values(answer=None))
    connection.execute(
        update(subscribers)
        .where(subscribers.c.id == subscriber_id)
        .values(
            email=f"erased-{subscriber_id}@invalid",
            email_key=f"erased-{subscriber_id}@invalid",
            name="",
            failed_at=None,
            failure_code=None,
            failure=None,
            erased_at=now,
        )
    )
    connection.execute(
        dialect_insert(connection, suppressions)
        .values(address_hash=hashed, reason="erased at the reader's request", at=now)
        .on_conflict_do_nothing()
    )


def _note(connection: Connection, subscriber_id: int, list_id: int, event: str, source: str, now: datetime) -> None:
    connection.execute(
        insert(consents).values(subscriber_id=subscriber_id, list_id=list_id, at=now, event=event, source=source)
    )


def check_name(text: str) -> str:
    """A person's name as it may stand in a To header.

    Raises:
        InputError: it holds a line end or another control character, or is longer than 200.
    """
    name = " ".join(text.split(" ")).strip()
    if any(not character.isprintable() for character in name):
        raise InputError(f"The name {name!r} holds a line end or control character.")
    if len(name) > 200:
        raise InputError("The name is longer than 200 characters.")
    return name
