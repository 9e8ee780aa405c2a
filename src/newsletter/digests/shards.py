"""A shard of a run: due subscriptions that are locked, judged and moved on in one transaction."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, and_, exists, or_, select, tuple_, update

from newsletter.audience.picks import load_profiles
from newsletter.digests import calendar
from newsletter.digests.matching import Index
from newsletter.digests.writing import (
    Move,
    edition_key,
    move,
    plan_for_shards,
    with_open_delivery,
    write_deliveries,
    write_editions,
)
from newsletter.packing import Packer
from newsletter.tables import OPEN, deliveries, runs, subscribers, subscriptions

REMEMBERED_BYTES = 48 * 2**20
"""What a worker may keep of masks, and again of editions: about 200,000 of them at 1,000 items."""

Key = TypeVar("Key")
Value = TypeVar("Value")
Edition = tuple[str, int]
"""Language and mask."""
Schedule = tuple[str, int, int, str]
"""Frequency, hour, weekday, time zone."""
Place = tuple[datetime, int]
"""Where in the order of due moments and ids a worker is."""


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


def calls_for_run(list_id: int, slot: datetime, upper: int, cancelled: datetime | None = None) -> Any:
    """Being due, and not only to find once more that the address is suppressed, or that the last digest is still on its
    way, or was ``cancelled``.

    That would be so at each tick for who reads immediately. A run that is open anyway looks at them all the same.
    ``cancelled``: when a run was after which nothing new came; it had nothing for who became due later.
    """
    waiting = exists().where(deliveries.c.subscription_id == subscriptions.c.id, deliveries.c.state.in_(OPEN))
    barred = exists().where(subscribers.c.id == subscriptions.c.subscriber_id, subscribers.c.suppressed_at.is_not(None))
    at_once = ~waiting & ~barred
    if cancelled is not None:
        # Whom it had looked at became due a second after its slot.
        at_once &= subscriptions.c.due_at > cancelled + timedelta(seconds=1)
    return and_(is_due(list_id, slot, upper), or_(subscriptions.c.frequency != calendar.IMMEDIATE, at_once))


class Recent(Generic[Key, Value]):
    """The latest ``most`` things that were set or asked for, and up to as many older ones."""

    def __init__(self, most: int) -> None:
        """``most``: at least 1."""
        self._most = most
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """What was set, None if that is forgotten."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self.set(key, found)
        return found

    def set(self, key: Key, value: Value) -> None:
        """Remember a value; the oldest are dropped."""
        if len(self._young) >= self._most:
            self._young, self._old = {}, self._young
        self._young[key] = value


@dataclass
class Assembly:
    """What a worker keeps of a run from shard to shard; its size does not depend on that of the list."""

    run: Any
    languages: Sequence[str]
    now: datetime
    load: Callable[[Connection, Any, int], Index]
    """Loads the items of a run from a cursor on."""
    schedules: dict[Schedule, tuple[datetime, datetime, datetime]] = field(default_factory=dict)
    place: Place | None = None
    lower: int | None = None
    """The cursor from which on items are at hand."""

    def reach(self, connection: Connection, cursor: int) -> None:
        """Have the items from this cursor on at hand: who comes in meanwhile may have a lower one than all before."""
        if self.lower is not None and self.lower <= cursor:
            return
        self.lower = cursor
        self.index: Index = self.load(connection, self.run, cursor)
        bits = len(self.index.items)
        most = REMEMBERED_BYTES // 2 // (bits // 8 + 200)
        self.masks: Recent[int, int] = Recent(most)
        self.edition_ids: Recent[Edition, int] = Recent(most)
        self.pack = Packer([item.id for item in self.index.items])

    def moments(self, frequency: str, hour: int, weekday: int, timezone: str) -> tuple[datetime, datetime, datetime]:
        """The next due moment, that of who gets nothing, and the deadline of what is assembled now.

        The first is after now and not only after the slot, so that missed slots coalesce into one. Who gets nothing is
        looked at again for those: by now there may be items beyond what the run covers.
        """
        schedule = frequency, hour, weekday, timezone
        found = self.schedules.get(schedule)
        if found is None:
            slot = self.run.slot
            after = slot if frequency == calendar.IMMEDIATE else max(slot, self.now.replace(second=0, microsecond=0))
            following = calendar.next_due(*schedule, slot)
            deadline = calendar.deadline(slot, following, frequency)
            # What the workers come to late is not to be over before it is tried.
            deadline = max(deadline, self.now + calendar.SHORTEST_PATIENCE)
            found = self.schedules[schedule] = calendar.next_due(*schedule, after), following, deadline
        return found


