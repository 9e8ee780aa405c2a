"""Runs: open one for a list and slot, and assemble the deliveries of every due subscription.

Assembly takes due subscriptions in shards, each one transaction that writes deliveries and the next due
moments together. A shard that was killed leaves no delivery; whoever comes next takes it again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, exists, func, select, update

from newsletter.audience.notices import report
from newsletter.catalogue.geography import countries_in
from newsletter.catalogue.items import TAGS
from newsletter.catalogue.themes import all_themes, descendants
from newsletter.database import insert, reading
from newsletter.digests.matching import Index, Item
from newsletter.digests.oversight import close_expired
from newsletter.digests.shards import Assembly, assemble_shard, calls_for_run, is_due
from newsletter.tables import OPEN, deliveries, items, lists, runs, subscriptions

SHARD = 5000


def open_due_runs(engine: Engine, slot: datetime) -> None:
    """Open a run for every list that has a due subscription. Doing it twice changes nothing.

    None is opened for a list of which one is being assembled: the two would take each other's readers.
    """
    with reading(engine) as connection:
        cancelled = select(func.max(runs.c.finished_at)).where(
            runs.c.list_id == lists.c.id, runs.c.state == "cancelled", runs.c.upper == lists.c.last_position
        )
        active = connection.execute(
            select(lists.c.id, lists.c.last_position, cancelled.scalar_subquery().label("cancelled")).where(
                lists.c.archived_at.is_(None)
            )
        ).all()
        due = [
            row.id
            for row in active
            if connection.scalar(select(exists().where(calls_for_run(row.id, slot, row.last_position, row.cancelled))))
        ]
    for list_id in due:
        with engine.begin() as connection:
            _lock(connection, list_id)
            assembling = exists().where(runs.c.list_id == list_id, runs.c.state == "assembling")
            if not connection.scalar(select(assembling)):
                open_run(connection, list_id, slot, "beat", slot)


def _lock(connection: Connection, list_id: int) -> None:
    """Have others who open a run of this list wait for this transaction; readers and their imports need not."""
    connection.execute(select(lists.c.id).where(lists.c.id == list_id).with_for_update(key_share=True))


def open_run(connection: Connection, list_id: int, slot: datetime, started_by: str, now: datetime) -> int | None:
    """Open the run of ``(list, slot)`` up to the list's present position; None if it was open already."""
    close_expired(connection, list_id, now)
    row = connection.execute(select(lists.c.last_position, lists.c.needs_approval).where(lists.c.id == list_id)).one()
    statement = (
        insert(connection, runs)
        .values(
            list_id=list_id,
            slot=slot,
            upper=row.last_position,
            state="assembling",
            needs_approval=row.needs_approval,
            started_by=started_by,
            opened_at=now,
        )
        .on_conflict_do_nothing()
        .returning(runs.c.id)
    )
    run_id: int | None = connection.scalar(statement)
    return run_id


def start_run(connection: Connection, list_id: int, now: datetime) -> int:
    """Open a run now for every active subscription, whatever its hour; its slot is the next free second.

    Whom another transaction has in hand at this moment, to settle their digest or change their picks, is left to
    ``call_in``.
    """
    _lock(connection, list_id)
    slot = now.replace(microsecond=0)
    latest = connection.scalar(select(func.max(runs.c.slot)).where(runs.c.list_id == list_id, runs.c.slot >= slot))
    if latest is not None:
        slot = latest + timedelta(seconds=1)
    run_id = open_run(connection, list_id, slot, "admin", now)
    assert run_id is not None
    # Who settles an answer holds its readers in any order: to wait for them, who wait for us, ends in a deadlock.
    later = (
        select(subscriptions.c.id)
        .where(subscriptions.c.list_id == list_id, subscriptions.c.state == "active", subscriptions.c.due_at > slot)
        .with_for_update(skip_locked=True)
    )
    connection.execute(update(subscriptions).where(subscriptions.c.id.in_(later)).values(due_at=slot))
    return run_id


def call_in(engine: Engine, run_id: int) -> None:
    """Have a started run take those, too, whom others had in hand; if it is assembled by now, the next tick does.

    It waits for them one by one, holding nobody else.
    """
    with reading(engine) as connection:
        run = connection.execute(select(runs).where(runs.c.id == run_id)).one()
        left_out = (
            subscriptions.c.list_id == run.list_id,
            subscriptions.c.state == "active",
            subscriptions.c.due_at > run.slot,
            subscriptions.c.cursor < run.upper,
            subscriptions.c.last_run_id.is_distinct_from(run_id),
            exists().where(runs.c.id == run_id, runs.c.state != "cancelled"),
        )
        ids = connection.scalars(select(subscriptions.c.id).where(*left_out)).all()
    for number in ids:
        with engine.begin() as connection:
            called = update(subscriptions).where(subscriptions.c.id == number, *left_out)
            connection.execute(called.values(due_at=run.slot))


