"""Transactional mail that somebody asked for by what they did: it waits in the database until a worker sends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, insert, select, update

from newsletter.tables import notices

Kind = Literal["confirm", "welcome", "known", "account", "address_old", "address_new", "goodbye"]
"""``known``: somebody entered an address that is on the list already. ``account``: a fresh link to all of one's
subscriptions. ``address_old``, ``address_new``: a change of address is to be confirmed at both ends."""
PAUSE = timedelta(hours=1)
"""At most one of a kind, for one address and list, in this time: nobody is to be bombarded through us."""


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
    same = (
        (notices.c.kind == kind)
        & (notices.c.subscriber_id == subscriber_id)
        & notices.c.list_id.is_not_distinct_from(list_id)
        & notices.c.email.is_not_distinct_from(email)
    )
    if pause:
        waiting = update(notices).where(same, notices.c.due_at.is_not(None)).values(asked_at=now)
        lately = select(notices.c.id).where(same, notices.c.code.is_not(None), notices.c.asked_at > now - pause)
        if connection.execute(waiting).rowcount or connection.execute(lately.limit(1)).first() is not None:
            return False
    connection.execute(
        insert(notices).values(
            kind=kind,
            subscriber_id=subscriber_id,
            list_id=list_id,
            email=email,
            data=dict(data or {}),
            asked_at=now,
            due_at=now,
        )
    )
    return True


def ask_all(connection: Connection, kind: Kind, subscriber_ids: Sequence[int], *, list_id: int, now: datetime) -> None:
    """Ask for a mail to each of these, who have not been asked before."""
    same: dict[str, Any] = {"kind": kind, "list_id": list_id, "data": {}, "asked_at": now, "due_at": now}
    if subscriber_ids:
        connection.execute(insert(notices), [{"subscriber_id": number, **same} for number in subscriber_ids])
