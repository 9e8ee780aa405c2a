"""Promises 2 to 5, one fault at a time: thousands of deliveries, nothing lost, doubles within their bound."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path

import pytest
from commanding import KEY
from house import House
from misbehaving import Misbehaving, misbehaving
from postfix import find_tool, tool_environment
from servers import running_postgres
from sqlalchemy import func, select
from stack import Stack, wait_until

from newsletter.cli.supervising import free_port, is_listening
from newsletter.database import connect
from newsletter.delivery.relays import CONNECTIONS
from newsletter.migrations import upgrade
from newsletter.settings import load_settings
from newsletter.tables import deliveries, subscriptions

pytestmark = pytest.mark.chaos

READERS = 2000
PROCESSES = 4  # two workers of two


class Scene:
    """A list with its readers, a relay, and what became of the deliveries."""

    def __init__(self, url: str, relay: Misbehaving, folder: Path) -> None:
        self.engine = connect(url)
        upgrade(self.engine)
        self.relay = relay
        self.values = {
            "NEWSLETTER_DATABASE_URL": url,
            "NEWSLETTER_SMTP_URL": f"smtp://127.0.0.1:{relay.port}",
            "NEWSLETTER_BASE_URL": "https://news.example.org",
            "NEWSLETTER_SECRET_KEY": KEY,
            "NEWSLETTER_SMTP_TIMEOUT": "1",
            "NEWSLETTER_LEASE_SECONDS": "600",
        }
        settings = load_settings(home=folder, database_url=url, base_url="https://news.example.org", secret_key=KEY)
        self.house = House(self.engine, settings, now=datetime.now(UTC)).create()
        self.house.publish("one", "two", countries=("GT",))
        for number in range(READERS):
            self.house.subscribe(f"r{number}@example.org")

    def sent(self) -> int:
        with self.engine.connect().execution_options(read_only=True) as connection:
            return connection.scalar(select(func.count()).where(deliveries.c.state == "sent")) or 0

    def hurry(self) -> bool:
        """Bring forward what waits for a later moment; whether all is sent."""
        with self.engine.begin() as connection:
            waiting = deliveries.c.state == "deferred"
            connection.execute(deliveries.update().where(waiting).values(due_at=datetime.now(UTC)))
        time.sleep(0.5)
        return self.sent() == READERS

    def check(self, fault: str, bound: int, survived: list[tuple[str, int, int, int, int]]) -> None:
        """Every recipient's count against the ledger."""
        got: Counter[str] = Counter(recipient for recipient, _ in self.relay.accepted)
        copies: dict[str, set[tuple[str, bytes]]] = {}
        for recipient, content in self.relay.accepted:
            copies.setdefault(recipient, set()).add((str(message_from_bytes(content)["Message-ID"]), content))
        with self.engine.connect() as connection:
            states = dict(
                connection.execute(select(deliveries.c.state, func.count()).group_by(deliveries.c.state)).all()
            )
            behind = connection.scalar(select(func.count()).where(subscriptions.c.cursor < 2))
            doubtful = connection.scalar(select(func.count()).where(deliveries.c.doubtful)) or 0
        self.engine.dispose()
        lost = sum(f"r{number}@example.org" not in got for number in range(READERS))
        doubled = sum(got.values()) - len(got)
        survived.append((fault, READERS, lost, doubled, bound))
        assert lost == 0
        assert states == {"sent": READERS}
        assert behind == 0
        assert doubled <= bound
        assert doubled <= doubtful
        # What came twice is the same message, byte for byte.
        assert all(len(same) == 1 for same in copies.values())


@contextmanager
def scene(url: str, folder: Path, **moods: object) -> Iterator[tuple[Scene, Stack]]:
    with misbehaving(Misbehaving(**moods)) as relay:  # type: ignore[arg-type]
        made = Scene(url, relay, folder / "scene")
        with Stack(folder / "stack", made.values) as stack:
            yield made, stack


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'chaos.db'}"
    return str(request.getfixturevalue("postgres").create())


