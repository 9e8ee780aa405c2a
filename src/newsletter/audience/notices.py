"""Transactional mail that somebody asked for by what they did: it waits in the database until a worker sends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, exists, insert, select, update

from newsletter import database
from newsletter.columns import Moment
from newsletter.tables import deliveries, lists, notices, runs

Kind = Literal[
    "confirm", "welcome", "known", "account", "address_old", "address_new", "goodbye", "run_held", "run_done"
]
"""``known``: somebody entered an address that is on the list already. ``account``: a fresh link to all of one's
subscriptions. ``address_old``, ``address_new``: a change of address is to be confirmed at both ends. ``run_held``,
``run_done``: reports on a run, to the addresses that its list names for them."""
REPORTS: tuple[Kind, ...] = ("run_held", "run_done")
ADDRESS: tuple[Kind, ...] = ("address_old", "address_new")
PAUSE = timedelta(hours=1)
"""At most one of a kind, for one address and list, in this time: nobody is to be bombarded through us."""

_COLUMNS = ("kind", "subscriber_id", "list_id", "email", "data", "asked_at", "due_at")
# An UPDATE would take what is named as a column for what to set.
_GIVEN = {name: bindparam(f"given_{name}", type_=notices.c[name].type) for name in _COLUMNS}
_SAME = (
    (notices.c.kind == _GIVEN["kind"])
    & (notices.c.subscriber_id == _GIVEN["subscriber_id"])
    & notices.c.list_id.is_not_distinct_from(_GIVEN["list_id"])
    & notices.c.email.is_not_distinct_from(_GIVEN["email"])
)
_WAITS = notices.c.due_at.is_not(None)
RECENT = _WAITS | (notices.c.code.is_not(None) & (notices.c.asked_at > bindparam("since", type_=Moment())))
"""One that waits, or went out after ``since``."""
_UNLESS_LATELY = (
    insert(notices)
    .from_select(_COLUMNS, select(*_GIVEN.values()).where(~exists().where(_SAME, RECENT)))
    .returning(notices.c.id)
)
_ASK_NOW = update(notices).where(_SAME, _WAITS).values(asked_at=_GIVEN["asked_at"])


def ask(
    connection: Connection,
    kind: Kind,
    *,
    subscriber_id: int,
    list_id: int | None,
    now: datetime,
    email: str | None = None,
    data: Mapping[str, Any] | None = None,
    pause: timedelta | None = PAUSE,
) -> bool:
    """Ask for a mail to a subscriber, or to ``email`` in its place; False if one waits or went out within ``pause``.

    One that waits is asked for now: it is tried for as long as a new one would be. One that was given up without
    being tried counts for nothing: they left in between, and come back now. Without ``pause`` the caller sees to it
    that nobody is bombarded.
    """
    notice = {
        "kind": kind,
        "subscriber_id": subscriber_id,
        "list_id": list_id,
        "email": email,
        "data": dict(data or {}),
        "asked_at": now,
        "due_at": now,
    }
    if not pause:
        connection.execute(insert(notices), notice)
        return True
    given = {"since": now - pause, **{f"given_{name}": value for name, value in notice.items()}}
    if connection.execute(_UNLESS_LATELY, given).first() is not None:
        return True
    connection.execute(_ASK_NOW, given)
    return False


def ask_all(connection: Connection, kind: Kind, subscriber_ids: Sequence[int], *, list_id: int, now: datetime) -> None:
    """Ask for a mail to each of these, who have not been asked before."""
    same: dict[str, Any] = {"kind": kind, "list_id": list_id, "data": {}, "asked_at": now, "due_at": now}
    if subscriber_ids:
        connection.execute(insert(notices), [{"subscriber_id": number, **same} for number in subscriber_ids])


def report(connection: Connection, kind: Kind, run_ids: Sequence[int], now: datetime) -> None:
    """Ask for a report on each of these runs to each address that its list names; none on one without a digest.

    Called in the transaction that holds or finishes the run. Nobody is told twice, even if a run that was done is taken
    up again.
    """
    if not run_ids:
        return
    found = connection.execute(
        select(runs.c.id, runs.c.list_id, lists.c.reports_to)
        .join(lists, lists.c.id == runs.c.list_id)
        .where(runs.c.id.in_(run_ids), exists().where(deliveries.c.run_id == runs.c.id))
        .order_by(runs.c.id)
    )
    same: dict[str, Any] = {"kind": kind, "asked_at": now, "due_at": now}
    asked = [
        {**same, "list_id": run.list_id, "email": email, "data": {"run": run.id}}
        for run in found
        for email in run.reports_to
    ]
    if asked:
        connection.execute(database.insert(connection, notices).on_conflict_do_nothing(), asked)
