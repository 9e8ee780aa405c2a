"""Runs: open one for a list and slot, and assemble the deliveries of every due subscription.

Assembly takes due subscriptions in shards, each one transaction that writes editions, deliveries and the
next due moments together. A shard that was killed leaves no trace; whoever comes next takes it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, and_, exists, func, or_, select, update

from newsletter.audience.picks import load_profiles
from newsletter.catalogue.geography import countries_in
from newsletter.catalogue.themes import all_themes, descendants
from newsletter.database import insert, reading
from newsletter.digests import calendar
from newsletter.digests.matching import Index, Item
from newsletter.errors import StateError
from newsletter.tables import OPEN, deliveries, editions, items, lists, runs, subscribers, subscriptions

SHARD = 5000


class Outcome(StrEnum):
    """What a run made of a subscription."""

    DIGEST = "digest"
    NOTHING_NEW = "nothing-new"
    NOTHING_FITS = "nothing-fits"
    OPEN_DELIVERY = "open-delivery"


def is_due(list_id: int, slot: datetime, upper: int) -> Any:
    """Being due in a run: active, its moment has come, and if immediate, something is new."""
    return and_(
        subscriptions.c.list_id == list_id,
        subscriptions.c.state == "active",
        subscriptions.c.due_at <= slot,
        or_(subscriptions.c.frequency != calendar.IMMEDIATE, subscriptions.c.cursor < upper),
    )


def open_due_runs(engine: Engine, slot: datetime) -> None:
    """Open a run for every list that has a due subscription. Doing it twice changes nothing."""
    with reading(engine) as connection:
        active = connection.execute(
            select(lists.c.id, lists.c.last_position).where(lists.c.archived_at.is_(None))
        ).all()
        due = [
            row.id
            for row in active
            if connection.scalar(select(exists().where(is_due(row.id, slot, row.last_position))))
        ]
    for list_id in due:
        with engine.begin() as connection:
            open_run(connection, list_id, slot, "beat", slot)


def open_run(connection: Connection, list_id: int, slot: datetime, started_by: str, now: datetime) -> int | None:
    """Open the run of ``(list, slot)`` up to the list's present position; None if it was open already."""
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
    """Open a run now for every active subscription, whatever its hour.

    Raises:
        StateError: a run of this very second exists.
    """
    slot = now.replace(microsecond=0)
    run_id = open_run(connection, list_id, slot, "admin", now)
    if run_id is None:
        raise StateError("A run of this list was started this very second.", "See `newsletter runs list`.")
    connection.execute(
        update(subscriptions)
        .where(
            subscriptions.c.list_id == list_id,
            subscriptions.c.state == "active",
            subscriptions.c.due_at > slot,
        )
        .values(due_at=slot)
    )
    return run_id


def unfinished(connection: Connection) -> list[int]:
    """The runs that are still to be assembled, oldest first."""
    return list(connection.scalars(select(runs.c.id).where(runs.c.state == "assembling").order_by(runs.c.id)))


def due_count(connection: Connection, run_id: int) -> int:
    """How many subscriptions a run has still to look at."""
    run = connection.execute(select(runs).where(runs.c.id == run_id)).one()
    statement = select(func.count()).select_from(subscriptions).where(is_due(run.list_id, run.slot, run.upper))
    return connection.scalar(statement) or 0


@dataclass
class _Assembly:
    """What a worker keeps of a run from shard to shard."""

    run: Any
    index: Index
    languages: Sequence[str]
    masks: dict[int, int] = field(default_factory=dict)
    edition_ids: dict[tuple[str, int], int] = field(default_factory=dict)


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
    prepared = _prepare(engine, run_id)
    if prepared is None:
        return 0
    total = 0
    while True:
        with engine.begin() as connection:
            looked_at = _assemble_shard(connection, prepared, now, shard)
        if looked_at == 0:
            break
        total += looked_at
        on_shard()
    _finish(engine, prepared.run, now)
    return total


def _prepare(engine: Engine, run_id: int) -> _Assembly | None:
    with reading(engine) as connection:
        run = connection.execute(select(runs).where(runs.c.id == run_id)).one_or_none()
        if run is None or run.state != "assembling":
            return None
        lowest = connection.scalar(
            select(func.min(subscriptions.c.cursor)).where(is_due(run.list_id, run.slot, run.upper))
        )
        vocabulary = all_themes(connection, run.list_id)
        found = load_items(connection, run.list_id, run.upper if lowest is None else lowest, run.upper)
        languages = connection.scalar(select(lists.c.languages).where(lists.c.id == run.list_id))
    return _Assembly(run, Index(found, countries_in, lambda slug: descendants(vocabulary, slug)), languages or ["en"])


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
    for tags in ("countries", "regions", "themes"):
        values[tags] = tuple(values[tags])
    return Item(**values)


def _take(connection: Connection, run: Any, shard: int) -> Sequence[Any]:
    """Lock a shard of due subscriptions that no other worker has in hand."""
    busy = exists().where(deliveries.c.subscription_id == subscriptions.c.id, deliveries.c.state.in_(OPEN))
    statement = (
        select(
            subscriptions.c.id,
            subscriptions.c.profile_id,
            subscriptions.c.frequency,
            subscriptions.c.hour,
            subscriptions.c.weekday,
            subscriptions.c.cursor,
            subscribers.c.language,
            subscribers.c.timezone,
            busy.label("busy"),
        )
        .join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
        .where(is_due(run.list_id, run.slot, run.upper))
        .limit(shard)
        .with_for_update(of=subscriptions, skip_locked=True)
    )
    return connection.execute(statement).all()