RELAY_FAULTS: dict[str, tuple[dict[str, object], int]] = {
    "hangs in the middle of a message": ({"mood": lambda number, _: "hang" if number % 400 == 7 else "ok"}, 0),
    "hangs up after the dot": ({"mood": lambda number, _: "drop" if number % 100 == 7 else "ok"}, -1),
    "452 for every third recipient": ({"mood": lambda number, _: "452" if number % 3 == 0 else "ok"}, 0),
    "closes after ten messages": ({"closes_after": 10}, 0),
    "answers garbage": ({"mood": lambda number, _: "garbage" if number % 150 == 7 else "ok"}, -1),
}


@pytest.mark.parametrize("fault", RELAY_FAULTS)
def test_relay(fault: str, url: str, tmp_path: Path, survived: list[tuple[str, int, int, int, int]]) -> None:
    """A relay that misbehaves costs nothing but what it accepted without saying so, and that is marked doubtful."""
    moods, bound = RELAY_FAULTS[fault]
    with scene(url, tmp_path, **moods) as (made, stack):
        stack.start("worker", "worker", "beat")
        wait_until(made.hurry, 240)
        made.check(f"relay {fault}", bound if bound >= 0 else made.relay.unanswered, survived)


def storm(made: Scene, seconds: float, act: Callable[[random.Random], None]) -> None:
    """Act now and then, until the run is sent or the time is over."""
    dice, began = random.Random(5), time.monotonic()
    while time.monotonic() - began < seconds and made.sent() < READERS:
        time.sleep(dice.uniform(0.1, 0.5))
        act(dice)


def slow(number: int, recipient: str) -> str:
    """Slow enough that something can happen in the middle."""
    time.sleep(0.001)
    return "ok"


def test_redis_flushed(url: str, tmp_path: Path, survived: list[tuple[str, int, int, int, int]]) -> None:
    """Redis is flushed several times a second."""
    with scene(url, tmp_path, mood=slow) as (made, stack):
        stack.start("worker", "worker", "beat")
        storm(made, 60, lambda dice: stack.flush())
        wait_until(made.hurry, 120)
        made.check("Redis flushed", 0, survived)


def test_redis_killed(url: str, tmp_path: Path, survived: list[tuple[str, int, int, int, int]]) -> None:
    """Redis dies and comes back empty, again and again."""
    with scene(url, tmp_path, mood=slow) as (made, stack):
        stack.start("worker", "worker", "beat")
        valkey = stack.supervisor.children[0]

        def act(dice: random.Random) -> None:
            stack.kill(valkey)
            time.sleep(dice.uniform(0.1, 1.0))
            valkey.start()

        storm(made, 60, act)
        wait_until(made.hurry, 120)
        made.check("Redis killed", 0, survived)


@pytest.mark.parametrize("how", ["kill -9", "SIGTERM"])
def test_workers(url: str, how: str, tmp_path: Path, survived: list[tuple[str, int, int, int, int]]) -> None:
    """Workers are killed: doubles are at most one a connection that was open; asked to stop, there are none."""
    kills = 0
    with scene(url, tmp_path, mood=slow) as (made, stack):
        children = stack.start("worker", "worker", "beat")

        def act(dice: random.Random) -> None:
            nonlocal kills
            time.sleep(dice.uniform(1.0, 2.5))
            victim = dice.randrange(2)
            if how == "kill -9":
                stack.kill(children[victim])
                kills += 1
            else:
                process = children[victim].process
                assert process is not None
                process.terminate()
                process.wait(30)
            children[victim].start()

        storm(made, 60, act)
        wait_until(made.hurry, 120)
        made.check(f"worker, {how}", kills * 2 * CONNECTIONS, survived)


def test_postgresql_restarted(tmp_path: Path, survived: list[tuple[str, int, int, int, int]]) -> None:
    """PostgreSQL crashes and comes back, again and again: what was sent meanwhile stands in the journals."""
    with running_postgres("fsync=off") as server, scene(server.create(), tmp_path, mood=slow) as (made, stack):
        stack.start("worker", "worker", "beat")

        def act(dice: random.Random) -> None:
            time.sleep(dice.uniform(1.0, 2.0))
            server.restart()
            made.engine.dispose()

        storm(made, 40, act)
        wait_until(made.hurry, 120)
        made.check("PostgreSQL crashed", 0, survived)