def assemble_shard(connection: Connection, assembly: Assembly, size: int) -> int:
    """Take up to ``size`` due subscriptions after ``assembly.place`` and settle what they get; how many it were."""
    run = assembly.run
    if connection.scalar(select(runs.c.state).where(runs.c.id == run.id)) != "assembling":
        return 0
    plan_for_shards(connection)
    taken = _take(connection, assembly, size)
    if not taken:
        return 0
    last = taken[-1][0]
    due_at = connection.execute(select(subscriptions.c.due_at).where(subscriptions.c.id == last)).scalar_one()
    assembly.place = due_at, last
    with _no_collection():
        _settle(connection, assembly, taken)
    # Last, since it makes the other workers of this run wait until we commit.
    connection.execute(update(runs).where(runs.c.id == run.id).values(examined=runs.c.examined + len(taken)))
    return len(taken)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for cycles among all the new tuples: that is a quarter of its time, and finds none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _settle(connection: Connection, assembly: Assembly, taken: Sequence[Any]) -> None:
    """Judge what was taken, and write what comes out."""
    run = assembly.run
    assembly.reach(connection, min(row[2] for row in taken))
    busy = with_open_delivery(connection, [row[0] for row in taken])
    masks = _masks(connection, assembly, {row[1] for row in taken})
    new = {cursor: assembly.index.after(cursor) for cursor in {row[2] for row in taken}}
    languages = {language: language for language in assembly.languages}
    default = assembly.languages[0]
    moves: list[Move] = []
    digests: list[tuple[int, int, Edition, int, datetime]] = []
    for number, profile_id, cursor, language, *schedule in taken:
        due_at, following, deadline = assembly.moments(*schedule)
        mask = new[cursor] & masks[profile_id]
        if number in busy:
            moves.append((number, due_at, cursor, Outcome.OPEN_DELIVERY))
        elif mask:
            moves.append((number, due_at, cursor, Outcome.DIGEST))
            digests.append((number, profile_id, (languages.get(language, default), mask), cursor, deadline))
        else:
            outcome = Outcome.NOTHING_FITS if new[cursor] else Outcome.NOTHING_NEW
            moves.append((number, following, run.upper, outcome))
    ids = _edition_ids(connection, assembly, {digest[2] for digest in digests})
    served = [(number, profile, ids[edition], lower, until) for number, profile, edition, lower, until in digests]
    write_deliveries(connection, run, served)
    move(connection, run.id, moves)


def _take(connection: Connection, assembly: Assembly, size: int) -> Sequence[Any]:
    """Lock a shard of due subscriptions that no other worker has in hand.

    They are taken in order and from where we were: the index still leads to all that was moved out of the way since
    the run began, and starting over would visit that again for each shard.
    """
    run = assembly.run
    statement = (
        select(
            subscriptions.c.id,
            subscriptions.c.profile_id,
            subscriptions.c.cursor,
            subscribers.c.language,
            subscriptions.c.frequency,
            subscriptions.c.hour,
            subscriptions.c.weekday,
            subscribers.c.timezone,
        )
        .join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
        .where(is_due(run.list_id, run.slot, run.upper))
        .order_by(subscriptions.c.due_at, subscriptions.c.id)
        .limit(size)
        .with_for_update(of=subscriptions, skip_locked=True)
    )
    if assembly.place is not None:
        statement = statement.where(tuple_(subscriptions.c.due_at, subscriptions.c.id) > assembly.place)
    return connection.execute(statement).all()


def _masks(connection: Connection, assembly: Assembly, profile_ids: set[int]) -> dict[int, int]:
    """The items that fit each profile."""
    return _looked_up(
        assembly.masks,
        profile_ids,
        lambda missing: {
            number: assembly.index.fitting(picks)
            for number, picks in load_profiles(connection, sorted(missing)).items()
        },
    )


def _edition_ids(connection: Connection, assembly: Assembly, wanted: set[Edition]) -> dict[Edition, int]:
    """The id of each edition; those that do not exist yet are made."""

    def make(missing: list[Edition]) -> dict[Edition, int]:
        keys, contents = {}, {}
        for language, mask in missing:
            packed = assembly.pack(mask)
            key = keys[language, mask] = edition_key(language, packed)
            contents[key] = language, packed
        ids = write_editions(connection, assembly.run.id, contents)
        return {edition: ids[key] for edition, key in keys.items()}

    return _looked_up(assembly.edition_ids, wanted, make)


def _looked_up(
    recent: Recent[Key, Value], wanted: set[Key], find: Callable[[list[Key]], dict[Key, Value]]
) -> dict[Key, Value]:
    """The values of these keys: what is remembered, and what ``find`` finds of the others."""
    found, missing = {}, []
    for key in wanted:
        value = recent.get(key)
        if value is None:
            missing.append(key)
        else:
            found[key] = value
    if missing:
        for key, value in find(missing).items():
            found[key] = value
            recent.set(key, value)
    return found