def _assemble_shard(connection: Connection, assembly: _Assembly, now: datetime, shard: int) -> int:
    run = assembly.run
    if connection.scalar(select(runs.c.state).where(runs.c.id == run.id)) != "assembling":
        return 0
    taken = _take(connection, run, shard)
    if not taken:
        return 0
    _match_profiles(connection, assembly, {row.profile_id for row in taken})
    served: list[tuple[Any, str, int]] = []
    moves: dict[tuple[datetime, Outcome], list[int]] = {}
    for row in taken:
        language = row.language if row.language in assembly.languages else assembly.languages[0]
        outcome, mask = _judge(assembly, row)
        if outcome is Outcome.DIGEST:
            served.append((row, language, mask))
        moves.setdefault((_next(row, run.slot, now), outcome), []).append(row.id)
    _write_deliveries(connection, assembly, served)
    _move(connection, run, moves)
    # Last, since it makes the other workers of this run wait until we commit.
    connection.execute(update(runs).where(runs.c.id == run.id).values(examined=runs.c.examined + len(taken)))
    return len(taken)


def _judge(assembly: _Assembly, row: Any) -> tuple[Outcome, int]:
    if row.busy:
        return Outcome.OPEN_DELIVERY, 0
    new = assembly.index.after(row.cursor)
    if not new:
        return Outcome.NOTHING_NEW, 0
    mask = new & assembly.masks[row.profile_id]
    return (Outcome.DIGEST, mask) if mask else (Outcome.NOTHING_FITS, 0)


def _next(row: Any, slot: datetime, now: datetime) -> datetime:
    """The next due moment: after now and not only after the slot, so that missed slots coalesce into one."""
    after = slot if row.frequency == calendar.IMMEDIATE else max(slot, now.replace(second=0, microsecond=0))
    return calendar.next_due(row.frequency, row.hour, row.weekday, row.timezone, after)


def _match_profiles(connection: Connection, assembly: _Assembly, profile_ids: set[int]) -> None:
    missing = profile_ids - assembly.masks.keys()
    for profile_id, picks in load_profiles(connection, sorted(missing)).items():
        assembly.masks[profile_id] = assembly.index.fitting(picks)


def _write_deliveries(connection: Connection, assembly: _Assembly, served: list[tuple[Any, str, int]]) -> None:
    if not served:
        return
    _write_editions(connection, assembly, {(language, mask) for _, language, mask in served})
    run = assembly.run
    rows = [
        {
            "run_id": run.id,
            "subscription_id": row.id,
            "profile_id": row.profile_id,
            "edition_id": assembly.edition_ids[language, mask],
            "lower": row.cursor,
            "state": "held" if run.needs_approval else "queued",
            "due_at": run.slot,
            "deadline": calendar.deadline(
                run.slot,
                calendar.next_due(row.frequency, row.hour, row.weekday, row.timezone, run.slot),
                row.frequency,
            ),
        }
        for row, language, mask in served
    ]
    connection.execute(insert(connection, deliveries).on_conflict_do_nothing(), rows)


def _write_editions(connection: Connection, assembly: _Assembly, wanted: set[tuple[str, int]]) -> None:
    rows = {}
    for language, mask in wanted - assembly.edition_ids.keys():
        ids = [item.id for item in assembly.index.of(mask)]
        key = hashlib.sha256(f"{language}:{ids}".encode()).hexdigest()
        rows[key] = (
            (language, mask),
            {"run_id": assembly.run.id, "key": key, "language": language, "item_ids": ids},
        )
    if not rows:
        return
    # In order of key: two workers that write the same editions in different order would deadlock.
    ordered = [rows[key][1] for key in sorted(rows)]
    connection.execute(insert(connection, editions).on_conflict_do_nothing(), ordered)
    keys = list(rows)
    for start in range(0, len(keys), 1000):
        found = connection.execute(
            select(editions.c.key, editions.c.id).where(
                editions.c.run_id == assembly.run.id, editions.c.key.in_(keys[start : start + 1000])
            )
        )
        for key, edition_id in found:
            assembly.edition_ids[rows[key][0]] = edition_id


def _move(connection: Connection, run: Any, moves: dict[tuple[datetime, Outcome], list[int]]) -> None:
    """Set next due moments, and the cursor of those for whom there was nothing."""
    for (due_at, outcome), ids in moves.items():
        values: dict[str, Any] = {"due_at": due_at, "last_run_id": run.id, "last_outcome": outcome.value}
        if outcome in (Outcome.NOTHING_NEW, Outcome.NOTHING_FITS):
            values["cursor"] = run.upper
        connection.execute(update(subscriptions).where(subscriptions.c.id.in_(ids)).values(values))


def _finish(engine: Engine, run: Any, now: datetime) -> None:
    """Close the assembly unless another worker still holds a shard; that one will close it."""
    with engine.begin() as connection:
        if connection.scalar(select(exists().where(is_due(run.list_id, run.slot, run.upper)))):
            return
        connection.execute(
            update(runs)
            .where(runs.c.id == run.id, runs.c.state == "assembling")
            .values(state="held" if run.needs_approval else "sending", assembled_at=now)
        )
        close_finished(connection, now)


def close_finished(connection: Connection, now: datetime) -> None:
    """Mark as done the runs whose every delivery is closed."""
    pending = exists().where(deliveries.c.run_id == runs.c.id, deliveries.c.state.in_(OPEN))
    connection.execute(
        update(runs).where(runs.c.state.in_(("sending", "held")), ~pending).values(state="done", finished_at=now)
    )
