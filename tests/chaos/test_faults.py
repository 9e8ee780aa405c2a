"""Promises 2 to 5, one fault at a time: thousands of deliveries, nothing lost, doubles within their bound."""

from __future__ import annotations

import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path

import pytest
from commanding import KEY
from house import House
from misbehaving import Misbehaving, misbehaving
from postfix import find_tool, tool_environment
from servers import Postgres, running_postgres
from sqlalchemy import func, select
from stack import Stack, select_doubtful, wait_until

from newsletter.cli.supervising import Child, free_port, is_listening
from newsletter.database import connect
from newsletter.delivery.relays import CONNECTIONS
from newsletter.migrations import upgrade
from newsletter.settings import load_settings
from newsletter.tables import deliveries, relays, subscriptions

pytestmark = pytest.mark.chaos

READERS = 2000
PROCESSES = 2  # of a worker
Note = Callable[..., None]


class Scene:
    """A list with its readers, a relay, and what became of the deliveries."""

    def __init__(self, url: str, relay: Misbehaving, folder: Path, timeout: int = 20) -> None:
        self.engine = connect(url)
        upgrade(self.engine)
        self.relay = relay
        self.values = {
            "NEWSLETTER_DATABASE_URL": url,
            "NEWSLETTER_SMTP_URL": f"smtp://127.0.0.1:{relay.port}",
            "NEWSLETTER_BASE_URL": "https://news.example.org",
            "NEWSLETTER_SECRET_KEY": KEY,
            "NEWSLETTER_SMTP_TIMEOUT": str(timeout),
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

    def waiting(self) -> list[object]:
        """What is not sent, and the relay: what a failure is understood by."""
        of = deliveries.c
        open_ = select(of.state, of.claim, func.min(of.due_at), func.max(of.due_at), func.count(), func.max(of.answer))
        with self.engine.connect() as connection:
            rows = connection.execute(open_.where(of.state != "sent").group_by(of.state, of.claim)).all()
            return [*rows, *connection.execute(select(relays)).all()]

    def finish(self, patience: float = 120) -> None:
        """Bring forward what waits for a later moment, until all is sent; ``patience`` idle seconds fail."""
        before, limit = -1, 0.0
        while (sent := self.sent()) < READERS:
            if sent > before:
                before, limit = sent, time.monotonic() + patience
            assert time.monotonic() < limit, f"{sent} sent, and no more for {patience} s: {self.waiting()}"
            with self.engine.begin() as connection:
                waiting = deliveries.c.state.in_(("queued", "deferred"))
                connection.execute(deliveries.update().where(waiting).values(due_at=datetime.now(UTC)))
            time.sleep(0.5)

    def check(self, fault: str, times: int, bound: int, note: Note) -> None:
        """Every recipient's count against the ledger; the fault struck ``times``."""
        got: Counter[str] = Counter(recipient for recipient, _ in self.relay.accepted)
        copies: dict[str, set[tuple[str, bytes]]] = {}
        for recipient, content in self.relay.accepted:
            copies.setdefault(recipient, set()).add((str(message_from_bytes(content)["Message-ID"]), content))
        with self.engine.connect() as connection:
            states = dict(
                connection.execute(select(deliveries.c.state, func.count()).group_by(deliveries.c.state)).all()
            )
            behind = connection.scalar(select(func.count()).where(subscriptions.c.cursor < 2))
            doubtful = connection.scalars(select_doubtful()).all()
        self.engine.dispose()
        lost = sum(f"r{number}@example.org" not in got for number in range(READERS))
        doubled = sum(got.values()) - len(got)
        note(
            fault=fault,
            database=self.engine.dialect.name,
            times=times,
            deliveries=READERS,
            lost=lost,
            doubled=doubled,
            at_most=bound,
        )
        assert times > 0
        assert lost == 0
        assert states == {"sent": READERS}
        assert behind == 0
        assert doubled <= bound
        assert {recipient for recipient, number in got.items() if number > 1} <= set(doubtful)
        # What came twice is the same message, byte for byte.
        assert all(len(same) == 1 for same in copies.values())


@contextmanager
def scene(url: str, folder: Path, timeout: int = 20, **moods: object) -> Iterator[tuple[Scene, Stack]]:
    with misbehaving(Misbehaving(**moods)) as relay:  # type: ignore[arg-type]
        made = Scene(url, relay, folder / "scene", timeout)
        with Stack(folder / "stack", made.values) as stack:
            yield made, stack


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'chaos.db'}"
    return str(request.getfixturevalue("postgres").create())


def now_and_then(mood: str, every: int) -> dict[str, object]:
    return {"mood": lambda number, recipient: mood if number % every == 0 else "ok"}


RELAY_FAULTS: dict[str, dict[str, object]] = {
    "hangs in the middle of a message": {**now_and_then("hang", 400), "timeout": 2},
    "hangs up after the dot": now_and_then("drop", 100),
    "452 for every third recipient": now_and_then("452", 3),
    "closes after ten messages": {"closes_after": 10},
    "answers garbage": now_and_then("garbage", 150),
    "answers a dot twice": now_and_then("twice", 150),
    "answers a dot before it came": now_and_then("early", 150),
}


