"""Why a reader gets an item or does not: the outcome is what really comes."""

from __future__ import annotations

import pytest
from house import House
from sqlalchemy import Engine, update

from newsletter.audience import subscribers
from newsletter.audience.picks import Picks, profile_ids
from newsletter.catalogue.items import identify_item, retag
from newsletter.database import reading
from newsletter.digests.explain import Rule, explain
from newsletter.digests.starting import backfill_cursor
from newsletter.settings import Settings
from newsletter.tables import deliveries, lists, runs

ANA = "ana@example.org"


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    made = House(engine, settings).create()
    made.publish("a")
    made.subscribe(ANA)
    return made


def rules(house: House, number: int = 1) -> dict[str, Rule]:
    with reading(house.engine) as connection:
        reader = subscribers.find_subscription(connection, ANA, house.list_id)
        found = explain(connection, reader, identify_item(connection, f"{number}", house.list_id))
    return {rule.name: rule for rule in found}


def test_an_archived_list(house: House) -> None:
    """A list that is archived sends nothing, also of what waits."""
    assert rules(house)["outcome"].holds
    house.tick()
    with house.engine.begin() as connection:
        connection.execute(update(lists).values(archived_at=house.now))
    assert rules(house)["list"] == Rule("list", False, "The list rutas is archived.")
    assert rules(house)["outcome"].sentence == "The reader does not get it, because of: list."


def test_a_pause(house: House) -> None:
    """A reader who pauses gets it when they go on; who does not follow it does not get it then either."""
    house.set(1, state="paused", due_at=None)
    assert rules(house)["outcome"] == Rule("outcome", True, "The reader will get it once the subscription is resumed.")
    house.set(1, paused_until=house.now)
    assert "paused until 2026-11-24 08:00 UTC" in rules(house)["state"].sentence
    with house.engine.begin() as connection:
        subscribers.unsubscribe(connection, 1, "test", house.now)
    assert not rules(house)["outcome"].holds


@pytest.mark.parametrize(
    ("state", "waits"),
    [
        ("held", "waits for approval: `newsletter runs approve 1`"),
        ("queued", "waits for a worker"),
        ("deferred", "is tried again from 2026-11-24 08:00 UTC"),
        ("claimed", "is being sent"),
    ],
)
def test_an_open_delivery(house: House, state: str, waits: str) -> None:
    """Of what is in a delivery already it is said in which, and what that waits for."""
    house.tick()
    with house.engine.begin() as connection:
        connection.execute(update(runs).values(state="held" if state == "held" else "sending"))
        connection.execute(update(deliveries).values(state=state, due_at=house.now))
    assert rules(house)["outcome"] == Rule("outcome", True, f"The reader will get it in delivery 1, which {waits}.")
    house.set(1, state="paused", due_at=None)
    assert "once the subscription is resumed" in rules(house)["outcome"].sentence


@pytest.mark.parametrize("change", ["tags", "picks"])
def test_what_an_open_delivery_passes_over(house: House, change: str) -> None:
    """What fits only since a digest was made without it does not come, unless that digest is never sent."""
    guatemala, both = Picks(countries=frozenset({"GT"})), Picks(countries=frozenset({"GT", "FR"}))
    with house.engine.begin() as connection:
        profiles = profile_ids(connection, [guatemala, both])
    house.set(1, profile_id=profiles[guatemala])
    house.publish("fits", countries=("GT",))
    (other,) = house.publish("other", countries=("FR",))
    house.tick()
    if change == "picks":
        house.set(1, profile_id=profiles[both])
    else:
        with house.engine.begin() as connection:
            retag(connection, other, {"countries": ["GT"]}, house.now)
    said = rules(house, other)["outcome"]
    assert (said.holds, said.sentence[:36]) == (False, "Delivery 1, which waits for a worker")
    with house.engine.begin() as connection:
        connection.execute(update(deliveries).values(state="cancelled"))
    assert "in the next digest" in rules(house, other)["outcome"].sentence
    with house.engine.begin() as connection:
        connection.execute(update(deliveries).values(state="queued"))
    house.send()
    assert rules(house, other)["outcome"] == Rule(
        "outcome", False, f"The cursor ({other}) has passed it: picks or tags did not fit at that time."
    )


def test_what_a_backfill_leaves_out(house: House) -> None:
    """An item from before the subscription is said to be so, however many older ones were asked for."""
    house.publish("b", "c")
    with house.engine.begin() as connection:
        cursor = backfill_cursor(connection, house.list_id, Picks(), 2)
    house.set(1, start=cursor, cursor=cursor)
    why = "It is from before this subscription, which begins at position 2."
    assert rules(house)["outcome"] == Rule("outcome", False, why)
    assert rules(house, 2)["outcome"].holds