def test_disk_full(tmp_path: Path, survived: list[tuple[str, int, int, int, int]]) -> None:
    """No byte more can be written to the database for seconds on end: the journals, which have their room, hold it."""
    with scene(f"sqlite:///{tmp_path / 'full.db'}", tmp_path, mood=slow) as (made, stack):
        children = stack.start("worker", "worker", "beat")
        endless = resource.RLIM_INFINITY

        def limit(size: int) -> None:
            for child in children[:2]:
                assert child.process is not None
                pids = [child.process.pid]
                pids += map(int, Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text().split())
                for pid in pids:
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, endless))

        def act(dice: random.Random) -> None:
            time.sleep(dice.uniform(0.5, 1.0))
            limit(4096)
            time.sleep(dice.uniform(0.5, 2.0))
            limit(endless)

        storm(made, 60, act)
        limit(endless)
        wait_until(made.hurry, 120)
        made.check("disk full (SQLite)", 0, survived)


def test_clock_jumps(url: str, tmp_path: Path, survived: list[tuple[str, int, int, int, int]]) -> None:
    """The clocks of two workers jump by hours, to and fro, each for itself."""
    with scene(url, tmp_path, mood=slow) as (made, stack):
        made.house.now = datetime.now(UTC)
        made.house.tick()
        environment = {**os.environ, **stack.environment, "NEWSLETTER_LEASE_SECONDS": "20"}
        offsets = [tmp_path / f"offset{number}" for number in range(2)]
        for offset in offsets:
            offset.write_text("0")
        script = str(Path(__file__).with_name("jumping.py"))
        workers = [subprocess.Popen([sys.executable, script, str(offset)], env=environment) for offset in offsets]

        def act(dice: random.Random) -> None:
            dice.choice(offsets).write_text(str(dice.choice((-7200, -60, 0, 60, 3000))))

        storm(made, 60, act)
        for offset in offsets:
            offset.write_text("0")
        wait_until(made.hurry, 120)
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
            worker.kill()
            worker.wait()
        made.check("clock jumps", 0, survived)


@pytest.mark.skipif(find_tool("smtp-sink") is None, reason="Postfix's smtp-sink is not installed")
def test_postfix(url: str, tmp_path: Path, survived: list[tuple[str, int, int, int, int]]) -> None:
    """The same count holds for a server that is not ours: Postfix's smtp-sink, while workers are killed."""
    port, dump = free_port("127.0.0.1"), tmp_path / "dump"
    user = ["-u", "root"] if os.geteuid() == 0 else []
    command = [str(find_tool("smtp-sink")), *user, "-D", str(dump), f"127.0.0.1:{port}", "1024"]
    kills = 0
    with subprocess.Popen(command, env=tool_environment(), stderr=subprocess.DEVNULL) as sink:
        wait_until(lambda: is_listening("127.0.0.1", port))
        made = Scene(url, Misbehaving(port=port), tmp_path / "scene")
        with Stack(tmp_path / "stack", made.values) as stack:
            children = stack.start("worker", "worker", "beat")

            def act(dice: random.Random) -> None:
                nonlocal kills
                time.sleep(dice.uniform(0.5, 1.5))
                stack.kill(children[0])
                kills += 1
                children[0].start()

            storm(made, 60, act)
            wait_until(made.hurry, 120)
        sink.kill()
    ids: dict[str, str] = {}
    for part in dump.read_bytes().split(b"X-Client-Addr:")[1:]:
        message = message_from_bytes(part.partition(b"\n")[2].lstrip())
        recipient = str(message["X-Rcpt-Args"]).strip("<>")
        made.relay.accepted.append((recipient, str(message["Message-ID"]).encode()))
        assert ids.setdefault(recipient, str(message["Message-ID"])) == message["Message-ID"]
    made.relay.accepted = [(to, b"Message-ID: " + identity + b"\n\n") for to, identity in made.relay.accepted]
    made.check("worker, kill -9 (smtp-sink)", kills * 2 * CONNECTIONS, survived)
