"""What time does to subscriptions: sign-ups that nobody confirmed vanish, pauses until a day end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from house import START, House
from sqlalchemy import func, insert, select, update

from newsletter.audience import subscribers as audience
from newsletter.audience.leaving import pause_until
from newsletter.audience.picks import Picks
from newsletter.tables import consents, lists, notices, subscribers, subscriptions


def counts(house: House) -> list[int]:
    """How many subscribers, subscriptions, consents and notices there are."""
    with house.engine.connect() as connection:
        tables = (subscribers, subscriptions, consents, notices)
        return [connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


def state(house: House, reader: int) -> str | None:
    with house.engine.connect() as connection:
        return connection.scalar(select(subscriptions.c.state).where(subscriptions.c.id == reader))


def test_unconfirmed_vanish(house: House) -> None:
    """Seven days after it was asked for, nothing is left of a sign-up that nobody confirmed; others stay whole."""
    house.subscribe("ana@example.org", due_at=None)
    house.pass_time(hours=1)
    house.subscribe("ben@example.org", due_at=None)
    kept = house.subscribe("eve@example.org")
    house.send()
    house.pass_time(days=6, hours=22)
    house.tick()
    assert counts(house) == [3, 3, 3, 2]
    house.pass_time(hours=1)
    house.tick()
    assert counts(house) == [2, 2, 2, 1]
    house.pass_time(hours=1)
    house.tick()
    house.tick()
    assert counts(house) == [1, 1, 1, 0]
    assert state(house, kept) == "active"


def test_asked_once_more(house: House) -> None:
    """Who asks for the mail once more has seven days from then."""
    reader = house.subscribe("ana@example.org", due_at=None)
    house.send()
    house.pass_time(days=6)
    with house.engine.begin() as connection:
        audience.notices.ask(connection, "confirm", subscriber_id=1, list_id=house.list_id, now=house.now)
    house.pass_time(days=6)
    house.tick()
    assert state(house, reader) == "pending"
    house.pass_time(days=1)
    house.tick()
    assert counts(house) == [0, 0, 0, 0]


def test_who_was_there_before(house: House) -> None:
    """Who left, came back and did not confirm has left, and the history says so."""
    reader = house.subscribe("ana@example.org")
    with house.engine.begin() as connection:
        audience.unsubscribe(connection, reader, "test", house.now)
    house.pass_time(days=30)
    house.subscribe("ana@example.org", due_at=None)
    house.tick()
    assert state(house, reader) == "pending"
    house.pass_time(days=7)
    house.tick()
    assert state(house, reader) == "unsubscribed"
    assert counts(house)[:3] == [1, 1, 3]


@pytest.mark.parametrize("reference", ["another list", "a suppression"])
def test_people_with_more(house: House, reference: str) -> None:
    """A subscriber to whom something else refers stays, without what belonged to the sign-up."""
    house.subscribe("ana@example.org", due_at=None)
    with house.engine.begin() as connection:
        if reference == "another list":
            row = dict(connection.execute(select(lists)).one()._mapping)
            connection.execute(insert(lists).values(row | {"id": 77, "slug": "other"}))
            old = dict(connection.execute(select(subscriptions)).one()._mapping)
            connection.execute(insert(subscriptions).values(old | {"id": 77, "list_id": 77, "state": "active"}))
        else:
            connection.execute(update(subscribers).values(suppressed_at=house.now))
    house.pass_time(days=8)
    house.tick()
    assert counts(house) == [1, int(reference == "another list"), 0, 0]


def test_many_vanish(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one batch goes in one tick."""
    monkeypatch.setattr("newsletter.digests.upkeep.BATCH", 3)
    for number in range(10):
        house.subscribe(f"r{number}@example.org", due_at=None)
    house.pass_time(days=8)
    house.tick()
    assert counts(house) == [0, 0, 0, 0]


def test_a_pause_until_a_day(house: House) -> None:
    """Digests go on with the first slot after the day until which they pause, with all that was missed."""
    reader = house.subscribe("ana@example.org", Picks(), hour=8, timezone="America/Guatemala")
    forever = house.subscribe("ben@example.org")
    house.set(reader, state="paused", due_at=None, paused_until=START + timedelta(days=3))
    house.set(forever, state="paused", due_at=None)
    house.publish("one")
    house.pass_time(days=2, hours=23)
    house.tick()
    assert state(house, reader) == "paused"
    house.pass_time(hours=1)
    house.tick()
    with house.engine.connect() as connection:
        row = connection.execute(select(subscriptions).where(subscriptions.c.id == reader)).one()
        events = connection.scalars(select(consents.c.event).where(consents.c.subscriber_id == row.subscriber_id)).all()
    assert (row.state, row.paused_until, row.due_at) == ("active", None, START + timedelta(days=3, hours=6))
    assert events == ["confirmed", "changed"]
    house.pass_time(hours=6)
    house.tick()
    assert house.states(reader) == ["queued"]
    assert state(house, forever) == "paused"


@pytest.mark.parametrize(
    ("hour", "late"), [(0, timedelta(0)), (0, timedelta(seconds=20)), (8, timedelta(hours=9))], ids=str
)
def test_the_first_slot_of_the_day(house: House, hour: int, late: timedelta) -> None:
    """The day until which a reader pauses has its digest, though it begins with the slot or no tick came in time; who
    reads once a month would wait for another."""
    reader = house.subscribe("ana@example.org", frequency="monthly", hour=hour)
    house.publish("one")
    first = datetime(2026, 12, 1, tzinfo=UTC)
    with house.engine.begin() as connection:
        assert pause_until(connection, reader, first, "test", house.now)
    house.now = first + late
    house.tick()
    assert house.states(reader) == ["queued"]
    with house.engine.connect() as connection:
        due_at = connection.scalar(select(subscriptions.c.due_at).where(subscriptions.c.id == reader))
    assert due_at == datetime(2027, 1, 1, hour, tzinfo=UTC)