def unfinished(connection: Connection) -> list[int]:
    """The runs that are still to be assembled, oldest first."""
    return list(connection.scalars(select(runs.c.id).where(runs.c.state == "assembling").order_by(runs.c.id)))


def due_count(connection: Connection, run_id: int) -> int:
    """How many subscriptions a run has still to look at."""
    run = connection.execute(select(runs).where(runs.c.id == run_id)).one()
    statement = select(func.count()).select_from(subscriptions).where(is_due(run.list_id, run.slot, run.upper))
    return connection.scalar(statement) or 0


def assemble(
    engine: Engine,
    run_id: int,
    now: datetime,
    shard: int = SHARD,
    on_shard: Callable[[], None] = lambda: None,
) -> int:
    """Take due subscriptions of a run, shard by shard, until none is left; the number this call looked at.

    Any number of workers may do so at once. A run that is cancelled or assembled is left alone.
    ``on_shard`` is called after each shard, when its deliveries can be claimed.
    """
    assembly = _prepare(engine, run_id, now)
    if assembly is None:
        return 0
    total = 0
    while True:
        passed = _pass(engine, assembly, shard, on_shard)
        total += passed
        # What another worker had in hand and lost is behind us: once more from the start, unless all is done.
        if _finish(engine, assembly.run, now) or not passed:
            return total


def _pass(engine: Engine, assembly: Assembly, shard: int, on_shard: Callable[[], None]) -> int:
    """Take shards from first to last; the number looked at."""
    assembly.place, total = None, 0
    while True:
        with engine.begin() as connection:
            looked_at = assemble_shard(connection, assembly, shard)
        if not looked_at:
            return total
        total += looked_at
        on_shard()


def _prepare(engine: Engine, run_id: int, now: datetime) -> Assembly | None:
    with reading(engine) as connection:
        run = connection.execute(select(runs).where(runs.c.id == run_id)).one_or_none()
        if run is None or run.state != "assembling":
            return None
        lowest = connection.scalar(
            select(func.min(subscriptions.c.cursor)).where(is_due(run.list_id, run.slot, run.upper))
        )
        languages = connection.scalar(select(lists.c.languages).where(lists.c.id == run.list_id))
        assembly = Assembly(run, languages or ["en"], now, _load_index)
        assembly.reach(connection, run.upper if lowest is None else lowest)
    return assembly


def _load_index(connection: Connection, run: Any, lower: int) -> Index:
    vocabulary = all_themes(connection, run.list_id)
    found = load_items(connection, run.list_id, lower, run.upper)
    return Index(found, countries_in, lambda slug: descendants(vocabulary, slug))


def load_items(connection: Connection, list_id: int, lower: int, upper: int) -> list[Item]:
    """The items of a list in ``(lower, upper]`` that are not withdrawn, in order of position."""
    rows = connection.execute(
        select(*(items.c[name] for name in Item.__slots__))
        .where(items.c.list_id == list_id, items.c.position > lower, items.c.position <= upper)
        .where(items.c.withdrawn_at.is_(None))
        .order_by(items.c.position)
    )
    return [as_item(row) for row in rows]


def as_item(row: Any) -> Item:
    """An item from its row."""
    values = {name: getattr(row, name) for name in Item.__slots__}
    for tags in TAGS:
        values[tags] = tuple(values[tags])
    return Item(**values)


def _finish(engine: Engine, run: Any, now: datetime) -> bool:
    """Close the assembly and say so, unless something is still due: the worker that holds it will close it."""
    with engine.begin() as connection:
        if connection.scalar(select(exists().where(is_due(run.list_id, run.slot, run.upper)))):
            return False
        held = connection.execute(
            update(runs)
            .where(runs.c.id == run.id, runs.c.state == "assembling")
            .values(state="held" if run.needs_approval else "sending", assembled_at=now)
            .returning(runs.c.id, runs.c.needs_approval)
        ).all()
        report(connection, "run_held", [row.id for row in held if row.needs_approval], now)
        close_finished(connection, now)
    return True


def close_finished(connection: Connection, now: datetime) -> None:
    """Mark as done the runs whose every delivery is closed, and have it reported."""
    pending = exists().where(deliveries.c.run_id == runs.c.id, deliveries.c.state.in_(OPEN))
    over = select(runs.c.id).where(runs.c.state.in_(("sending", "held")), ~pending)
    # Locked first and asked again then: a delivery that was opened meanwhile is seen only by who begins to look later.
    locked = list(connection.scalars(over.with_for_update(of=runs, key_share=True, skip_locked=True)))
    if not locked:
        return
    done = (
        update(runs).where(runs.c.id.in_(locked), ~pending).values(state="done", finished_at=now).returning(runs.c.id)
    )
    report(connection, "run_done", list(connection.scalars(done)), now)