@pytest.mark.parametrize("fault", RELAY_FAULTS)
def test_relay(fault: str, url: str, tmp_path: Path, note: Note) -> None:
    """A relay that misbehaves costs nothing but what it accepted without saying so, and that is marked doubtful."""
    with scene(url, tmp_path, **RELAY_FAULTS[fault]) as (made, stack):  # type: ignore[arg-type]
        stack.start("worker", "worker", "beat")
        made.finish()
        made.check(f"relay {fault}", made.relay.misbehaved, made.relay.unanswered, note)


def storm(made: Scene, act: Callable[[random.Random], None], seconds: float = 60) -> int:
    """Act now and then, from the first message on until the run is sent or the time is over; how often."""
    dice, times = random.Random(5), 0
    wait_until(lambda: made.relay.begun or made.sent(), 120)
    began = time.monotonic()
    while time.monotonic() - began < seconds and made.sent() < READERS:
        act(dice)
        times += 1
        time.sleep(dice.uniform(0.1, 0.5))
    return times


def slow(number: int, recipient: str) -> str:
    """Slow enough that something can happen in the middle."""
    time.sleep(0.004)
    return "ok"


def processes_of(child: Child) -> list[int]:
    """The numbers of a worker's processes: its own, and those that it forked."""
    assert child.process is not None
    pid = child.process.pid
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def test_redis_flushed(url: str, tmp_path: Path, note: Note) -> None:
    """Redis is flushed several times a second."""
    with scene(url, tmp_path, mood=slow) as (made, stack):
        stack.start("worker", "worker", "beat")
        times = storm(made, lambda dice: stack.flush())
        made.finish()
        made.check("Redis flushed", times, 0, note)


def test_redis_killed(url: str, tmp_path: Path, note: Note) -> None:
    """Redis dies and comes back empty, again and again."""
    with scene(url, tmp_path, mood=slow) as (made, stack):
        stack.start("worker", "worker", "beat")
        valkey = stack.supervisor.children[0]

        def act(dice: random.Random) -> None:
            stack.kill(valkey)
            time.sleep(dice.uniform(0.1, 1.0))
            valkey.start()

        times = storm(made, act)
        made.finish()
        made.check("Redis killed", times, 0, note)


@pytest.mark.parametrize("how", ["kill -9", "kill -9 of one process", "SIGTERM"])
def test_workers(url: str, how: str, tmp_path: Path, note: Note) -> None:
    """Workers are killed: doubles are at most one a connection that was open; asked to stop, there are none."""
    with scene(url, tmp_path, mood=slow) as (made, stack):
        children = stack.start("worker", "worker", "beat")

        def act(dice: random.Random) -> None:
            victim = children[dice.randrange(2)]
            if how == "kill -9 of one process":
                forked = wait_until(lambda: processes_of(victim)[1:])
                os.kill(dice.choice(forked), signal.SIGKILL)
                return
            if how == "kill -9":
                stack.kill(victim)
            else:
                assert victim.process is not None
                victim.process.terminate()
                victim.process.wait(60)
            victim.start()
            time.sleep(dice.uniform(0.5, 2.0))

        times = storm(made, act)
        made.finish()
        processes = {"kill -9": PROCESSES, "kill -9 of one process": 1, "SIGTERM": 0}[how]
        made.check(f"worker, {how}", times, times * processes * CONNECTIONS, note)


def test_machine_lost(postgres: Postgres, tmp_path: Path, note: Note) -> None:
    """A machine is lost with its disk, its journals on it: once its leases are over all is sent, and what comes twice
    is what it sent in its last second."""
    with scene(postgres.create(), tmp_path, mood=slow) as (made, stack):
        stack.start("beat", "worker")
        bound, machines = 0, itertools.count()

        def another() -> tuple[Child, Path]:
            home = tmp_path / f"machine-{next(machines)}"
            environment = {**stack.environment, "NEWSLETTER_HOME": str(home)}
            child = stack.supervisor.start_own("worker", "worker", environment=environment)
            wait_until(lambda: list(home.glob("journals/*.journal")) or made.sent() == READERS)
            return child, home

        machine, home = another()

        def act(dice: random.Random) -> None:
            nonlocal bound, machine, home
            before = len(made.relay.accepted)
            time.sleep(1)
            stack.kill(machine)
            bound += len(made.relay.accepted) - before + PROCESSES * CONNECTIONS
            owners = [path.stem for path in home.glob("journals/*.journal")]
            shutil.rmtree(home)
            with made.engine.begin() as connection:
                theirs = (deliveries.c.state == "claimed", deliveries.c.claim.in_(owners))
                connection.execute(deliveries.update().where(*theirs).values(due_at=datetime.now(UTC)))
            machine, home = another()

        times = storm(made, act)
        made.finish()
        made.check("machine lost with its disk", times, bound, note)


