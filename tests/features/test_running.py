"""`newsletter demo` and `newsletter up` as a person starts and stops them: real processes, real signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from house import House
from sqlalchemy import Engine, func, select
from stack import Stack, wait_until

from newsletter.cli.supervising import free_port
from newsletter.database import connect, reading
from newsletter.settings import Settings
from newsletter.tables import deliveries, editions, runs


def processes(home: Path) -> list[str]:
    """The command lines of all processes that work on a state folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environment = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes()
            # Valkey writes its title over its arguments and environment, but works in its folder.
            folder = os.readlink(entry / "cwd").encode()
        except (OSError, ValueError):
            continue
        if str(home).encode() in environment + command + folder and entry.name != str(os.getpid()):
            found.append(command.replace(b"\0", b" ").decode())
    return [command for command in found if command]


def environment(home: Path) -> dict[str, str]:
    ports = {name: str(free_port("127.0.0.1")) for name in ("INBOX_WEB_PORT", "INBOX_SMTP_PORT")}
    return {
        **os.environ,
        "NEWSLETTER_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "160",
        **{f"NEWSLETTER_{name}": value for name, value in ports.items()},
    }


def variables(settings: Settings) -> dict[str, str]:
    """What processes of the same house are configured with."""
    return {
        "NEWSLETTER_DATABASE_URL": settings.database,
        "NEWSLETTER_SMTP_URL": settings.smtp_url,
        "NEWSLETTER_BASE_URL": settings.base_url,
        "NEWSLETTER_SECRET_KEY": settings.key,
    }


