"""Promises 1 to 5 in a storm: workers, beat and Valkey die and the relay misbehaves, at random, for a minute."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path

import pytest
from house import House
from servers import Relay
from sqlalchemy import Engine, func, select
from stack import Stack, select_doubtful

from newsletter.delivery.relays import CONNECTIONS
from newsletter.settings import Settings
from newsletter.tables import OPEN, deliveries, subscriptions

pytestmark = pytest.mark.chaos

READERS = 1500
ROUNDS = 3


def moody(relay: Relay, dice: random.Random) -> list[str]:
    """A relay that is slow, refuses for now, or drops the line after the final dot: the recipients that it did so to,
    as they come."""
    dropped: list[str] = []

    def answer(recipient: str) -> None:
        time.sleep(0.002)
        mood = dice.random()
        if mood < 0.02:
            relay.drop_after_dot.add(recipient)
            dropped.append(recipient)
        elif mood < 0.05:
            relay.at_dot[recipient] = ["451 4.3.0 later"]

    relay.before_answer = answer
    return dropped


@pytest.mark.parametrize("seed", range(3))
def test_storm(
    engine: Engine, settings: Settings, relay: Relay, tmp_path: Path, seed: int, note: Callable[..., None]
) -> None:
    """Each reader has each item once; what came twice was an answer lost, has one Message-ID, and is marked."""
    dice = random.Random(seed)
    dropped = moody(relay, dice)
    house = House(engine, settings, now=datetime.now(UTC)).create()
    for number in range(READERS):
        house.subscribe(f"r{number}@example.org")
    values = {
        "NEWSLETTER_DATABASE_URL": settings.database,
        "NEWSLETTER_SMTP_URL": settings.smtp_url,
        "NEWSLETTER_BASE_URL": settings.base_url,
        "NEWSLETTER_SECRET_KEY": settings.key,
    }
    kills, times = 0, 0
    with Stack(tmp_path / "stack", values) as stack:
        children = stack.start("worker", "worker", "beat")
        valkey = stack.supervisor.children[0]
        for turn in range(ROUNDS):
            house.publish(f"item {turn}", countries=("GT",))
            make_due(engine)
            began, before = time.monotonic(), len(relay.messages)
            # On a busy machine a worker may be killed each time before it has sent anything: that proves little.
            while (storming := time.monotonic() - began) < 15 or (
                storming < 90 and len(relay.messages) < before + READERS // 3
            ):
                time.sleep(dice.uniform(0.2, 1.5))
                times += 1
                fate = dice.random()
                if fate < 0.4:
                    stack.flush()
                    continue
                victim = valkey if fate < 0.5 else dice.choice(children)
                stack.kill(victim)
                victim.start()
                kills += victim.name == "worker"
        # Deferred ones wait a minute and more: the storm is over, let them come due.
        relay.before_answer = lambda recipient: None
        finish(engine, relay)
    # An answer outstanding on each connection of both processes of a worker that was killed, and on each that dropped.
    check(engine, relay, times, kills * 2 * CONNECTIONS + len(dropped), note)


def make_due(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(subscriptions.update().values(due_at=datetime.now(UTC)))


def finish(engine: Engine, relay: Relay, patience: float = 120) -> None:
    """Bring forward whatever waits for a later moment, until all is served; claims keep their lease.

    ``patience`` seconds without a message fail.
    """
    before, limit = -1, 0.0
    while not all_served(engine):
        if len(relay.messages) > before:
            before, limit = len(relay.messages), time.monotonic() + patience
        assert time.monotonic() < limit, f"nothing more is sent for {patience} s"
        with engine.begin() as connection:
            waiting = deliveries.c.state == "deferred"
            connection.execute(deliveries.update().where(waiting).values(due_at=datetime.now(UTC)))
            behind = subscriptions.c.cursor < ROUNDS
            connection.execute(subscriptions.update().where(behind).values(due_at=datetime.now(UTC)))
        time.sleep(2)


def all_served(engine: Engine) -> bool:
    with engine.connect() as connection:
        behind = connection.scalar(select(func.count()).where(subscriptions.c.cursor < ROUNDS))
        open_ = connection.scalar(select(func.count()).where(deliveries.c.state.in_(OPEN)))
    return not behind and not open_


def check(engine: Engine, relay: Relay, times: int, bound: int, note: Callable[..., None]) -> None:
    by_id: dict[str, set[bytes]] = {}
    copies: Counter[str] = Counter()
    came: set[tuple[str, str]] = set()
    got: Counter[tuple[str, str]] = Counter()
    for _, (recipient,), content in relay.messages:
        message = message_from_bytes(content)
        identity = str(message["Message-ID"])
        copies[identity] += 1
        came.add((recipient, identity))
        by_id.setdefault(identity, set()).add(content)
        if copies[identity] == 1:
            text = message.get_payload(0).get_payload(decode=True).decode()
            for turn in range(ROUNDS):
                got[recipient, f"item {turn}"] += f"item {turn}\r\n" in text or f"item {turn}\n" in text
    wanted = {(f"r{n}@example.org", f"item {turn}") for n in range(READERS) for turn in range(ROUNDS)}
    twice = copies.total() - len(copies)
    note(
        fault="all at once",
        database=engine.dialect.name,
        times=times,
        deliveries=len(copies),
        lost=len(wanted - (+got).keys()),
        doubled=twice,
        at_most=bound,
    )
    assert {pair: n for pair, n in got.items() if n != 1} == {}
    assert got.keys() == wanted
    assert all(len(contents) == 1 for contents in by_id.values())
    with engine.connect() as connection:
        doubtful = connection.scalars(select_doubtful()).all()
    assert {recipient for recipient, identity in came if copies[identity] > 1} <= set(doubtful)
    assert twice <= bound
