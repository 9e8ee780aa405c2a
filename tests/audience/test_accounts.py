"""A fresh link by mail, which tells nobody whether an address is known; and all that is kept of one person."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from commanding import CommandLine
from house import House
from sqlalchemy import Engine, event, select

from newsletter.audience import moving
from newsletter.audience.accounts import ask_link, open_account
from newsletter.audience.addresses import parse_address
from newsletter.audience.consents import Proof
from newsletter.audience.erasing import erase
from newsletter.audience.exporting import person_data
from newsletter.audience.links import LIFETIME, LinkError, make_expiring
from newsletter.audience.picks import Picks
from newsletter.audience.suppressions import suppress
from newsletter.settings import Settings
from newsletter.tables import metadata, notices, subscribers


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    made = House(engine, settings).create()
    made.subscribe("ana@example.org")
    return made


def ask(house: House, email: str) -> list[str]:
    """Ask for a link; the kinds of statements that it took."""
    done: list[str] = []

    def look(_c: object, _cursor: object, statement: str, *_: object) -> None:
        done.append(" ".join(statement.split()[:3]))

    event.listen(house.engine, "before_cursor_execute", look)
    with house.engine.begin() as connection:
        result: Any = ask_link(connection, parse_address(email), house.now)
    event.remove(house.engine, "before_cursor_execute", look)
    assert result is None
    return done


def mails(house: House) -> list[str]:
    with house.engine.connect() as connection:
        statement = select(notices.c.kind).where(notices.c.due_at.is_not(None)).order_by(notices.c.id)
        return list(connection.scalars(statement))


def test_known_and_unknown(house: House) -> None:
    """Known, unknown, suppressed, erased or asked for just now: each is answered alike and writes something; only the
    known gets a mail, once an hour.
    """
    for gone in ("suppressed@example.org", "erased@example.org"):
        house.subscribe(gone)
    with house.engine.begin() as connection:
        suppress(connection, house.settings.keys, "suppressed@example.org", "complaint", house.now)
        erase(connection, house.settings.keys, "erased@example.org", house.now)
    known = ask(house, "Ana@example.org")
    assert mails(house) == ["account"]
    for email in ("ana@example.org", "nobody@example.org", "suppressed@example.org", "erased@example.org"):
        steps = ask(house, email)
        assert "INSERT INTO notices" in known, steps
        assert "INSERT INTO notices" in steps
        assert len(steps) <= len(known) + 3
    assert mails(house) == ["account"]
    with house.engine.connect() as connection:
        assert len(connection.scalars(select(notices.c.id)).all()) == 1
    assert house.send().counts["notices"] == 1
    for minutes, more in ((59, 0), (2, 1)):
        house.pass_time(minutes=minutes)
        ask(house, "ana@example.org")
        assert mails(house) == ["account"] * more


def test_opening(house: House) -> None:
    """A link opens its account for a day, and not if it was made before the address was changed."""
    keys = house.settings.keys

    def opened(token: str) -> int | str:
        with house.engine.connect() as connection:
            try:
                return open_account(connection, keys, token, house.now)
            except LinkError as error:
                return error.kind

    def fresh() -> str:
        return make_expiring(keys[0], "account", 1, house.now + LIFETIME["account"])

    token = fresh()
    assert (opened(token), opened(token + "x")) == (1, "bad")
    house.pass_time(hours=1)
    with house.engine.begin() as connection:
        moving.ask(connection, keys, 1, parse_address("new@example.org"), house.now)
        assert moving.confirm(connection, keys, moving.number_of(1, "new"), house.now)[0] == "waiting"
    assert opened(token) == 1
    house.pass_time(hours=1)
    with house.engine.begin() as connection:
        assert moving.confirm(connection, keys, moving.number_of(1, "old"), house.now)[0] == "done"
    house.pass_time(seconds=1)
    assert (opened(token), opened(fresh())) == ("expired", 1)
    token = fresh()
    house.pass_time(hours=25)
    assert opened(token) == "expired"


def test_nobody_at_all(engine: Engine, settings: Settings) -> None:
    """A link may be asked for before there is any subscriber, and nothing is kept of it."""
    house = House(engine, settings).create()
    ask(house, "ana@example.org")
    with engine.connect() as connection:
        assert connection.scalar(select(notices.c.id)) is None


def test_ones_data(house: House, relay) -> None:
    """One's data hold person, subscriptions with picks and schedule, consents, deliveries with times and states, and
    notices, as JSON; and nothing of anybody else.
    """
    picks = Picks(countries=frozenset({"GT"}))
    house.subscribe("ben@example.org", picks, "weekly", name="Ben Ñ", proof=Proof("x", "192.0.2.0/24", "2", "I agree"))
    house.publish("one", countries=("GT",))
    house.tick()
    house.send()
    ask(house, "ben@example.org")
    with house.engine.connect() as connection:
        ben = connection.execute(select(subscribers.c.id).where(subscribers.c.name == "Ben Ñ")).scalar_one()
        data = person_data(connection, house.settings.keys, ben)
        assert json.loads(json.dumps(data)) == data
        assert person_data(connection, house.settings.keys, 999) == {}
    assert (data["subscriber"]["email"], data["subscriber"]["name"]) == ("ben@example.org", "Ben Ñ")
    (subscription,) = data["subscriptions"]
    assert subscription["picks"] == {"countries": ["GT"], "regions": [], "themes": [], "languages": []}
    assert [subscription[name] for name in ("list", "state", "frequency", "hour")] == ["rutas", "active", "weekly", 8]
    assert (data["consents"][0]["wording"], data["consents"][0]["network"]) == ("I agree", "192.0.2.0/24")
    (delivery,) = data["deliveries"]
    assert (delivery["state"], delivery["code"]) == ("sent", 250)
    assert datetime.fromisoformat(delivery["closed_at"]).tzinfo is not None
    assert [notice["kind"] for notice in data["notices"]][-1:] == ["account"]
    assert "ana@" not in json.dumps(data)
    assert data["subscriber"]["suppressed_because"] is None
    with house.engine.begin() as connection:
        suppress(connection, house.settings.keys, "ben@example.org", "complaint", house.now)
        told = person_data(connection, house.settings.keys, ben)["subscriber"]
    assert (told["suppressed_at"], told["suppressed_because"]) == (house.now.isoformat(), "complaint")


def test_everything_personal_is_exported() -> None:
    """Each table that belongs to a subscriber is part of one's data: a new one is not forgotten."""
    owned = {
        table.name
        for table in metadata.tables.values()
        if {key.column.table.name for key in table.foreign_keys} & {"subscribers", "subscriptions"}
    }
    assert owned == {"subscriptions", "consents", "deliveries", "notices", "address_changes"}


def test_export_command(newsletter: CommandLine) -> None:
    """`subscribers export EMAIL` writes it; a list or state makes no sense with it, and nobody's says so."""
    newsletter(
        "lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@e.example", "--postal-address", "1 St"
    )
    newsletter("subscribers", "add", "ana@example.org", "--confirmed", "--name", "Ana Peña")
    found = newsletter("subscribers", "export", "ANA@example.org").json
    assert found["subscriber"]["name"] == "Ana Peña"
    assert [c["event"] for c in found["consents"]] == ["confirmed"]
    assert "every list" in newsletter("subscribers", "export", "ana@example.org", "--list", "rutas", code=1).err
    assert "no subscriber" in newsletter("subscribers", "export", "ben@example.org", code=1).err
    assert newsletter("subscribers", "export").out.startswith("email,name")
