"""Promises 4 and 5 with real processes: Valkey is flushed, a worker is killed, and nothing is lost."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from email import message_from_bytes

import pytest
from house import House
from sqlalchemy import func, select
from stack import Stack, wait_until

from newsletter.delivery.relays import CONNECTIONS
from newsletter.settings import Settings
from newsletter.tables import deliveries

READERS = 150

on_sqlite, on_postgresql = (
    pytest.mark.parametrize("database_url", [kind], indirect=True) for kind in ("sqlite", "postgresql")
)
"""For what does not depend on the kind of database; `make chaos` does it all on both."""


@pytest.fixture
def house(engine, settings: Settings) -> House:
    made = House(engine, settings, now=datetime.now(UTC)).create()
    made.publish("one", "two", countries=("GT",))
    for number in range(READERS):
        made.subscribe(f"r{number}@example.org")
    return made


def environment(house: House) -> dict[str, str]:
    return {
        "NEWSLETTER_DATABASE_URL": house.settings.database,
        "NEWSLETTER_SMTP_URL": house.settings.smtp_url,
        "NEWSLETTER_BASE_URL": house.settings.base_url,
        "NEWSLETTER_SECRET_KEY": house.settings.key,
    }


def sent(house: House) -> int:
    with house.engine.connect() as connection:
        return connection.scalar(select(func.count()).where(deliveries.c.state == "sent")) or 0


@on_sqlite
def test_valkey_flushed_mid_run(house: House, relay, tmp_path) -> None:
    """Valkey is flushed again and again while a run is sent: every reader gets the digest, exactly once."""
    relay.before_answer = lambda recipient: time.sleep(0.01)
    with Stack(tmp_path / "stack", environment(house)) as stack:
        stack.start("worker", "beat")
        for number in range(1, 6):
            wait_until(lambda number=number: len(relay.messages) >= number * 20)
            stack.flush()
        wait_until(lambda: sent(house) == READERS)
    assert Counter(relay.recipients) == {f"r{n}@example.org": 1 for n in range(READERS)}


def test_worker_killed_mid_run(house: House, relay, tmp_path) -> None:
    """A worker dies by SIGKILL mid-run: the next one sends the rest; doubles are no more than answers outstanding."""
    relay.before_answer = lambda recipient: time.sleep(0.01)
    with Stack(tmp_path / "stack", environment(house)) as stack:
        worker, _ = stack.start("worker", "beat")
        wait_until(lambda: len(relay.messages) >= 40)
        stack.kill(worker)
        at_death = len(relay.messages)
        assert at_death < READERS
        stack.start("worker")
        wait_until(lambda: sent(house) == READERS)
    times = Counter(relay.recipients)
    assert set(times) == {f"r{n}@example.org" for n in range(READERS)}
    # Two processes, each with at most one message a connection whose answer was outstanding.
    assert len(relay.messages) <= READERS + 2 * CONNECTIONS
    ids = {message[1][0]: set() for message in relay.messages}
    for _, recipients, content in relay.messages:
        ids[recipients[0]].add(message_from_bytes(content)["Message-ID"])
    assert all(len(found) == 1 for found in ids.values())
    with house.engine.connect() as connection:
        doubtful = connection.scalar(select(func.count()).where(deliveries.c.doubtful))
    assert doubtful <= 2 * CONNECTIONS
    assert doubtful >= len(relay.messages) - READERS


@on_postgresql
def test_worker_stopped_mid_run(house: House, relay, tmp_path) -> None:
    """SIGTERM ends a worker within seconds: nothing is lost, doubled or doubtful, and the next one sends the rest."""
    relay.before_answer = lambda recipient: time.sleep(0.01)
    with Stack(tmp_path / "stack", environment(house)) as stack:
        worker, _ = stack.start("worker", "beat")
        wait_until(lambda: len(relay.messages) >= 40)
        assert worker.process is not None
        worker.process.terminate()
        worker.process.wait(15)
        at_the_end = len(relay.messages)
        assert sent(house) == at_the_end < READERS
        stack.start("worker")
        wait_until(lambda: sent(house) == READERS)
    assert Counter(relay.recipients) == {f"r{n}@example.org": 1 for n in range(READERS)}
    with house.engine.connect() as connection:
        assert connection.scalar(select(func.count()).where(deliveries.c.doubtful)) == 0