def test_postgresql_restarted(tmp_path: Path, note: Note) -> None:
    """PostgreSQL crashes and comes back, again and again: what was sent meanwhile stands in the journals."""
    with running_postgres("fsync=off") as server, scene(server.create(), tmp_path, mood=slow) as (made, stack):
        stack.start("worker", "worker", "beat")

        def act(dice: random.Random) -> None:
            server.restart()
            made.engine.dispose()
            time.sleep(dice.uniform(0.5, 2.0))

        times = storm(made, act)
        made.finish()
        made.check("PostgreSQL crashed", times, 0, note)


@pytest.mark.parametrize("pace", ["slow", "fast"])
def test_postgresql_stands_still(pace: str, tmp_path: Path, note: Note) -> None:
    """PostgreSQL answers nobody for seconds on end, and no connection to it breaks: all is sent once."""
    moods = {"slow": {"mood": slow}, "fast": {}}[pace]
    with running_postgres("fsync=off") as server, scene(server.create(), tmp_path, 2, **moods) as (made, stack):
        stack.start("worker", "worker", "beat")

        def act(dice: random.Random) -> None:
            with server.standing_still():
                time.sleep(dice.uniform(0.5, 4.0))

        times = storm(made, act)
        made.finish()
        made.check(f"PostgreSQL stood still, {pace} relay", times, 0, note)


def test_disk_full(tmp_path: Path, note: Note) -> None:
    """No byte more can be written to the database for seconds on end: the journals, which have their room, hold it."""
    with scene(f"sqlite:///{tmp_path / 'full.db'}", tmp_path, mood=slow) as (made, stack):
        children = stack.start("worker", "worker", "beat")
        endless = resource.RLIM_INFINITY

        def limit(size: int) -> None:
            for child in children[:2]:
                for pid in processes_of(child):
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, endless))

        def act(dice: random.Random) -> None:
            limit(4096)
            time.sleep(dice.uniform(0.5, 2.0))
            limit(endless)
            time.sleep(dice.uniform(0.2, 0.5))

        times = storm(made, act)
        made.finish()
        made.check("disk full", times, 0, note)


def test_clock_jumps(url: str, tmp_path: Path, note: Note) -> None:
    """The clocks of two workers jump by hours, to and fro, each for itself."""
    with scene(url, tmp_path, mood=slow) as (made, stack):
        # A run is of a whole second: readers that were made in the same one are not due yet.
        made.house.now = datetime.now(UTC) + timedelta(seconds=1)
        made.house.tick()
        environment = {
            **os.environ,
            **stack.environment,
            "NEWSLETTER_LEASE_SECONDS": "60",
            "NEWSLETTER_SMTP_TIMEOUT": "3",
        }
        offsets = [tmp_path / f"offset{number}" for number in range(2)]
        for offset in offsets:
            offset.write_text("0")
        script = str(Path(__file__).parents[1] / "sending.py")
        workers = [subprocess.Popen([sys.executable, script, str(offset)], env=environment) for offset in offsets]

        def act(dice: random.Random) -> None:
            dice.choice(offsets).write_text(str(dice.choice((-7200, -60, 0, 60, 3000))))

        try:
            times = storm(made, act)
            for offset in offsets:
                offset.write_text("0")
            made.finish()
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        made.check("clock jumps", times, 0, note)


# Postfix may be neither installed nor to be had as a package here; all other cases do without it.
@pytest.mark.skipif(find_tool("smtp-sink") is None, reason="Postfix's smtp-sink is not installed")
def test_postfix(url: str, tmp_path: Path, note: Note) -> None:
    """The same count holds for a server that is not ours: Postfix's smtp-sink, while workers are killed."""
    port, dump = free_port("127.0.0.1"), tmp_path / "dump"
    user = ["-u", "root"] if os.geteuid() == 0 else []
    command = [str(find_tool("smtp-sink")), *user, "-D", str(dump), f"127.0.0.1:{port}", "1024"]
    with subprocess.Popen(command, env=tool_environment(), stderr=subprocess.DEVNULL) as sink:
        wait_until(lambda: is_listening("127.0.0.1", port))
        made = Scene(url, Misbehaving(port=port), tmp_path / "scene")
        # Else all is sent before a worker can be killed.
        made.values["NEWSLETTER_SMTP_URL"] += "?rate=200/s"
        with Stack(tmp_path / "stack", made.values) as stack:
            children = stack.start("worker", "worker", "beat")

            def act(dice: random.Random) -> None:
                stack.kill(children[0])
                children[0].start()
                time.sleep(dice.uniform(0.5, 1.0))

            times = storm(made, act)
            made.finish()
        sink.kill()
    ids: dict[str, str] = {}
    for part in dump.read_bytes().split(b"X-Client-Addr:")[1:]:
        message = message_from_bytes(part.partition(b"\n")[2].lstrip())
        recipient = str(message["X-Rcpt-Args"]).strip("<>")
        made.relay.accepted.append((recipient, str(message["Message-ID"]).encode()))
        assert ids.setdefault(recipient, str(message["Message-ID"])) == message["Message-ID"]
    made.relay.accepted = [(to, b"Message-ID: " + identity + b"\n\n") for to, identity in made.relay.accepted]
    made.check("worker, kill -9 (smtp-sink)", times, times * PROCESSES * CONNECTIONS, note)
