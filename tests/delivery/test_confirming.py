"""Double opt-in: who is asked, when, how often, and what the mail says."""

from __future__ import annotations

import re
from email import message_from_bytes, policy

import pytest
from commanding import KEY
from house import House
from sqlalchemy import Engine, insert, update

from newsletter.audience import subscribers as audience
from newsletter.audience.addresses import address_hash
from newsletter.audience.links import read_token
from newsletter.audience.picks import Picks
from newsletter.settings import Settings
from newsletter.tables import lists, suppressions


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    return House(engine, settings).create()


def confirm(house: House) -> int:
    return house.send().counts["confirmations"]


def test_asked_once(house: House, relay) -> None:
    """A pending reader gets one mail, in their language, whose link confirms them; no digest before."""
    picks = Picks(countries=frozenset({"GT"}), themes=frozenset({"protection"}))
    reader = house.subscribe("ana@example.org", picks, language="es", name="Ana Peña", due_at=None)
    house.publish("one", countries=("GT",), themes=("protection",))
    house.tick()
    assert confirm(house) == 1
    assert confirm(house) == 0
    house.pass_time(days=1)
    assert confirm(house) == 0
    (sent,) = relay.messages
    message = message_from_bytes(sent[2], policy=policy.default)
    assert message["To"] == "Ana Peña <ana@example.org>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["List-Unsubscribe"] is None
    for part in message.walk():
        if part.get_content_maintype() == "text":
            text = part.get_content()
            assert "Guatemala" in text
            (token,) = set(re.findall(r"https://news\.example\.org/c/([\w.-]+)", text))
            assert read_token([KEY], "confirm", token) == reader


@pytest.mark.parametrize("gone", ["unsubscribed", "suppressed", "archived", "confirmed"])
def test_nobody_is_asked_who_is_gone(house: House, relay, gone: str) -> None:
    """Who left, was suppressed or confirmed meanwhile is not asked; nor is anybody of an archived list."""
    reader = house.subscribe("ana@example.org", due_at=None)
    with house.engine.begin() as connection:
        if gone == "unsubscribed":
            audience.unsubscribe(connection, reader, "test", house.now)
        elif gone == "confirmed":
            audience.confirm(connection, reader, "test", house.now, house.now)
        elif gone == "suppressed":
            values = {"address_hash": address_hash("ana@example.org"), "reason": "test", "at": house.now}
            connection.execute(insert(suppressions).values(values))
        else:
            connection.execute(update(lists).values(archived_at=house.now))
    assert confirm(house) == 0
    assert relay.messages == []


def test_deferred_and_refused(house: House, relay) -> None:
    """A 4xx is asked again after a pause, for four days; a 5xx is not."""
    house.subscribe("slow@example.org", due_at=None)
    house.subscribe("never@example.org", due_at=None)
    relay.at_recipient = {"slow@example.org": ["450 later"] * 2, "never@example.org": ["550 no"]}
    assert confirm(house) == 0
    assert confirm(house) == 0
    house.pass_time(minutes=11)
    assert confirm(house) == 0
    house.pass_time(minutes=11)
    assert confirm(house) == 1
    house.pass_time(days=1)
    assert confirm(house) == 0
    assert relay.recipients == ["slow@example.org"]
    house.subscribe("dead@example.org", due_at=None)
    relay.at_recipient = {"dead@example.org": ["450 later"] * 1000}
    for _ in range(5 * 24):
        confirm(house)
        house.pass_time(hours=1)
    left = len(relay.at_recipient["dead@example.org"])
    confirm(house)
    assert len(relay.at_recipient["dead@example.org"]) == left > 800


def test_many(house: House, relay) -> None:
    """More than one batch is asked in one go, over a few connections."""
    for number in range(120):
        house.subscribe(f"r{number}@example.org", due_at=None)
    assert confirm(house) == 120
    assert len(set(relay.recipients)) == 120
    assert relay.connections <= 4


def test_asked_anew(house: House, relay) -> None:
    """Who left and asks again gets a new mail, not a copy of the first."""
    reader = house.subscribe("ana@example.org", due_at=None)
    confirm(house)
    with house.engine.begin() as connection:
        audience.unsubscribe(connection, reader, "test", house.now)
    house.subscribe("ana@example.org", due_at=None)
    assert confirm(house) == 1
    first, second = (message_from_bytes(m[2])["Message-ID"] for m in relay.messages)
    assert first != second
