"""Relays that take nothing for reasons of their own: no reader is blamed, and others carry it at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from house import House
from misbehaving import Misbehaving, refusing
from spells import fill, running, second_list, served, state_of, two_lists, unsent, until
from sqlalchemy import Engine, select, update
from valkeys import running_valkey

from newsletter.delivery import dispatch, resting
from newsletter.delivery.kept import Kept
from newsletter.delivery.relays import relays_of
from newsletter.tables import deliveries, lists, notices, subscribers

FULL = b"452 4.3.1 Insufficient system storage\r\n"


def states(house: House) -> Counter[str]:
    with house.engine.connect() as connection:
        return Counter(connection.scalars(select(deliveries.c.state)))


def rests(house: House) -> dict[str, resting.State]:
    with house.engine.connect() as connection:
        return resting.states(connection, relays_of(house.settings))


def no_notices(house: House) -> None:
    with house.engine.begin() as connection:
        connection.execute(update(notices).values(due_at=None))


def send(house: House, done: Callable[[], bool] = lambda: False, seconds: float = 8) -> Any:
    return dispatch.dispatch(house.engine, house.settings, running(house), until(done, seconds))


@pytest.mark.parametrize(
    ("verb", "reply", "ill"),
    [
        (b"MAIL", FULL, True),
        (b"RCPT", b"454 4.7.1 <x@example.org>: Relay access denied\r\n", True),
        (b"RCPT", b"554 5.7.1 <x@example.org>: Relay access denied\r\n", True),
        (b"RCPT", b"451 Temporary local problem - please try later\r\n", True),
        (b"DATA", b"451 4.3.0 Error: queue file write error\r\n", True),
        (b"MAIL", b"553 5.7.1 Sender address rejected: not owned by user\r\n", False),
        (b"RCPT", b"450 4.2.0 mailbox busy\r\n", False),
    ],
)
def test_beside_a_good_one(sqlite_engine: Engine, tmp_path: Path, verb: bytes, reply: bytes, ill: bool) -> None:
    """What a relay takes from nobody goes through the other at once, a confirmation too; who is ill rests."""
    bad, good = refusing(verb, reply), Misbehaving()
    with served(sqlite_engine, tmp_path, {"bad": (bad, "&weight=9"), "good": (good, "")}) as house:
        fill(house, 60)
        no_notices(house)
        house.subscribe("late@example.org", due_at=None)
        send(house, lambda: len(good.accepted) == 61)
        assert len(good.accepted) == 61
        assert states(house) == {"sent": 60}
        assert bool(rests(house)["bad"].failures) == ill
        assert not rests(house)["good"].failures


@pytest.mark.parametrize(
    ("verb", "reply"),
    [
        (b"MAIL", FULL),
        (b"MAIL", b"554 5.7.1 Client host [192.0.2.1] blocked using a list\r\n"),
        (b"RCPT", b"554 5.7.1 <x@example.org>: Relay access denied\r\n"),
        (b"RCPT", b"550 5.7.1 Unable to relay\r\n"),
    ],
)
def test_alone(sqlite_engine: Engine, tmp_path: Path, verb: bytes, reply: bytes) -> None:
    """What the only relay takes from nobody is put off and no reader's record has it; it rests, and says why."""
    bad = refusing(verb, reply)
    with served(sqlite_engine, tmp_path, {"only": (bad, "")}) as house:
        fill(house, 200)
        send(house)
        assert state_of(house).word(house.now) == "resting"
        assert reply[:3].decode() in (state_of(house).last_error or "")
        assert "deferred" in states(house)
        assert states(house).keys() <= {"deferred", "queued"}
        assert bad.misbehaved < 100, "most were not even tried"
        with house.engine.connect() as connection:
            assert not any(connection.scalars(select(subscribers.c.failed_at)))
        bad.refuses = lambda _: b""
        for _ in range(40):
            house.now += resting.SHORTEST
            send(house)
        assert states(house) == {"sent": 200}


def test_sender_of_one_list(sqlite_engine: Engine, tmp_path: Path) -> None:
    """A relay that does not want the sender of one list goes on for the others, and does not rest."""
    relay = refusing(b"MAIL", b"553 5.1.8 Sender address rejected: Domain not found\r\n", b"@rutas")
    with served(sqlite_engine, tmp_path, {"only": (relay, "")}) as house:
        fill(house, 30)
        second_list(house)
        with house.engine.begin() as connection:
            connection.execute(update(lists).where(lists.c.id == 77).values(sender_email="news@mares.example"))
            connection.execute(update(lists).where(lists.c.id != 77).values(sender_email="news@rutas.example"))
        house.list_id = 77
        house.publish("two")
        for number in range(30):
            house.subscribe(f"m{number}@example.org")
        no_notices(house)
        house.tick()
        send(house)
        assert states(house) == {"sent": 30, "deferred": 30}
        assert not state_of(house).failures


def test_one_message_that_makes_it_ill(sqlite_engine: Engine, tmp_path: Path) -> None:
    """A relay that is ill over one message now and then does not rest."""
    relay = Misbehaving(mood=lambda number, _: "451" if number % 3 == 0 else "ok")
    with served(sqlite_engine, tmp_path, {"only": (relay, "&connections=1")}) as house:
        fill(house, 60)
        no_notices(house)
        send(house)
        assert states(house) == {"sent": 40, "deferred": 20}
        assert not state_of(house).failures


