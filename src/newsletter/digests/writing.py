"""What a shard writes: editions, deliveries, and where its subscriptions stand now.

PostgreSQL takes a shard's columns as arrays, one statement a table. SQLite, which lives in this process, takes rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    LargeBinary,
    bindparam,
    func,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

from newsletter.database import IDS, Among, insert
from newsletter.packing import pack
from newsletter.tables import OPEN, deliveries, editions, items, subscriptions

Served = tuple[int, int, int, int, datetime]
"""A delivery to be: subscription, profile, edition, lower, deadline."""

Move = tuple[int, datetime, int, str]
"""Where a subscription stands after the run looked at it: subscription, next due moment, cursor, outcome."""


def plan_for_shards(connection: Connection) -> None:
    """Have this transaction look up rows by index, one by one.

    It touches a few thousand rows of tables of millions. The planner, whose statistics are of another day, else
    prefers now and then to read or sort a whole table for each shard.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_BY_INDEX)


_BY_INDEX = text("""
    SELECT set_config(name, 'off', true)
    FROM unnest(ARRAY['enable_seqscan', 'enable_hashjoin', 'enable_mergejoin', 'enable_sort']) AS name
""")


def with_open_delivery(connection: Connection, subscription_ids: Sequence[int]) -> set[int]:
    """Which of these have an open delivery.

    Asked after they are locked: a delivery that another run's shard committed just before is seen.
    """
    if connection.dialect.name == "postgresql":
        return set(connection.scalars(_WITH_OPEN_DELIVERY, {"ids": _array(subscription_ids)}))
    statement = select(deliveries.c.subscription_id).where(
        deliveries.c.subscription_id.in_(_json_each(subscription_ids)), deliveries.c.state.in_(OPEN)
    )
    return set(connection.scalars(statement))


# LATERAL with LIMIT: one look into the index of open deliveries for each, whatever the planner thinks of the table,
# which is empty when the run begins and has a row for everyone when it ends.
_WITH_OPEN_DELIVERY = text("""
    SELECT given.id FROM unnest(CAST(:ids AS bigint[])) AS given (id), LATERAL (
        SELECT FROM deliveries WHERE subscription_id = given.id
        AND state IN ('held', 'queued', 'claimed', 'deferred') LIMIT 1
    ) AS open
""")


def _json_each(ids: Sequence[int]) -> Any:
    """On SQLite: these ids as a query, without a parameter for each."""
    return select(func.json_each(str(list(ids))).table_valued("value").c.value)


def edition_key(language: str, packed: bytes) -> bytes:
    """What tells an edition from the others of its run: 128 bits of the BLAKE2b of language and packed item ids."""
    return hashlib.blake2b(packed, digest_size=16, key=language.encode()).digest()


def write_editions(connection: Connection, run_id: int, wanted: Mapping[bytes, tuple[str, bytes]]) -> dict[bytes, int]:
    """Write editions that are not there yet, given as key → (language, packed item ids); the id of each by its key.

    On PostgreSQL they are committed at once. Inside the shard's transaction another worker that needs one of them
    would wait until this shard is done, and nearly all the time some worker does. A shard that is killed leaves
    editions that nobody got; whoever takes it again uses them.
    """
    # In order of key: two workers that write the same editions in different order would deadlock.
    keys = sorted(wanted)
    if not keys:
        return {}
    if connection.dialect.name != "postgresql":
        return _write_editions_by_row(connection, run_id, wanted, keys)
    arrays = {
        "run_id": run_id,
        "keys": _byte_array(keys),
        "languages": _array(_quoted(wanted[key][0]) for key in keys),
        "packed": _byte_array(wanted[key][1] for key in keys),
    }
    with connection.engine.begin() as own:
        # Safe, since the shard's own commit, which follows in the same log, waits for the disk.
        own.execute(text("SET LOCAL synchronous_commit = off"))
        written = {row.key: row.id for row in own.execute(_EDITIONS, arrays).all()}
        if missing := [key for key in keys if key not in written]:
            there = own.execute(_PRESENT, {"run_id": run_id, "keys": _byte_array(missing)})
            written |= {row.key: row.id for row in there}
    return written


_EDITIONS = text("""
    INSERT INTO editions (run_id, key, language, item_ids)
    SELECT :run_id, given.* FROM unnest(CAST(:keys AS bytea[]), CAST(:languages AS text[]), CAST(:packed AS bytea[]))
        AS given
    ON CONFLICT DO NOTHING RETURNING id, key
""")
_PRESENT = text("SELECT id, key FROM editions WHERE run_id = :run_id AND key = ANY(CAST(:keys AS bytea[]))")


