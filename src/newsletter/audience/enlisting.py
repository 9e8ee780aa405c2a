"""Putting an address on a list: subscriber, profile, subscription and consent.

On PostgreSQL that is one statement, since each trip to the database costs more than what it does there. SQLite has no
INSERT inside a WITH, and no trip to make: there the same go one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Boolean, ColumnElement, Connection, Table, bindparam, exists, or_, select, true, union_all
from sqlalchemy.dialects import postgresql, sqlite

from newsletter.audience.suppressions import ERASED
from newsletter.tables import consents, profiles, subscribers, subscriptions, suppressions

PERSON = ("email", "email_key", "name", "language", "timezone", "created_at")
PROFILE = ("key", "countries", "regions", "themes", "languages")
BEGIN = ("state", "frequency", "hour", "weekday", "start", "cursor", "due_at")
AFRESH = ("paused_until", "last_run_id", "last_outcome")
CONSENT = ("at", "event", "source", "address_hash", "network", "page", "wording", "picks")


class Enlisted(NamedTuple):
    """The subscription that was made or begins again, and whose it is."""

    id: int
    subscriber_id: int


def enlist(connection: Connection, values: Mapping[str, Any], hashes: Iterable[str]) -> Enlisted | None:
    """Put an address on a list, unless it is there or must not be mailed; then None, and nothing of it is new.

    Who left before begins again. The spelling given last is the one to write to; name, language and zone are for a new
    subscriber. ``values``: the columns named above and ``list_id``. ``hashes``: of the address, as suppressions are
    kept. None comes as well if somebody else brings the same new picks at this moment: then they are there now.
    """
    given = {**values, "hashes": list(hashes)}
    if connection.dialect.name == "postgresql":
        row = connection.execute(_whole(), given).one_or_none()
        return Enlisted(*row) if row else None
    person, profile, subscription, consent = _parts()
    given["subscriber_id"] = connection.scalar(person, given)
    if given["subscriber_id"] is None:
        return None
    connection.execute(profile, given)
    given["subscription_id"] = connection.scalar(subscription, given)
    if given["subscription_id"] is None:
        return None
    connection.execute(consent, given)
    return Enlisted(given["subscription_id"], given["subscriber_id"])


@cache
def _whole() -> Any:
    """The statement for PostgreSQL."""
    person = _person(postgresql.insert).cte("person")
    made = _profile(postgresql.insert).returning(profiles.c.id).cte("made")
    there = select(profiles.c.id).where(profiles.c.key == _given(profiles, "key"))
    profile = union_all(select(made.c.id), there).limit(1).cte("profile")
    subscription = _subscription(
        postgresql.insert, select(person.c.id, profile.c.id).join_from(person, profile, true())
    ).cte("subscription")
    consent = _consent(postgresql.insert, select(subscription.c.subscriber_id))
    return consent.returning(select(subscription.c.id).scalar_subquery(), consents.c.subscriber_id)


@cache
def _parts() -> tuple[Any, Any, Any, Any]:
    """The statements for SQLite, in their order."""
    person = bindparam("subscriber_id", type_=subscribers.c.id.type)
    there = select(person, profiles.c.id).where(profiles.c.key == _given(profiles, "key"))
    return (
        _person(sqlite.insert),
        _profile(sqlite.insert),
        _subscription(sqlite.insert, there),
        _consent(sqlite.insert, select(person)),
    )


def _person(insert: Any) -> Any:
    # Who was erased may ask anew; all they are sent before they confirm it is the mail that asks them to.
    theirs = suppressions.c.address_hash.in_(bindparam("hashes", expanding=True))
    barred = exists().where(theirs, or_(suppressions.c.reason != ERASED, ~bindparam("by_reader", type_=Boolean())))
    new = insert(subscribers).from_select(PERSON, _row(subscribers, PERSON).where(~barred))
    # Also if nothing changes by it: it locks them. A sign-up that never was confirmed may be vanishing at this moment.
    kept = new.on_conflict_do_update(index_elements=["email_key"], set_={"email": new.excluded.email})
    return kept.returning(subscribers.c.id)


def _profile(insert: Any) -> Any:
    there = exists().where(profiles.c.key == _given(profiles, "key"))
    new = insert(profiles).from_select(PROFILE, _row(profiles, PROFILE).where(~there))
    return new.on_conflict_do_nothing()


def _subscription(insert: Any, ids: Any) -> Any:
    columns = ("subscriber_id", "profile_id", "list_id", "created_at", *BEGIN)
    new = insert(subscriptions).from_select(columns, ids.add_columns(*_all(subscriptions, columns[2:])))
    again = {name: new.excluded[name] for name in ("profile_id", *BEGIN)} | dict.fromkeys(AFRESH)
    return new.on_conflict_do_update(
        index_elements=["list_id", "subscriber_id"], set_=again, where=subscriptions.c.state == "unsubscribed"
    ).returning(subscriptions.c.id, subscriptions.c.subscriber_id)


def _consent(insert: Any, person: Any) -> Any:
    columns = ("subscriber_id", "list_id", *CONSENT)
    return insert(consents).from_select(columns, person.add_columns(*_all(consents, columns[1:])))


def _row(table: Table, names: Iterable[str]) -> Any:
    return select(*_all(table, names))


def _all(table: Table, names: Iterable[str]) -> list[ColumnElement[Any]]:
    return [_given(table, name) for name in names]


def _given(table: Table, name: str) -> ColumnElement[Any]:
    return bindparam(name, type_=table.c[name].type)
