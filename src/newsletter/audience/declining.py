"""Declining mail at an address that is no subscriber's, or not yet: all that a link there can do is end that mail.

A change of address is given up; an admin's address gets no more reports on runs. Neither touches a subscription:
whoever reads that mailbox has not shown that one is theirs.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, select, update

from newsletter.audience import moving
from newsletter.audience.notices import REPORTS
from newsletter.tables import lists, notices

About = Literal["address", "reports", "nothing"]
"""What is declined: ``nothing`` if it is over already."""


def about(connection: Connection, notice_id: int, now: datetime) -> tuple[About, Any]:
    """What the link in a notice would end, and the list that a report is of (name, slug)."""
    row = _find(connection, notice_id)
    if row is None:
        return "nothing", None
    if row.kind in REPORTS and row.email in row.reports_to:
        return "reports", row
    if row.kind == "address_new":
        change = moving.find(connection, row.data["number"], now)
        if change is not None and change.state == "waiting":
            return "address", None
    return "nothing", None


def decline(connection: Connection, notice_id: int, now: datetime) -> tuple[About, Any]:
    """End it; what was ended, as of ``about``. A second time there is nothing to end."""
    ended, row = about(connection, notice_id, now)
    if ended == "reports":
        # Two addresses that go at one moment: each takes only itself away.
        kept = connection.execute(select(lists.c.reports_to).where(lists.c.id == row.list_id).with_for_update())
        left = [email for email in kept.scalar_one() if email != row.email]
        connection.execute(update(lists).where(lists.c.id == row.list_id).values(reports_to=left))
    elif ended == "address":
        notice = _find(connection, notice_id)
        if not moving.give_up(connection, notice.data["number"], now):
            return "nothing", None
    return ended, row


def _find(connection: Connection, notice_id: int) -> Any:
    return connection.execute(
        select(
            notices.c.kind,
            notices.c.email,
            notices.c.data,
            notices.c.list_id,
            lists.c.name,
            lists.c.slug,
            lists.c.reports_to,
        )
        .outerjoin(lists, lists.c.id == notices.c.list_id)
        .where(notices.c.id == notice_id)
    ).one_or_none()