def test_beside_one_with_little_leave(sqlite_engine: Engine, tmp_path: Path) -> None:
    """What one relay does not want waits for the leave of another, if that comes soon, and no attempt is counted."""
    unwilling, paced = refusing(b"MAIL", b"553 5.7.1 Sender address rejected: not owned by user\r\n"), Misbehaving()
    relays = {"unwilling": (unwilling, "&weight=9"), "paced": (paced, "&rate=10/s")}
    with running_valkey(tmp_path) as valkey, served(sqlite_engine, tmp_path, relays, valkey.url) as house:
        fill(house, 30)
        no_notices(house)
        send(house, lambda: len(paced.accepted) == 30, 20)
        assert states(house) == {"sent": 30}


@pytest.mark.parametrize("reply", [b"450 4.2.0 busy\r\n", b"553 5.1.8 Sender address rejected\r\n"])
def test_beside_one_that_is_used_up(sqlite_engine: Engine, tmp_path: Path, reply: bytes) -> None:
    """What one relay does not take is put off for a minute, where another has no leave before tomorrow."""
    unwilling, used_up = refusing(b"RCPT", reply), Misbehaving()
    relays = {"unwilling": (unwilling, ""), "used-up": (used_up, "&rate=5/day")}
    with running_valkey(tmp_path) as valkey, served(sqlite_engine, tmp_path, relays, valkey.url) as house:
        fill(house, 20)
        no_notices(house)
        send(house)
        assert states(house) == {"sent": 5, "deferred": 15}
        assert all(row.due_at <= house.now + timedelta(minutes=2) for row in unsent(house))
        assert unwilling.misbehaved <= 40


def test_too_many_for_a_domain(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Who asks us to send less to a domain is not gone around."""
    asked, good = refusing(b"RCPT", b"450 4.7.28 too many messages, slow down\r\n"), Misbehaving()
    with served(sqlite_engine, tmp_path, {"asked": (asked, ""), "good": (good, "")}) as house:
        fill(house, 40)
        no_notices(house)
        send(house)
        assert 10 < len(unsent(house)) == asked.misbehaved


@pytest.mark.parametrize("also", [True, False])
def test_what_a_relay_is_not_able_to_carry(sqlite_engine: Engine, tmp_path: Path, also: bool) -> None:
    """A message too large for one relay goes through another that takes it; where there is none it has failed."""
    small, good = refusing(b"MAIL", b"552 5.3.4 Message size exceeds fixed limit\r\n"), Misbehaving()
    with served(sqlite_engine, tmp_path, {"small": (small, ""), **({"good": (good, "")} if also else {})}) as house:
        fill(house, 20)
        no_notices(house)
        send(house)
        assert states(house) == {"sent" if also else "failed": 20}


def test_beside_one_that_has_no_leave(sqlite_engine: Engine, tmp_path: Path) -> None:
    """What one relay is not able to carry has not failed while the other that may carry it has no leave: it waits."""
    small, full = refusing(b"MAIL", b"552 5.3.4 Message size exceeds fixed limit\r\n"), Misbehaving()
    with served(sqlite_engine, tmp_path, {"small": (small, ""), "full": (full, "&rate=5/day")}) as house:
        fill(house, 20)
        no_notices(house)
        send(house)
        assert states(house).keys() == {"sent", "deferred"}
        with house.engine.connect() as connection:
            assert not any(connection.scalars(select(subscribers.c.failed_at)))


def test_confirmations_beside_one_that_has_no_leave(sqlite_engine: Engine, tmp_path: Path) -> None:
    """A confirmation that one relay declined goes through the other at once, though its rate is used up: that is for
    digests."""
    bad, full = refusing(b"MAIL", b"553 5.1.8 Sender address rejected: Domain not found\r\n"), Misbehaving()
    with served(sqlite_engine, tmp_path, {"bad": (bad, ""), "full": (full, "&rate=1/day")}) as house:
        fill(house, 20)
        no_notices(house)
        for number in range(8):
            house.subscribe(f"late{number}@example.org", due_at=None)
        send(house, lambda: len(full.accepted) == 9)
        assert {f"late{number}@example.org" for number in range(8)} < set(dict(full.accepted))


def test_what_waits_for_a_slow_one(sqlite_engine: Engine, tmp_path: Path) -> None:
    """What one relay declined and waits for a slow one, which alone may still carry it, holds up no other list."""
    choosy = refusing(b"MAIL", b"553 5.1.8 Sender address rejected: Domain not found\r\n")
    slow, good = Misbehaving(thinks=0.4), Misbehaving()
    relays = {
        "choosy": (choosy, "&weight=50"),
        "slow": (slow, "&connections=1&lists=rutas"),
        "good": (good, "&lists=mares"),
    }
    with served(sqlite_engine, tmp_path, relays) as house:
        two_lists(house, 120, 60)
        send(house, lambda: len(good.accepted) == 60)
        assert len(good.accepted) == 60


class Hesitant(Misbehaving):
    """Takes its time over each sender, so that all its connections have something in hand."""

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        line = await reader.readline()
        if line.startswith(b"MAIL"):
            await asyncio.sleep(0.3)
        return line


def test_well_again(sqlite_engine: Engine, tmp_path: Path) -> None:
    """A relay that was ill on many connections at once, rested, and is well does not rest over one message more."""
    relay = Hesitant(refuses=lambda line: FULL if line.startswith(b"MAIL") else b"")
    with served(sqlite_engine, tmp_path, {"only": (relay, "")}) as house:
        fill(house, 100)
        no_notices(house)
        kept = Kept(house.engine, house.settings)
        assert dispatch.dispatch(house.engine, house.settings, house.clock, kept=kept).counts["relay down"] == 1
        house.pass_time(minutes=5)
        relay.refuses = lambda _: b""
        relay.begun, relay.mood = 0, lambda number, _: "451" if number == 1 else "ok"
        assert dispatch.dispatch(house.engine, house.settings, house.clock, kept=kept).counts["relay down"] == 0
