"""What there is to report of a run to the admins of its list, read from the ledger."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, LargeBinary, func, select, type_coerce

from newsletter.digests import oversight
from newsletter.digests.matching import Item
from newsletter.digests.runs import as_item
from newsletter.mail.letter import Report
from newsletter.packing import united
from newsletter.tables import deliveries, editions, items, lists, runs

REFUSALS = 3
SAMPLE = 1000
"""Answers that are read of each code: enough to find the commonest."""
LONGEST = 160
ADDRESS = re.compile(r"[^\s<>()\[\]\"',;:]*@[^\s<>()\[\]\"',;:]*")
"""What looks like an address, wherever it stands in a server's answer."""


def report_of(connection: Connection, run_id: int, latest: int) -> tuple[Report, Sequence[Item]]:
    """What a run came to until now, and the ``latest`` items of its digests in the order in which they came."""
    run = connection.execute(
        select(runs, lists.c.timezone).join(lists, lists.c.id == runs.c.list_id).where(runs.c.id == run_id)
    ).one()
    began = run.approved_at or run.opened_at
    ids = _item_ids(connection, run_id)
    report = Report(
        run=run_id,
        slot=run.slot.astimezone(ZoneInfo(run.timezone)),
        counts=oversight.delivery_counts(connection, run_id),
        items=len(ids),
        took=run.finished_at - began if run.finished_at else None,
        refusals=tuple(_refusals(connection, run_id)),
    )
    newest = connection.execute(
        select(*(items.c[name] for name in Item.__slots__))
        .where(items.c.id.in_(heapq.nlargest(latest, ids)))
        .order_by(items.c.position)
    )
    return report, [as_item(row) for row in newest]


def _item_ids(connection: Connection, run_id: int) -> set[int]:
    packed = select(type_coerce(editions.c.item_ids, LargeBinary)).where(editions.c.run_id == run_id)
    return united(connection.scalars(packed.execution_options(yield_per=1000)))


def _refusals(connection: Connection, run_id: int) -> list[tuple[str, int]]:
    """The codes with which most digests ended that were not sent, each with what was said most often."""
    ended = (
        deliveries.c.run_id == run_id,
        deliveries.c.state.in_(("failed", "expired")),
        deliveries.c.code.is_not(None),
    )
    codes = connection.execute(
        select(deliveries.c.code, func.count().label("count_"))
        .where(*ended)
        .group_by(deliveries.c.code)
        .order_by(func.count().desc(), deliveries.c.code)
        .limit(REFUSALS)
    ).all()
    found = []
    for code, count in codes:
        said = connection.scalars(select(deliveries.c.answer).where(*ended, deliveries.c.code == code).limit(SAMPLE))
        text = Counter(without_addresses(answer or "") for answer in said).most_common(1)[0][0]
        found.append((f"{code} {text}".strip(), count))
    return found


def without_addresses(answer: str) -> str:
    """A server's answer on one line, an ellipsis for each address, so that it is the same for everybody.

    Servers like to repeat whom they refuse.
    """
    return " ".join(ADDRESS.sub("…", answer).replace("<…>", "…").split())[:LONGEST]
