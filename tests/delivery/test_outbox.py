"""Claims on both databases: who is left out, in which order, by which index; and two workers at the same moment."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from house import House
from sqlalchemy import Engine, event, select

from newsletter.audience.suppressions import suppress
from newsletter.database import IDS, Among, connect
from newsletter.delivery import outbox
from newsletter.delivery.outbox import Claimed
from newsletter.delivery.settling import give_back
from newsletter.settings import Settings
from newsletter.tables import deliveries, editions, subscribers

ADDRESSES = ("ana@example.org", "Peña@example.org", "straße@example.org", "иван@пример.example", "愛@example.org")


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    return House(engine, settings).create()


def claim(house: House, owner: str = "here", limit: int = 50, living: tuple[str, ...] = ()) -> list[Claimed]:
    with house.engine.begin() as connection:
        return outbox.claim(connection, owner, house.now, timedelta(minutes=5), limit, living)


@pytest.mark.parametrize("gone", range(len(ADDRESSES)))
def test_suppressed_in_any_script(house: House, gone: int) -> None:
    """A suppressed address is not claimed, in whatever script it is written, and the others are."""
    readers = [house.subscribe(address) for address in ADDRESSES]
    house.publish("one")
    house.tick()
    with house.engine.begin() as connection:
        keys = connection.scalars(select(subscribers.c.email_key).order_by(subscribers.c.id)).all()
        suppress(connection, house.settings.keys, keys[gone], "complaint", house.now)
    assert [one.subscription_id for one in claim(house)] == [*readers[:gone], *readers[gone + 1 :]]
    assert house.states(readers[gone]) == ["dropped"]


def test_by_due_moment_and_to_one_only(house: House) -> None:
    """Claims go by due moment; what one worker has in hand, no other gets; a living owner keeps what is his."""
    readers = [house.subscribe(f"r{number}@example.org") for number in range(6)]
    house.publish("one")
    house.tick()
    with house.engine.begin() as connection:
        for number, reader in enumerate(readers):
            due_at = house.now - timedelta(seconds=number)
            mine = deliveries.update().where(deliveries.c.subscription_id == reader)
            connection.execute(mine.values(due_at=due_at))
    first = claim(house, "first", 2)
    assert {one.subscription_id for one in first} == {*readers[4:]}
    assert [one.attempts for one in first] == [1, 1]
    assert {one.subscription_id for one in claim(house, "second")} == {*readers[:4]}
    assert claim(house, "third") == []
    house.pass_time(minutes=6)
    assert {one.subscription_id for one in claim(house, "third", living=("second", "other"))} == {*readers[4:]}
    assert [house.delivery(reader).doubtful for reader in readers] == [False] * 4 + [True] * 2


def test_two_at_the_same_moment(postgres, settings: Settings) -> None:
    """On PostgreSQL a worker does not wait for what another is just claiming: it takes the next."""
    engine = connect(postgres.migrated())
    house = House(engine, settings).create()
    for number in range(6):
        house.subscribe(f"r{number}@example.org")
    house.publish("one")
    house.tick()
    lease = timedelta(minutes=5)
    with engine.begin() as one, engine.begin() as other:
        first = outbox.claim(one, "one", house.now, lease, 3)
        second = outbox.claim(other, "other", house.now, lease, 5)
    assert (len(first), len(second)) == (3, 3)
    assert len({delivery.id for delivery in (*first, *second)}) == 6
    engine.dispose()


def statements(engine: Engine, settings: Settings) -> list[tuple[str, Any]]:
    """What a claim asks the database, and a look-up by ids, each with what it is given."""
    house = House(engine, settings).create()
    house.subscribe("ana@example.org")
    house.publish("one")
    house.tick()
    asked: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
    assert len(claim(house)) == 1
    with engine.connect() as connection:
        connection.execute(select(editions.c.id).where(Among(editions.c.id, IDS)), {"ids": [1]})
    return asked.copy()


def test_by_index(sqlite_engine: Engine, settings: Settings) -> None:
    """On SQLite a claim goes by the index of what is due, and rows of given ids are looked up, not searched for."""
    asked = statements(sqlite_engine, settings)
    with sqlite_engine.connect() as connection:
        plans = [
            " ".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters))
            for statement, parameters in asked
            if statement.lstrip().startswith(("UPDATE", "SELECT"))
        ]
    assert any("USING INDEX ix_deliveries_due" in plan for plan in plans)
    assert not [plan for plan in plans if "SCAN deliveries" in plan or "SCAN editions" in plan]


def test_arrays_are_read_once(postgres, settings: Settings) -> None:
    """On PostgreSQL a statement reads the numbers it is given once, not for each row, even in a table read whole."""
    engine = connect(postgres.migrated())
    given = [one for one in statements(engine, settings) if "bigint[]" in one[0]]
    with engine.connect() as connection:
        connection.exec_driver_sql("SET enable_indexscan = off")
        connection.exec_driver_sql("SET enable_bitmapscan = off")
        plans = [connection.exec_driver_sql(f"EXPLAIN {one}", values).scalars().all() for one, values in given]
    engine.dispose()
    lines = [line for plan in plans for line in plan]
    assert {table for table in ("deliveries", "editions") for line in lines if f"Seq Scan on {table}" in line} == {
        "deliveries",
        "editions",
    }
    assert not [line for line in lines if "Filter: " in line and (")::bigint[]" in line or ")::text[]" in line)]


def test_given_back_by_number(postgres, settings: Settings) -> None:
    """On PostgreSQL what is given back is looked up by its numbers, also while nothing is known of the table, and not
    searched for among all that is open."""
    engine = connect(postgres.migrated())
    house = House(engine, settings).create()
    for number in range(300):
        house.subscribe(f"r{number}@example.org")
    house.publish("one")
    house.tick()
    claimed = claim(house)
    asked: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
    with engine.begin() as connection:
        give_back(connection, claimed[:10], timedelta(0), "", house.now)
        connection.exec_driver_sql("SET enable_seqscan = off")
        plan = "".join(connection.exec_driver_sql(f"EXPLAIN {asked[0][0]}", asked[0][1]).scalars())
    engine.dispose()
    assert "pk_deliveries" in plan
    assert "ix_deliveries_due" not in plan
    assert "uq_deliveries_open" not in plan
