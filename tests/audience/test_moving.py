"""A change of address: confirmed at both ends within a day, and silent about addresses that are known."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from house import House
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from newsletter.audience import moving
from newsletter.audience import subscribers as audience
from newsletter.audience.addresses import parse_address
from newsletter.audience.consents import Proof, as_shown, consent_history, was_given_for
from newsletter.audience.lists import create_list
from newsletter.audience.picks import Picks
from newsletter.audience.schedule import Schedule
from newsletter.audience.suppressions import suppress
from newsletter.errors import InputError, StateError
from newsletter.settings import Settings
from newsletter.tables import address_changes, lists, notices, subscribers, subscriptions

NEW = "new@example.org"


class Moving:
    """Ana, who wants another address."""

    def __init__(self, house: House) -> None:
        self.house, self.keys = house, house.settings.keys
        self.reader = house.subscribe("ana@example.org")
        with house.engine.connect() as connection:
            chosen = select(subscriptions.c.subscriber_id).where(subscriptions.c.id == self.reader)
            self.ana: int = connection.execute(chosen).scalar_one()

    def ask(self, email: str = NEW) -> None:
        with self.house.engine.begin() as connection:
            moving.ask(connection, self.keys, self.ana, parse_address(email), self.house.now)

    def mails(self) -> list[tuple[str, int, str | None, int | None]]:
        """Kind, subscriber, other address and the token's number of each notice."""
        columns = (notices.c.kind, notices.c.subscriber_id, notices.c.email, notices.c.data)
        with self.house.engine.connect() as connection:
            found = connection.execute(select(*columns).order_by(notices.c.id)).all()
        return [(row.kind, row.subscriber_id, row.email, row.data.get("number")) for row in found]

    def numbers(self) -> dict[str, int]:
        """The latest token's number of each end."""
        return {kind.removeprefix("address_"): number for kind, *_, number in self.mails() if number is not None}

    def confirm(self, number: int, proof: Proof | None = None) -> str:
        with self.house.engine.begin() as connection:
            return moving.confirm(connection, self.keys, number, self.house.now, proof)[0]

    def find(self, number: int) -> Any:
        with self.house.engine.connect() as connection:
            return moving.find(connection, number, self.house.now)

    def email(self) -> str:
        with self.house.engine.connect() as connection:
            return str(connection.scalar(select(subscribers.c.email).where(subscribers.c.id == self.ana)))


@pytest.fixture
def ana(engine: Engine, settings: Settings) -> Moving:
    return Moving(House(engine, settings).create())


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
def test_both_ends(ana: Moving, order: tuple[str, str]) -> None:
    """Once both ends have confirmed, in either order, the address is the new one on every list she is on; each of those
    has a consent for it; confirming again says that it is done.
    """
    with ana.house.engine.begin() as connection:
        row = connection.execute(select(lists)).mappings().one()
        values = {**{n: row[n] for n in row if n not in ("id", "created_at")}, "slug": "zwei"}
        create_list(connection, values, ana.house.now)
        second = connection.scalar(select(lists.c.id).where(lists.c.slug == "zwei"))
        values = {"name": "", "language": "en", "timezone": "UTC", "cursor": 0, "source": "t", "keys": ana.keys}
        address = parse_address("ana@example.org")
        moment = {"due_at": ana.house.now, "now": ana.house.now}
        audience.subscribe(connection, second, address, Picks(), Schedule("daily", 8, 0), **values, **moment)
    ana.ask()
    assert ana.mails() == [
        ("address_old", ana.ana, None, ana.numbers()["old"]),
        ("address_new", ana.ana, NEW, ana.numbers()["new"]),
    ]
    first, last = (ana.numbers()[end] for end in order)
    assert (ana.find(first).state, ana.find(first).new_email, ana.find(first).end) == ("waiting", NEW, order[0])
    assert (ana.confirm(first), ana.confirm(first), ana.email()) == ("waiting", "waiting", "ana@example.org")
    assert (ana.find(first).is_confirmed, ana.find(last).is_confirmed) == (True, False)
    assert ana.confirm(last, Proof(network="192.0.2.0/24", page="3", wording="Yes")) == "done"
    assert ana.email() == NEW
    assert ana.confirm(first) == ana.confirm(last) == ana.find(first).state == "done"
    with ana.house.engine.connect() as connection:
        history = [as_shown(row) for row in consent_history(connection, ana.ana)]
        assert audience.find_subscription(connection, NEW, ana.house.list_id).state == "active"
    noted = [(h["list"], h["event"], h["network"], h["page"], h["wording"]) for h in history[2:]]
    assert noted == [(slug, "changed", "192.0.2.0/24", "3", "Yes") for slug in ("rutas", "zwei")]
    assert all(was_given_for(ana.keys, h["address_hash"], NEW) for h in history[2:])


