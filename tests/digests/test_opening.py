"""Which runs are opened, by beat and by hand, and when none is."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from house import House
from sqlalchemy import Engine, select, update

from newsletter.database import reading
from newsletter.digests import oversight, runs
from newsletter.settings import Settings
from newsletter.tables import deliveries
from newsletter.tables import runs as runs_table


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    return House(engine, settings).create()


def opened(house: House) -> list[str]:
    """Who started each run, in order of slots."""
    with reading(house.engine) as connection:
        return list(connection.scalars(select(runs_table.c.started_by).order_by(runs_table.c.slot)))


def start(house: House) -> int:
    with house.engine.begin() as connection:
        return runs.start_run(connection, house.list_id, house.now)


@pytest.mark.parametrize("state", ["held", "deferred"])
def test_no_empty_runs(house: House, state: str) -> None:
    """A reader whose digest waits is no reason for a run at each tick; when it is settled, what came since is sent."""
    house.publish("a")
    reader = house.subscribe("a@example.org", frequency="immediate")
    house.tick()
    with house.engine.begin() as connection:
        connection.execute(update(deliveries).values(state=state, due_at=house.now + timedelta(hours=1)))
        connection.execute(update(runs_table).values(state="held" if state == "held" else "sending"))
    house.publish("b")
    for _ in range(3):
        house.pass_time(minutes=1)
        house.tick()
    assert opened(house) == ["beat"]
    if state == "held":
        with house.engine.begin() as connection:
            oversight.approve(connection, 1, house.now)
    house.pass_time(hours=1)
    house.send()
    house.tick()
    house.send()
    assert opened(house) == ["beat", "beat"]
    assert house.states(reader) == ["sent", "sent"]
    assert house.cursor(reader) == 2


def test_beat_leaves_a_list_that_is_being_assembled(house: House) -> None:
    """While a run of a list is assembled beat opens no other, which would take its readers."""
    house.publish("a")
    house.subscribe("a@example.org")
    mine = start(house)
    house.pass_time(seconds=30)
    runs.open_due_runs(house.engine, house.now)
    assert opened(house) == ["admin"]
    assert runs.assemble(house.engine, mine, house.now) == 1


def test_started_in_the_second_of_another(house: House) -> None:
    """Whoever starts a run by hand gets one, with the next free second for its slot; it takes whoever is left."""
    house.publish("a")
    readers = [house.subscribe(f"{n}@example.org", due_at=house.now + timedelta(hours=n)) for n in range(3)]
    runs.open_due_runs(house.engine, house.now)
    first, second = start(house), start(house)
    assert first != second
    assert opened(house) == ["beat", "admin", "admin"]
    for run_id in (1, first, second):
        runs.assemble(house.engine, run_id, house.now)
    with reading(house.engine) as connection:
        found = connection.execute(select(deliveries.c.subscription_id, deliveries.c.run_id)).all()
        slots = list(connection.scalars(select(runs_table.c.slot).order_by(runs_table.c.slot)))
    assert {(row.subscription_id, row.run_id) for row in found} == {(readers[0], 1), *((r, first) for r in readers[1:])}
    assert slots == [house.now + timedelta(seconds=n) for n in range(3)]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_beat_waits_for_who_is_starting(house: House) -> None:
    """A run that is being opened by hand, and is not committed yet, is seen by beat: it waits for it."""
    house.publish("a")
    house.subscribe("a@example.org")
    with house.engine.begin() as connection:
        runs.start_run(connection, house.list_id, house.now - timedelta(seconds=5))
        beat = threading.Thread(target=runs.open_due_runs, args=(house.engine, house.now))
        beat.start()
        beat.join(0.5)
        assert beat.is_alive()
    beat.join()
    assert opened(house) == ["admin"]
