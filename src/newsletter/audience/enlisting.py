"""Putting an address on a list: subscriber, profile, subscription, consent and the mail that asks to confirm.

On PostgreSQL that is one statement, since each trip to the database costs more than what it does there. SQLite has no
INSERT inside a WITH, and no trip to make: there the same go one after the other, but for the mail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Table,
    Text,
    any_,
    bindparam,
    case,
    exists,
    func,
    lambda_stmt,
    literal,
    literal_column,
    null,
    or_,
    select,
    text,
    true,
    union_all,
)
from sqlalchemy.dialects import postgresql, sqlite

from newsletter.audience.notices import RECENT
from newsletter.audience.suppressions import ERASED
from newsletter.tables import consents, lists, notices, profiles, subscribers, subscriptions, suppressions

PERSON = ("email", "email_key", "name", "language", "timezone", "created_at")
PROFILE = ("key", "countries", "regions", "themes", "languages")
BEGIN = ("state", "frequency", "hour", "weekday", "start", "cursor", "due_at")
BEGUN = ("id", "subscriber_id", "list_id", "state")
AFRESH = ("paused_until", "last_run_id", "last_outcome")
CONSENT = ("at", "event", "source", "address_hash", "network", "page", "wording", "picks")


class Enlisted(NamedTuple):
    """The subscription that was made or begins again, whose it is, and whether the mail to confirm is asked for."""

    id: int
    subscriber_id: int
    is_asked: bool


def enlist(connection: Connection, values: Mapping[str, Any], hashes: Iterable[str]) -> Enlisted | None:
    """Put an address on a list, unless it is there or must not be mailed, or the list is archived; then None, and
    nothing is new.

    Who left before begins again; who left all lists is written to as they spell themselves now. Name, language and
    zone are for a new subscriber. ``values``: the columns named above, ``list_id``, and ``since`` when a mail is recent
    (``notices``); without a cursor it is where the list stands. ``hashes``: of the address, as suppressions are kept.
    None comes as well if somebody else brings the same new picks at this moment: then they are there now.
    """
    given = {**values, "hashes": list(hashes)}
    if connection.dialect.name == "postgresql":
        row = connection.execute(_WHOLE, given).one_or_none()
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
    return Enlisted(given["subscription_id"], given["subscriber_id"], False)


def _whole() -> Any:
    """The statement for PostgreSQL."""
    hashes = bindparam("hashes", type_=postgresql.ARRAY(Text()))
    person = _person(postgresql.insert, suppressions.c.address_hash == any_(hashes)).cte("person")
    made = _profile(postgresql.insert, person).returning(profiles.c.id).cte("made")
    profile = union_all(select(made.c.id), select(profiles.c.id).where(_SAME_PICKS)).limit(1).cte("profile")
    ids = select(person.c.id, profile.c.id).join_from(person, profile, true())
    begun = _subscription(postgresql.insert, ids).cte("begun")
    asked = _mail(begun).returning(notices.c.id).cte("asked")
    consent = _consent(postgresql.insert, select(begun.c.subscriber_id))
    is_asked = exists(select(asked.c.id))
    return consent.returning(select(begun.c.id).scalar_subquery(), consents.c.subscriber_id, is_asked)


@cache
def _parts() -> tuple[Any, Any, Any, Any]:
    """The statements for SQLite, in their order."""
    person = bindparam("subscriber_id", type_=subscribers.c.id.type)
    return (
        _person(sqlite.insert, suppressions.c.address_hash.in_(bindparam("hashes", expanding=True))),
        _profile(sqlite.insert),
        _subscription(sqlite.insert, select(person, profiles.c.id).where(_SAME_PICKS)),
        _consent(sqlite.insert, select(person)),
    )


def _person(insert: Any, suppression: Any) -> Any:
    # Who was erased may ask anew; all they are sent before they confirm it is the mail that asks them to.
    barred = exists().where(suppression, or_(suppressions.c.reason != ERASED, ~bindparam("by_reader", type_=Boolean())))
    # Of one who is there nothing is touched, not even the spelling: anybody can send a form.
    there = exists().where(
        subscribers.c.email_key == _given(subscribers, "email_key"),
        subscriptions.c.subscriber_id == subscribers.c.id,
        subscriptions.c.list_id == lists.c.id,
        subscriptions.c.state != "unsubscribed",
    )
    new = insert(subscribers).from_select(PERSON, _row(subscribers, PERSON).where(_LIST, _IS_OPEN, ~there, ~barred))
    # Nor if they are on another list: only who left all, or never was on one, is written to as they say now.
    theirs = subscriptions.alias("s")
    on_any = exists(text("1")).where(
        theirs.c.subscriber_id == literal_column("subscribers.id"), theirs.c.state != "unsubscribed"
    )
    spelling = case((on_any, literal_column("subscribers.email")), else_=new.excluded.email)
    # Also if nothing changes by it: it locks them. A sign-up that never was confirmed may be vanishing at this moment.
    kept = new.on_conflict_do_update(index_elements=["email_key"], set_={"email": spelling})
    return kept.returning(subscribers.c.id)


def _profile(insert: Any, *after: Any) -> Any:
    row = _row(profiles, PROFILE).select_from(*after).where(~exists().where(_SAME_PICKS))
    return insert(profiles).from_select(PROFILE, row).on_conflict_do_nothing()


def _subscription(insert: Any, ids: Any) -> Any:
    columns = ("subscriber_id", "profile_id", "list_id", "created_at", *BEGIN)
    here = select(lists.c.last_position).where(_LIST).scalar_subquery()
    given = {name: _given(subscriptions, name) for name in columns[2:]}
    given |= {name: func.coalesce(given[name], here) for name in ("start", "cursor")}
    new = insert(subscriptions).from_select(columns, ids.add_columns(*given.values()))
    again = {name: new.excluded[name] for name in ("profile_id", *BEGIN)} | dict.fromkeys(AFRESH, null())
    return new.on_conflict_do_update(
        index_elements=["list_id", "subscriber_id"], set_=again, where=subscriptions.c.state == "unsubscribed"
    ).returning(*(subscriptions.c[name] for name in BEGUN))


def _consent(insert: Any, person: Any) -> Any:
    columns = ("subscriber_id", "list_id", *CONSENT)
    return insert(consents).from_select(columns, person.add_columns(*_all(consents, columns[1:])))


def _mail(begun: Any) -> Any:
    same = (notices.c.subscriber_id == begun.c.subscriber_id) & (notices.c.list_id == begun.c.list_id)
    recent = exists().where(same, notices.c.kind == "confirm", notices.c.email.is_(None), RECENT)
    now = _given(consents, "at")
    confirm = select(literal("confirm"), begun.c.subscriber_id, begun.c.list_id, now, now)
    columns = ("kind", "subscriber_id", "list_id", "asked_at", "due_at")
    return postgresql.insert(notices).from_select(columns, confirm.where(begun.c.state == "pending", ~recent))


def _row(table: Table, names: Iterable[str]) -> Any:
    return select(*_all(table, names))


def _all(table: Table, names: Iterable[str]) -> list[ColumnElement[Any]]:
    return [_given(table, name) for name in names]


def _given(table: Table, name: str) -> ColumnElement[Any]:
    return bindparam(name, type_=table.c[name].type)


_LIST = lists.c.id == bindparam("list_id", type_=lists.c.id.type)
_IS_OPEN = lists.c.archived_at.is_(None)
_SAME_PICKS = profiles.c.key == _given(profiles, "key")
# To find its text again, SQLAlchemy would walk through all of it each time: half of what it takes.
_WHOLE = lambda_stmt(_whole, enable_tracking=False)
