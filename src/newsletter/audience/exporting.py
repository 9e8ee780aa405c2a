"""All that is kept of one person, for that person (GDPR, articles 15 and 20)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from newsletter.audience.consents import as_shown, consent_history
from newsletter.audience.links import Keys
from newsletter.audience.picks import KINDS
from newsletter.audience.schedule import WEEKDAYS
from newsletter.audience.suppressions import suppressed
from newsletter.tables import address_changes, deliveries, lists, notices, profiles, runs, subscribers, subscriptions


def person_data(connection: Connection, keys: Keys, subscriber_id: int) -> dict[str, Any]:
    """One person's data: themselves, subscriptions, consents, deliveries, notices and changes of address.

    ``keys``: all secret keys, by which it is found why they must not be mailed, if so.
    Values are those of JSON; moments are text in ISO 8601, UTC. Empty if they were erased.
    """
    person = connection.execute(
        select(subscribers).where(subscribers.c.id == subscriber_id, subscribers.c.erased_at.is_(None))
    ).one_or_none()
    if person is None:
        return {}
    named = ("email", "name", "language", "timezone", "created_at", "suppressed_at")
    why = suppressed(connection, keys, [person.email_key]).get(person.email_key)
    own = {name: getattr(person, name) for name in named}
    data = {
        "subscriber": own | {"suppressed_because": why, "last_failure": _failure(person)},
        "subscriptions": _subscriptions(connection, subscriber_id),
        "consents": [as_shown(row) for row in consent_history(connection, subscriber_id)],
        "deliveries": _deliveries(connection, subscriber_id),
        "notices": _notices(connection, subscriber_id),
        "address_changes": _changes(connection, subscriber_id),
    }
    return {name: _plain(value) for name, value in data.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list) else value


def _failure(person: Any) -> dict[str, Any] | None:
    if person.failed_at is None:
        return None
    return {"at": person.failed_at, "code": person.failure_code, "answer": person.failure}


def _subscriptions(connection: Connection, subscriber_id: int) -> list[dict[str, Any]]:
    own = ("state", "frequency", "hour", "due_at", "paused_until", "created_at")
    rows = connection.execute(
        select(subscriptions, lists.c.slug, lists.c.name, *(profiles.c[kind] for kind in KINDS))
        .join(lists, lists.c.id == subscriptions.c.list_id)
        .join(profiles, profiles.c.id == subscriptions.c.profile_id)
        .where(subscriptions.c.subscriber_id == subscriber_id)
        .order_by(subscriptions.c.id)
    )
    return [
        {"list": row.slug, "list_name": row.name}
        | {name: getattr(row, name) for name in own}
        | {"weekday": WEEKDAYS[row.weekday], "picks": {kind: getattr(row, kind) for kind in KINDS}}
        for row in rows
    ]


def _deliveries(connection: Connection, subscriber_id: int) -> list[dict[str, Any]]:
    rows = connection.execute(
        select(deliveries, lists.c.slug, runs.c.slot)
        .join(runs, runs.c.id == deliveries.c.run_id)
        .join(lists, lists.c.id == runs.c.list_id)
        .join(subscriptions, subscriptions.c.id == deliveries.c.subscription_id)
        .where(subscriptions.c.subscriber_id == subscriber_id)
        .order_by(deliveries.c.id)
    )
    own = ("state", "attempts", "closed_at", "code", "answer")
    return [
        {"id": row.id, "list": row.slug, "slot": row.slot, "dated_at": row.dated_at}
        | {name: getattr(row, name) for name in own}
        for row in rows
    ]


def _notices(connection: Connection, subscriber_id: int) -> list[dict[str, Any]]:
    rows = connection.execute(
        select(notices, lists.c.slug)
        .outerjoin(lists, lists.c.id == notices.c.list_id)
        # What went to another address would tell whether that one is known here, and whether there is a mailbox:
        # ``address_changes`` has all of them.
        .where(notices.c.subscriber_id == subscriber_id, notices.c.email.is_(None))
        .order_by(notices.c.id)
    )
    own = ("kind", "asked_at", "dated_at", "closed_at", "code", "answer")
    return [{"list": row.slug} | {name: getattr(row, name) for name in own} for row in rows]


def _changes(connection: Connection, subscriber_id: int) -> list[dict[str, Any]]:
    own = ("email", "asked_at", "old_confirmed_at", "new_confirmed_at", "closed_at")
    rows = connection.execute(
        select(address_changes).where(address_changes.c.subscriber_id == subscriber_id).order_by(address_changes.c.id)
    )
    return [{name: getattr(row, name) for name in own} for row in rows]
