"""Real parts for the tests: PostgreSQL and SQLite, an SMTP server that can misbehave, the command line."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from servers import Postgres, running_postgres
from sqlalchemy import Engine

from newsletter import cli
from newsletter.database import connect, engine_for
from newsletter.migrations import upgrade
from newsletter.settings import Settings, load_settings

CHECKOUT = Path(__file__).parents[1]
KEY = "k" * 40

# The same examples each time: a suite that fails now and then is not believed. `make chaos` looks for new ones.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None)
hypothesis.settings.register_profile("chaos", max_examples=1000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


BESIDE = next((p / "shared" for p in CHECKOUT.parents if (p / "shared/data/README.md").exists()), None)
"""Real input and a judge of mails that lie beside the checkout and are no part of the project; None elsewhere."""


def pytest_report_header() -> str:
    """Say whether the tests on real input can run."""
    return f"real input: {BESIDE or 'none beside this checkout, so the tests that read it are deselected'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without real input, leave out what needs it."""
    if BESIDE is None:
        needy = [item for item in items if {"material", "judge"} & set(getattr(item, "fixturenames", ()))]
        items[:] = [item for item in items if item not in needy]
        config.hook.pytest_deselected(items=needy)


@pytest.fixture
def material() -> Path:
    """The folder of real input."""
    assert BESIDE
    return BESIDE / "data"


@pytest.fixture
def judge() -> Path:
    """The program that judges whole messages."""
    assert BESIDE
    return BESIDE / "emailcheck/check"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the configuration of the machine it runs on."""
    for name in list(os.environ):
        if name.startswith("NEWSLETTER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL."""
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'newsletter.db'}"
    return str(request.getfixturevalue("postgres").create())


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A database with all tables, of either kind."""
    made = connect(database_url)
    upgrade(made)
    yield made
    made.dispose()


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    """A SQLite database with all tables."""
    made = connect(f"sqlite:///{tmp_path / 'small.db'}")
    upgrade(made)
    yield made
    made.dispose()


@dataclass
class Relay:
    """A real SMTP server that records, and refuses on demand.

    ``answers``: recipient → what it is told at RCPT or after the dot, a list is used up one by one.
    """

    port: int = 0
    messages: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    at_recipient: dict[str, list[str]] = field(default_factory=dict)
    at_dot: dict[str, list[str]] = field(default_factory=dict)
    connections: int = 0
    before_answer: Callable[[str], None] = lambda recipient: None
    drop_after_dot: set[str] = field(default_factory=set)

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.connections += 1
        return responses

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.at_recipient.get(address):
            return self.at_recipient[address].pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        recipient = envelope.rcpt_tos[0]
        self.before_answer(recipient)
        if self.at_dot.get(recipient):
            return self.at_dot[recipient].pop(0)
        self.messages.append((envelope.mail_from or "", list(envelope.rcpt_tos), envelope.original_content or b""))
        if recipient in self.drop_after_dot:
            self.drop_after_dot.discard(recipient)
            server.transport.abort()
        return "250 2.0.0 taken"

    @property
    def recipients(self) -> list[str]:
        return [message[1][0] for message in self.messages]


@contextmanager
def serving(handler: Relay, tls: ssl.SSLContext | None = None, **options: Any) -> Iterator[Relay]:
    """Run an SMTP server on a free port; ``tls`` from the first byte on, ``options`` are aiosmtpd's."""
    loop = asyncio.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    handler.port = listener.getsockname()[1]
    options = {"data_size_limit": 50_000_000, "enable_SMTPUTF8": True, "hostname": "relay.test", **options}

    def protocol() -> SMTP:
        return SMTP(handler, loop=loop, **options)

    server = loop.run_until_complete(loop.create_server(protocol, sock=listener, ssl=tls))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield handler
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    listener.close()


@pytest.fixture
def relay() -> Iterator[Relay]:
    """An SMTP server on a free port."""
    with serving(Relay()) as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, database_url: str, relay: Relay) -> Settings:
    """Settings for the database and the relay."""
    return load_settings(
        home=tmp_path / "home",
        database_url=database_url,
        smtp_url=f"smtp://127.0.0.1:{relay.port}",
        base_url="https://news.example.org",
        secret_key=KEY,
        redis_url="redis://127.0.0.1:1/0",
    )


@dataclass
class Result:
    """What a command did."""

    code: int
    out: str
    err: str
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class CommandLine:
    """The command line, in this process, over one state folder."""

    home: Path

    def __call__(self, *arguments: str, code: int | None = 0) -> Result:
        raw, err = io.BytesIO(), io.StringIO()
        out = io.TextIOWrapper(raw, "utf-8", newline="")
        before, sys.argv = sys.argv, ["newsletter", *arguments]
        result = 0
        try:
            with redirect_stdout(out), redirect_stderr(err):
                cli.main()
        except SystemExit as stop:
            result = stop.code if isinstance(stop.code, int) else 1 if stop.code else 0
        finally:
            sys.argv = before
            out.flush()
        done = Result(result, raw.getvalue().decode("utf-8", "replace"), err.getvalue(), raw.getvalue())
        assert code is None or done.code == code, f"{arguments}: {done.code}\n{done.out}\n{done.err}"
        return done


@pytest.fixture
def newsletter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    """The command line over a fresh state folder on SQLite."""
    monkeypatch.setenv("NEWSLETTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "160")
    command = CommandLine(tmp_path / "home")
    command("init")
    yield command
    engine_for(load_settings().database).dispose()
    engine_for.cache_clear()