def test_a_day(ana: Moving) -> None:
    """What was not confirmed at both ends within 24 hours is over, and soon forgotten with the address it names."""
    ana.ask()
    ana.house.pass_time(hours=24)
    assert ana.confirm(ana.numbers()["old"]) == "waiting"
    ana.house.pass_time(seconds=1)
    assert (ana.confirm(ana.numbers()["new"]), ana.find(ana.numbers()["new"]).state) == ("gone", "gone")
    assert ana.email() == "ana@example.org"
    number = ana.numbers()["new"]
    ana.house.pass_time(days=8)
    with ana.house.engine.begin() as connection:
        moving.forget_old(connection, ana.house.now)
        assert connection.scalars(select(address_changes.c.id)).all() == []
    assert ana.find(number) is None
    assert ana.confirm(number) == "gone"
    assert ana.mails() == []


@pytest.mark.parametrize("why", ["taken", "suppressed", "both"])
def test_silent_about_known_addresses(ana: Moving, why: str) -> None:
    """For an address that is taken or suppressed the old end gets the same mail and may confirm; the new end gets none,
    only a present reader a link to what they have; and the change never comes about.
    """
    other = ana.house.subscribe(NEW) if why != "suppressed" else 0
    if why != "taken":
        with ana.house.engine.begin() as connection:
            suppress(connection, ana.keys, NEW, "complaint", ana.house.now)
    ana.ask()
    *rest, told = sorted(ana.mails(), key=lambda mail: mail[0] == "address_old")
    assert told == ("address_old", ana.ana, None, ana.numbers()["old"])
    assert [kind for kind, *_ in rest] == (["account"] if why == "taken" else [])
    assert all(subscriber_id == other for _, subscriber_id, *_ in rest)
    assert ana.confirm(ana.numbers()["old"]) == "waiting"
    assert ana.find(ana.numbers()["old"]).state == "waiting"
    assert ana.email() == "ana@example.org"


@pytest.mark.parametrize("why", ["taken", "suppressed"])
def test_taken_meanwhile(ana: Moving, why: str) -> None:
    """An address that somebody else subscribed with, or that was suppressed, in between stays theirs."""
    ana.ask()
    ana.confirm(ana.numbers()["new"])
    if why == "taken":
        ana.house.subscribe(NEW)
    else:
        with ana.house.engine.begin() as connection:
            suppress(connection, ana.keys, NEW, "complaint", ana.house.now)
    assert ana.confirm(ana.numbers()["old"]) == "gone"
    assert ana.confirm(ana.numbers()["old"]) == "gone"
    assert ana.email() == "ana@example.org"


def test_asked_for_before_confirming(engine: Engine, settings: Settings) -> None:
    """Who never confirms a sign-up is forgotten also if they asked for another address meanwhile."""
    house = House(engine, settings).create()
    house.subscribe("ana@example.org", due_at=None)
    house.pass_time(days=5)
    with house.engine.begin() as connection:
        person = connection.scalar(select(subscribers.c.id))
        moving.ask(connection, house.settings.keys, person, parse_address("new@example.org"), house.now)
    house.pass_time(days=3)
    house.tick()
    with house.engine.connect() as connection:
        for table in (subscribers, subscriptions, notices, address_changes):
            assert connection.execute(select(table)).all() == []


