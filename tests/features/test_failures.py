"""Promises 4 and 5 with real processes: Valkey is flushed, a worker is killed, and nothing is lost."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path

import pytest
from commanding import KEY
from house import House
from servers import running_postgres
from sqlalchemy import func, select
from sqlalchemy.exc import DatabaseError
from stack import Stack, wait_until

from newsletter.cli.supervising import Child
from newsletter.database import connect
from newsletter.delivery.relays import CONNECTIONS
from newsletter.migrations import upgrade
from newsletter.settings import Settings
from newsletter.tables import deliveries
from worker.calming import Calm

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


def test_servers_that_are_away(tmp_path: Path) -> None:
    """While the database or Redis is away, worker and beat log a line each time that says so, and no traceback."""
    with running_postgres() as server:
        settings = {
            "NEWSLETTER_DATABASE_URL": server.migrated(),
            "NEWSLETTER_SMTP_URL": "smtp://127.0.0.1:1",
            "NEWSLETTER_BASE_URL": "https://news.example.org",
            "NEWSLETTER_SECRET_KEY": KEY,
        }
        with Stack(tmp_path / "stack", settings) as stack:
            valkey = stack.supervisor.children[0]
            worker, beat = (child.log for child in stack.start("worker", "beat"))
            wait_until(lambda: "ready." in worker.read_text())
            server.command("pg_ctl", "-D", str(server.folder / "data"), "-m", "fast", "-w", "stop")
            wait_until(lambda: worker.read_text().count("WARNING/ForkPool") > 1)
            stack.kill(valkey)
            wait_until(lambda: beat.read_text().count("Redis is away, and the next tick tries again: ") > 1)
            wait_until(lambda: "Cannot connect to redis" in worker.read_text())
        server.restart()
    assert "The database is away, and the next tick tries again: " in worker.read_text()
    assert "WARNING/MainProcess] consumer: Cannot connect to redis" in worker.read_text()
    for log in (worker, beat):
        assert "Traceback" not in log.read_text()
        assert "CPendingDeprecationWarning" not in log.read_text()


def test_redis_is_away_for_days(tmp_path: Path) -> None:
    """Worker and beat wait for Redis as long as it takes, and go on by themselves when it is back."""
    settings = {
        "NEWSLETTER_DATABASE_URL": f"sqlite:///{tmp_path / 'newsletter.db'}",
        "NEWSLETTER_SMTP_URL": "smtp://127.0.0.1:1",
        "NEWSLETTER_BASE_URL": "https://news.example.org",
        "NEWSLETTER_SECRET_KEY": KEY,
        # Else they say nothing of a tick that went well.
        "NEWSLETTER_LOG_LEVEL": "debug",
    }
    upgrade(connect(settings["NEWSLETTER_DATABASE_URL"]))
    with Stack(tmp_path / "stack", settings) as stack:
        valkey = stack.supervisor.children[0]
        stack.kill(valkey)

        def begin(name: str) -> Child:
            # Pauses between two tries grow to half a minute: here they are left out.
            hurried = "import kombu.utils.functional as retrying; retrying.sleep = lambda seconds: None\n"
            code = f"{hurried}from newsletter.cli import main\nmain()"
            return stack.supervisor.start(name, [sys.executable, "-c", code, name], stack.environment)

        worker, beat = begin("worker"), begin("beat")
        for child, said in ((worker, "Cannot connect to redis"), (beat, "beat: Connection error")):
            wait_until(lambda child=child, said=said: child.log.read_text().count(said) > 120 or not child.running)
        assert (worker.running, beat.running) == (True, True)
        assert "/None)" not in worker.log.read_text()
        valkey.start()
        wait_until(lambda: "newsletter.tick" in worker.log.read_text() and "succeeded in" in worker.log.read_text())


def test_what_is_wrong_with_the_program(caplog: pytest.LogCaptureFixture) -> None:
    """An error that does not end by itself keeps its traceback, also one of a database that answers."""
    log = logging.getLogger("of.a.task")
    log.addFilter(Calm())
    engine = connect("sqlite://")
    for wrong in (lambda: [][0], lambda: engine.connect().exec_driver_sql("SELECT 1 FROM nowhere")):
        try:
            wrong()
        except (IndexError, DatabaseError):
            log.exception("raised unexpected")
    assert [record.exc_info is not None for record in caplog.records] == [True, True]
    assert {record.levelname for record in caplog.records} == {"ERROR"}


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