def _write_editions_by_row(
    connection: Connection, run_id: int, wanted: Mapping[bytes, tuple[str, bytes]], keys: list[bytes]
) -> dict[bytes, int]:
    rows = [{"run_id": run_id, "key": key, "language": wanted[key][0], "packed": wanted[key][1]} for key in keys]
    statement = insert(connection, editions).values(item_ids=bindparam("packed", type_=LargeBinary))
    connection.execute(statement.on_conflict_do_nothing(), rows)
    written: dict[bytes, int] = {}
    for start in range(0, len(keys), 1000):
        found = connection.execute(
            select(editions.c.key, editions.c.id).where(
                editions.c.run_id == run_id, editions.c.key.in_(keys[start : start + 1000])
            )
        )
        written.update((row.key, row.id) for row in found)
    return written


def edition_beyond(connection: Connection, edition_id: int, cursor: int) -> int | None:
    """The edition of those items of another that lie beyond a cursor; None if there are none."""
    edition = connection.execute(select(editions).where(editions.c.id == edition_id)).one()
    beyond = select(items.c.id).where(Among(items.c.id, IDS), items.c.position > cursor).order_by(items.c.position)
    packed = pack(connection.scalars(beyond, {"ids": edition.item_ids}).all())
    if not packed:
        return None
    key = edition_key(edition.language, packed)
    return write_editions(connection, edition.run_id, {key: (edition.language, packed)})[key]


def write_deliveries(connection: Connection, run: Any, served: Sequence[Served]) -> None:
    """Write deliveries, except where the run has served a subscription already or it has an open one (promises 2, 3).

    The latter happens although the subscriptions are locked: a failed delivery can be queued again meanwhile.
    """
    if not served:
        return
    state = "held" if run.needs_approval else "queued"
    if connection.dialect.name != "postgresql":
        names = ("subscription_id", "profile_id", "edition_id", "lower", "deadline", "run_id", "state", "due_at")
        rows = [dict(zip(names, (*row, run.id, state, run.slot), strict=True)) for row in served]
        connection.execute(insert(connection, deliveries).on_conflict_do_nothing(), rows)
        return
    ids, profiles, made, lowers, deadlines = zip(*served, strict=True)
    arrays: dict[str, Any] = {
        "ids": _array(ids),
        "profiles": _array(profiles),
        "editions": _array(made),
        "lowers": _array(lowers),
        "deadlines": _moments(deadlines),
    }
    arrays |= {"run_id": run.id, "state": state, "due_at": run.slot}
    try:
        with connection.begin_nested():
            connection.execute(text(_DELIVERIES), arrays)
    except IntegrityError:
        # Rare enough that the others need not pay for it: looking first costs a sixth of writing.
        connection.execute(text(f"{_DELIVERIES} ON CONFLICT DO NOTHING"), arrays)


_DELIVERIES = """
    INSERT INTO deliveries (run_id, state, due_at, subscription_id, profile_id, edition_id, lower, deadline)
    SELECT :run_id, :state, :due_at, given.* FROM unnest(
        CAST(:ids AS bigint[]), CAST(:profiles AS bigint[]), CAST(:editions AS bigint[]), CAST(:lowers AS bigint[]),
        CAST(:deadlines AS timestamptz[])
    ) AS given
"""


def move(connection: Connection, run_id: int, moves: Sequence[Move]) -> None:
    """Set next due moments, cursors and what came out."""
    if connection.dialect.name == "postgresql":
        ids, dues, cursors, outcomes = zip(*moves, strict=True)
        arrays = {"ids": _array(ids), "dues": _moments(dues), "cursors": _array(cursors), "outcomes": _array(outcomes)}
        connection.execute(_MOVES, {**arrays, "run_id": run_id})
        return
    alike: dict[tuple[datetime, int, str], list[int]] = {}
    for subscription_id, due_at, cursor, outcome in moves:
        alike.setdefault((due_at, cursor, outcome), []).append(subscription_id)
    for (due_at, cursor, outcome), same in alike.items():
        connection.execute(
            update(subscriptions)
            .where(subscriptions.c.id.in_(_json_each(same)))
            .values(due_at=due_at, cursor=cursor, last_run_id=run_id, last_outcome=outcome)
        )


_MOVES = text("""
    UPDATE subscriptions
    SET due_at = given.due_at, cursor = given.cursor, last_run_id = :run_id, last_outcome = given.outcome
    FROM unnest(
        CAST(:ids AS bigint[]), CAST(:dues AS timestamptz[]), CAST(:cursors AS bigint[]), CAST(:outcomes AS text[])
    ) AS given (id, due_at, cursor, outcome)
    WHERE subscriptions.id = given.id
""")


def _array(values: Iterable[object]) -> str:
    """An array as PostgreSQL writes it; several times faster than the driver's own."""
    return "{" + ",".join(map(str, values)) + "}"


def _byte_array(values: Iterable[bytes]) -> str:
    return _array(f'"\\\\x{value.hex()}"' for value in values)


def _moments(values: Sequence[datetime]) -> str:
    """An array of moments, of which few differ."""
    texts = {value: str(value) for value in set(values)}
    return _array(texts[value] for value in values)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
