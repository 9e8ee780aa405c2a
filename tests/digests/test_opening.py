"""Which runs are opened, by beat and by hand, and when none is."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from house import START, House
from sqlalchemy import Connection, Engine, select, update

from newsletter.audience.subscribers import resume
from newsletter.audience.suppressions import suppress
from newsletter.database import connect, reading
from newsletter.delivery import resting
from newsletter.delivery.relays import relays_of
from newsletter.digests import oversight, runs, shards
from newsletter.tables import deliveries, subscriptions
from newsletter.tables import runs as runs_table


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


@pytest.mark.parametrize("frequency", ["immediate", "daily"])
def test_suppressed(house: House, frequency: str) -> None:
    """No run is opened at each tick for who is suppressed: none for who reads immediately, one a slot for others."""
    reader = house.subscribe("a@example.org", frequency=frequency)
    house.publish("a")
    with house.engine.begin() as connection:
        suppress(connection, house.settings.keys, "a@example.org", "complaint", house.now)
    for _ in range(3):
        house.tick()
        house.send()
        house.pass_time(minutes=1)
    assert house.states(reader) == ([] if frequency == "immediate" else ["dropped"])
    assert len(opened(house)) == len(house.states(reader))


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


def cancel(house: House, run_id: int = 1) -> None:
    with house.engine.begin() as connection:
        oversight.cancel(connection, run_id, house.now)


def due(house: House, number: int) -> datetime:
    with reading(house.engine) as connection:
        statement = select(subscriptions.c.due_at).where(subscriptions.c.id == number)
        moment: datetime = connection.execute(statement).scalar_one()
    return moment


def test_started_by_mistake(house: House) -> None:
    """A run that is started by hand and cancelled at once mails nobody: all wait for their own moments again."""
    tomorrow = house.now + timedelta(days=1)
    hours = {"UTC": 8, "America/Guatemala": 2, "Asia/Kathmandu": 13}
    readers = [
        house.subscribe(
            f"{frequency}-{hour}@example.org", frequency=frequency, timezone=zone, hour=hour, due_at=tomorrow
        )
        for frequency in ("daily", "weekly", "monthly")
        for zone, hour in hours.items()
    ]
    house.publish("half finished")
    house.pass_time(hours=4)
    run_id = start(house)
    house.pass_time(seconds=10)
    cancel(house, run_id)
    house.pass_time(seconds=50)
    house.tick()
    assert not any(house.states(reader) for reader in readers)
    assert {due(house, reader) > house.now for reader in readers} == {True}
    assert (due(house, readers[0]), due(house, readers[1])) == (tomorrow, tomorrow)


def test_cancelled_in_the_middle_of_its_assembly(house: House) -> None:
    """Whom a cancelled run had still to look at gets its items at the next slot, as all others do, and not sooner."""
    readers = [house.subscribe(f"r{n}@example.org") for n in range(4)]
    house.publish("wrong")
    runs.open_due_runs(house.engine, house.now)
    runs.assemble(house.engine, 1, house.now, shard=2, on_shard=lambda: cancel(house))
    house.pass_time(minutes=1)
    house.tick()
    house.send()
    assert not any("sent" in house.states(reader) for reader in readers)
    house.pass_time(hours=23, minutes=59)
    house.tick()
    house.send()
    assert all(house.states(reader)[-1] == "sent" for reader in readers)


@pytest.mark.parametrize("mistake", ["manual", "regular"])
def test_cancelled_beside_another(house: House, mistake: str) -> None:
    """Of two runs that are to be assembled either can be cancelled: the other takes all readers, today."""
    readers = [house.subscribe(f"{one}@example.org", frequency=one) for one in ("daily", "weekly", "monthly")]
    house.publish("news")
    runs.open_due_runs(house.engine, house.now)
    house.pass_time(seconds=10)
    manual = start(house)
    cancel(house, manual if mistake == "manual" else 1)
    house.pass_time(seconds=50)
    house.tick()
    house.send()
    assert [house.states(reader) for reader in readers] == [["sent"]] * 3
    assert len(opened(house)) == 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_both_cancelled_at_once(house: House) -> None:
    """If two admins cancel both runs that are being assembled, each at the same moment, nobody is mailed before their
    next moment, and everybody is then."""
    readers = [house.subscribe(f"r{n}@example.org") for n in range(2)]
    house.publish("wrong")
    runs.open_due_runs(house.engine, house.now)
    house.pass_time(seconds=10)
    other = threading.Thread(target=cancel, args=(house, start(house)))
    with house.engine.begin() as connection:
        oversight.cancel(connection, 1, house.now)
        other.start()
        other.join(0.5)
    other.join()
    for hours, states in ((1, []), (23, ["sent"])):
        house.pass_time(hours=hours)
        house.tick()
        house.send()
        assert [house.states(reader) for reader in readers] == [states] * 2


def test_cancelled_while_a_shard_is_in_hand(database_url: str, engine: Engine, house: House) -> None:
    """To cancel a run does not wait for a shard that is being written, nor does the shard undo it."""
    if engine.dialect.name == "sqlite":
        pytest.skip("writers take turns")
    readers = [house.subscribe(f"r{n}@example.org") for n in range(4)]
    house.publish("wrong")
    runs.open_due_runs(engine, house.now)
    assembly = runs._prepare(engine, 1, house.now)
    assert assembly is not None
    other = connect(database_url)
    with ThreadPoolExecutor(1) as pool, other.begin() as connection:
        with_open_delivery, done = shards.with_open_delivery, []

        def look(connection: Connection, ids: Sequence[int]) -> set[int]:
            # Two are locked: the other two are for whoever cancels.
            done.append(pool.submit(cancel, house))
            done[0].result(10)
            return with_open_delivery(connection, ids)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shards, "with_open_delivery", look)
            assert shards.assemble_shard(connection, assembly, 2) == 2
    other.dispose()
    for _ in range(2):
        house.pass_time(minutes=1)
        house.tick()
        house.send()
    assert not any("sent" in house.states(reader) for reader in readers)
    assert {due(house, reader) for reader in readers} == {START + timedelta(days=1)}


def test_cancelled_for_who_reads_immediately(house: House) -> None:
    """Who reads immediately gets the items of a cancelled run with the next item, and not a minute later."""
    reader = house.subscribe("a@example.org", frequency="immediate")
    house.publish("wrong")
    house.tick()
    cancel(house)
    for _ in range(3):
        house.pass_time(minutes=1)
        house.tick()
        house.send()
    assert house.states(reader) == ["cancelled"]
    house.publish("right")
    house.pass_time(minutes=1)
    house.tick()
    house.send()
    assert house.states(reader) == ["cancelled", "sent"]
    assert house.cursor(reader) == 2


@pytest.mark.parametrize("how", ["backfill", "pause", "refusal"])
def test_whom_a_cancelled_run_never_concerned(house: House, how: str) -> None:
    """Who reads immediately and becomes due after a run was cancelled gets its items then: who subscribes with older
    items, comes back from a pause, or is tried again a day after a refusal."""
    others = house.subscribe("b@example.org", frequency="immediate")
    reader = house.subscribe("a@example.org", frequency="immediate")
    if how == "refusal":
        house.set(reader, due_at=house.now + timedelta(days=1))
    else:
        house.set(reader, state="paused", due_at=None)
    house.publish("one")
    house.tick()
    cancel(house)
    house.pass_time(days=1)
    if how == "pause":
        with house.engine.begin() as connection:
            resume(connection, reader, house.now + timedelta(seconds=1), house.now)
    elif how == "backfill":
        reader = house.subscribe("c@example.org", frequency="immediate")
    for _ in range(2):
        house.pass_time(minutes=1)
        house.tick()
        house.send()
    assert house.states(reader) == ["sent"]
    assert house.states(others)[0] == "cancelled"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_started_while_another_is_settled(house: House) -> None:
    """A run opens without waiting for a reader whose digest is being settled; they are called in as soon as it is, and
    get what is new today, as all do."""
    tomorrow = house.now + timedelta(days=1)
    house.publish("a")
    settled, other = readers = [house.subscribe(f"{name}@example.org", due_at=tomorrow) for name in "ab"]
    with house.engine.begin() as settling:
        settling.execute(update(subscriptions).where(subscriptions.c.id == settled).values(cursor=0))
        with house.engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
            run_id = runs.start_run(connection, house.list_id, house.now)
        assert (due(house, settled), due(house, other)) == (tomorrow, house.now)
        calling = threading.Thread(target=runs.call_in, args=(house.engine, run_id))
        calling.start()
        calling.join(0.5)
    calling.join()
    house.tick()
    house.send()
    assert [house.states(reader) for reader in readers] == [["sent"]] * 2
    assert {due(house, reader) for reader in readers} == {tomorrow}


@pytest.mark.parametrize("how", ["assembled", "cancelled"])
def test_called_in_late(house: House, how: str) -> None:
    """Who is called in when the run is assembled gets a digest at the next tick; when it is cancelled, tomorrow. Whom
    the run has looked at is not called in again."""
    tomorrow = house.now + timedelta(days=1)
    house.publish("a")
    left, other = (house.subscribe(f"{name}@example.org", due_at=tomorrow) for name in "ab")
    run_id = start(house)
    house.set(left, due_at=tomorrow)
    runs.assemble(house.engine, run_id, house.now)
    if how == "cancelled":
        cancel(house, run_id)
    runs.call_in(house.engine, run_id)
    assert due(house, other) == tomorrow
    house.pass_time(minutes=1)
    house.tick()
    house.send()
    assert house.states(left) == (["sent"] if how == "assembled" else [])
    assert due(house, left) == tomorrow


def test_past_its_deadline(house: House) -> None:
    """A digest that nobody could send until the next slot does not cost that: its items are in the digest of then."""
    (relay,) = relays_of(house.settings)
    reader, immediate = house.subscribe("a@example.org"), house.subscribe("b@example.org", frequency="immediate")
    house.publish("monday")
    with house.engine.begin() as connection:
        resting.pause(connection, relay, house.now)
    for _ in range(24 * 2):
        house.tick()
        house.send()
        house.pass_time(minutes=30)
    house.publish("tuesday")
    house.tick()
    assert house.states(reader) == ["expired", "queued"]
    with house.engine.begin() as connection:
        resting.resume(connection, relay, house.now)
    house.pass_time(minutes=20)
    for _ in range(3):
        house.tick()
        house.send()
        house.pass_time(minutes=1)
    assert (house.states(reader), house.cursor(reader)) == (["expired", "sent"], 2)
    assert (house.states(immediate), house.cursor(immediate)) == (["expired", "sent"], 2)