def test_a_slip_of_the_pen(ana: Moving) -> None:
    """Asking again gives up what was asked for before, also if its mail was answered; three times an hour, no more."""
    ana.ask("nwe@example.org")
    before = ana.numbers()
    ana.confirm(before["old"])
    ana.ask()
    assert [kind for kind, *_ in ana.mails()] == ["address_old", "address_new"] * 2
    assert ana.confirm(before["new"]) == ana.find(before["old"]).state == "gone"
    assert ana.confirm(ana.numbers()["new"]) == "waiting"
    assert ana.email() == "ana@example.org"
    ana.ask("third@example.org")
    with pytest.raises(StateError, match="just now"):
        ana.ask("fourth@example.org")
    ana.house.pass_time(minutes=61)
    ana.ask("fourth@example.org")
    with pytest.raises(InputError, match="your address already"):
        ana.ask("ana@example.org")


def test_another_spelling(ana: Moving) -> None:
    """One's own address in another spelling is changed like any other."""
    ana.ask("Ana@example.org")
    for number in ana.numbers().values():
        ana.confirm(number)
    assert ana.email() == "Ana@example.org"


def test_a_suppressed_reader_moves(ana: Moving) -> None:
    """A reader whose old address is suppressed reads on with the new one."""
    ana.ask()
    with ana.house.engine.begin() as connection:
        suppress(connection, ana.keys, "ana@example.org", "bounces", ana.house.now)
    for number in ana.numbers().values():
        ana.confirm(number)
    with ana.house.engine.connect() as connection:
        assert connection.scalar(select(subscribers.c.suppressed_at)) is None


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.sampled_from(("ask a", "ask b", "old", "new", "old before", "new before", "wait")), max_size=12))
def test_any_order(sqlite_engine: Engine, tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    """Whatever order asking, confirming and waiting come in, an address is only taken on that both ends confirmed."""
    keys = ["k" * 40]
    with sqlite_engine.connect() as connection:
        connection.begin()
        house = House(sqlite_engine, None)  # type: ignore[arg-type]
        ana = connection.execute(
            subscribers.insert()
            .values(email="o@e.org", email_key="o@e.org", language="en", timezone="UTC", created_at=house.now)
            .returning(subscribers.c.id)
        ).scalar_one()
        asked: list[dict[str, int]] = []
        confirmed: dict[int, set[str]] = {}
        targets: dict[int, str] = {}
        for step in steps:
            if step.startswith("ask"):
                email = f"{step[-1]}@e.org"
                try:
                    moving.ask(connection, keys, ana, parse_address(email), house.now)
                except (InputError, StateError):
                    continue
                change = connection.execute(select(address_changes.c.id).order_by(address_changes.c.id.desc())).scalar()
                assert change is not None
                asked.append({end: moving.number_of(change, end) for end in ("old", "new")})  # type: ignore[arg-type]
                targets[change] = email
            elif step == "wait":
                house.now += timedelta(hours=9)
            elif len(asked) > step.endswith("before"):
                end = step.partition(" ")[0]
                number = asked[-2 if step.endswith("before") else -1][end]
                outcome, _ = moving.confirm(connection, keys, number, house.now)
                if outcome != "gone":
                    confirmed.setdefault(number // 2, set()).add(end)
                present = connection.scalar(select(subscribers.c.email).where(subscribers.c.id == ana))
                assert (outcome == "done") == (
                    confirmed.get(number // 2) == {"old", "new"} and present == targets[number // 2]
                )
        both = [targets[change] for change, ends in confirmed.items() if ends == {"old", "new"}]
        present = connection.scalar(select(subscribers.c.email).where(subscribers.c.id == ana))
        assert present == (both[-1] if both else "o@e.org")
        connection.rollback()