@contextmanager
def running(home: Path, *arguments: str, **extra: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A command in a session of its own, and the file that its output goes to."""
    out = home.parent / "out.txt"
    with out.open("wb") as target:
        process = subprocess.Popen(
            [sys.executable, "-m", "newsletter", *arguments],
            env={**environment(home), **extra},
            stdout=target,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process, out
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def demo_once(home: Path) -> str:
    command = [sys.executable, "-m", "newsletter", "demo", "--once"]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def demo_in_terminal(home: Path) -> str:
    """What a person sees, colours and progress bars and all."""
    master, slave = os.openpty()
    command = [sys.executable, "-m", "newsletter", "demo", "--once"]
    with subprocess.Popen(
        command, env={**environment(home), "TERM": "xterm-256color"}, stdin=slave, stdout=slave, stderr=slave
    ) as process:
        os.close(slave)
        shown = b""
        try:
            while part := os.read(master, 65_536):
                shown += part
        except OSError:  # EIO: the last process has closed the terminal
            os.close(master)
    assert process.returncode == 0, shown.decode()
    return shown.decode()


def test_demo_in_a_terminal(tmp_path: Path) -> None:
    """In a terminal the demo draws how far it is, until every reader was looked at and every digest sent."""
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", demo_in_terminal(tmp_path / "home"))
    assert "Traceback" not in shown
    assert "200 of 200" in shown
    made = re.findall(r"(\d+) digests sent; \d+ readers got none", shown)[0]
    assert f"{made} of {made}" in shown


def test_demo(tmp_path: Path, judge: Path) -> None:
    """All is sent, once, each mail passes the judge but for DKIM; a table says who got what, and who has to wait; the
    log calls nothing of it a warning; nothing stays behind."""
    home = tmp_path / "home"
    out = demo_once(home)
    assert processes(home) == []
    assert re.search(r"^\d+ digests sent; \d+ readers got none \(\d+ nothing new fits\)\.$", out, re.MULTILINE)
    # What answered at them has ended.
    assert "http://" not in out
    rows = re.findall(r"^\S+@\S+ .* (\d+ in 1 digest|none: nothing new fits)\s*$", out, re.MULTILINE)
    assert len(rows) == 200
    mails = sorted((home / "demo/inbox").glob("*.eml"))
    assert len(mails) == sum(row != "none: nothing new fits" for row in rows) > 150
    engine = connect(f"sqlite:///{home / 'demo/newsletter.db'}")
    with reading(engine) as connection:
        states = dict(connection.execute(select(deliveries.c.state, func.count()).group_by(deliveries.c.state)).all())
        distinct = connection.scalar(select(func.count()).select_from(editions))
    engine.dispose()
    assert states == {"sent": len(mails)}
    assert distinct
    judged = subprocess.run([judge, "--fast", *mails], capture_output=True, text=True, check=False)
    failures = [line for line in judged.stdout.splitlines() if line.strip().startswith("FAIL")]
    assert len(failures) >= len(mails)
    assert [line for line in failures if "DKIM" not in line] == []
    log = (home / "demo/logs/worker.log").read_text()
    assert re.search(r"^\S+ \S+ \[info +\] delivered ", log, re.MULTILINE)
    assert not re.search(r"WARNING/.* \[info", log)
    words = ("subscribers", "add", "me@example.net", "--frequency", "monthly", "--confirmed")
    subprocess.run([sys.executable, "-m", "newsletter", *words], env=environment(home / "demo"), check=True)
    again = demo_once(home)
    assert "nothing is sent twice" in again
    assert re.search(r"^me@example.net .* none: not due yet\s*$", again, re.MULTILINE)
    assert len(list((home / "demo/inbox").glob("*.eml"))) == len(mails)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_demo_stopped(tmp_path: Path, how: signal.Signals) -> None:
    """A kill or a closed terminal while mails go out: every process ends, what went out is written down and
    nothing is in doubt, and the next start sends the rest."""
    home = tmp_path / "home"

    def states() -> dict[str, int]:
        engine = connect(f"sqlite:///{home / 'demo/newsletter.db'}")
        with reading(engine) as connection:
            found = connection.execute(select(deliveries.c.state, func.count()).group_by(deliveries.c.state)).all()
        engine.dispose()
        return {str(state): int(count) for state, count in found}

    def mails() -> int:
        return len(list((home / "demo/inbox").glob("*.eml")))

    with running(home, "demo") as (process, out):
        wait_until(lambda: mails() > 5, 60)
        process.send_signal(how)
        process.wait(60)
        assert "Traceback" not in out.read_text()
    assert processes(home) == []
    assert states().get("sent") == mails()
    # The same for all of them, and a start takes long.
    if how == signal.SIGTERM:
        demo_once(home)
        assert states() == {"sent": mails()}


def test_supervisor_killed(tmp_path: Path) -> None:
    """Even kill -9 of `newsletter up` leaves no worker behind that nobody watches."""
    home = tmp_path / "home"
    with running(home, "up") as (process, out):
        wait_until(lambda: "Ctrl-C stops everything" in out.read_text(), 60)
        assert len(processes(home)) >= 5
        process.kill()
        process.wait()
        wait_until(lambda: processes(home) == [], 40)


def test_up(tmp_path: Path) -> None:
    """`up` starts all on the embedded default, on free ports if asked to; a reader added while it runs has the digest
    in the inbox soon after."""
    home = tmp_path / "home"
    free = {f"NEWSLETTER_INBOX_{name}_PORT": "0" for name in ("WEB", "SMTP")}
    with running(home, "up", NEWSLETTER_TICK_SECONDS="1", **free) as (process, out):
        wait_until(lambda: "Ctrl-C stops everything" in out.read_text(), 60)
        address = re.search(r"http://127\.0\.0\.1:\d+/", out.read_text()).group()  # type: ignore[union-attr]
        for words in (
            ("lists", "create", "n", "--name", "N", "--sender-email", "n@e.example", "--postal-address", "1 St"),
            ("items", "add", "Fresh", "--summary", "News."),
            ("subscribers", "add", "a@e.example", "--confirmed", "--from-start"),
        ):
            subprocess.run([sys.executable, "-m", "newsletter", *words], env=environment(home), check=True)
        (mail,) = wait_until(lambda: httpx.get(f"{address}api/messages").json()["messages"])
        assert mail["to"] == "a@e.example"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert out.read_text().rstrip().endswith("Stopped.")
    assert processes(home) == []


def test_port_taken(tmp_path: Path) -> None:
    """A port that something else listens on ends `up` with its name and the setting to change; nothing stays."""
    home = tmp_path / "home"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with running(home, "up", NEWSLETTER_INBOX_WEB_PORT=port) as (process, out):
            assert process.wait(60) == 1
            text = out.read_text()
    assert port in text
    assert "NEWSLETTER_INBOX_WEB_PORT" in text
    assert "Traceback" not in text
    assert processes(home) == []


# That SQLite's lock does it, too, threads show (delivery/test_dispatch.py, digests/test_assembling.py).
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_beats_two_workers(engine: Engine, settings, relay, tmp_path: Path) -> None:
    """Two beats and two workers over one database: one run a slot, one digest a reader."""
    house = House(engine, settings, now=datetime.now(UTC)).create()
    house.publish("one", countries=("GT",))
    readers = {f"r{number}@example.org" for number in range(60)}
    for reader in readers:
        house.subscribe(reader)
    with Stack(tmp_path / "stack", variables(settings)) as stack:
        stack.start("beat", "beat", "worker", "worker")
        wait_until(lambda: len(relay.messages) >= len(readers))
        house.publish("two", countries=("GT",))
        for number in range(1, 61):
            house.set(number, due_at=datetime.now(UTC))
        wait_until(lambda: len(relay.messages) >= 2 * len(readers))
        wait_until(lambda: {state for n in range(1, 61) for state in house.states(n)} == {"sent"})
    assert sorted(relay.recipients) == sorted([*readers, *readers])
    with engine.connect() as connection:
        slots = connection.scalars(select(runs.c.slot)).all()
    assert len(slots) == len(set(slots))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_first_tick(engine: Engine, settings, relay, tmp_path: Path) -> None:
    """Beat asks what is due when it starts, and not only when its first interval is over."""
    house = House(engine, settings, now=datetime.now(UTC)).create()
    house.publish("one", countries=("GT",))
    house.subscribe("ana@example.org", due_at=house.now - timedelta(hours=2))
    with Stack(tmp_path / "stack", variables(settings) | {"NEWSLETTER_TICK_SECONDS": "3600"}) as stack:
        stack.start("worker", "beat")
        wait_until(lambda: relay.recipients == ["ana@example.org"])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("level", "told"), [("info", False), ("debug", True)])
def test_ticks_in_the_log(engine: Engine, settings, relay, tmp_path: Path, level: str, told: bool) -> None:
    """Ticks that go well stand in the logs only of who asks for everything; what came of them does in any case."""
    house = House(engine, settings, now=datetime.now(UTC)).create()
    house.publish("one", countries=("GT",))
    house.subscribe("ana@example.org", due_at=house.now - timedelta(hours=2))
    with Stack(tmp_path / "stack", variables(settings) | {"NEWSLETTER_LOG_LEVEL": level}) as stack:
        worker, beat = (child.log for child in stack.start("worker", "beat"))
        wait_until(lambda: "sent=1" in worker.read_text())
    assert ("Task newsletter.tick[" in worker.read_text(), "Sending due task" in beat.read_text()) == (told, told)
