"""Engines and transactions for SQLite and PostgreSQL."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    QueuePool,
    Text,
    TypeDecorator,
    bindparam,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType

from newsletter.checking import host_name
from newsletter.errors import SettingsError, StateError

NOTICED = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
"""That PostgreSQL's machine has vanished is noticed within a minute; the kernel alone takes a quarter of an hour."""
SQLITE_WAIT_SECONDS = 60
MOST_CONNECTIONS = 15
"""Of a process, to PostgreSQL."""
RESTED = 1.0
"""Seconds after which a connection is asked whether it still lives."""
MENDS = {
    ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM"): "It has to be a file that this user may write, in a folder "
    "that they may write.",
    ("SQLITE_CORRUPT", "SQLITE_NOTADB"): "The file is damaged, or is none of ours: put a back-up in its place.",
    ("SQLITE_FULL", "SQLITE_IOERR"): "Make room on its disk, and see whether that is sound.",
    ("SQLITE_BUSY", "SQLITE_LOCKED"): "Another process is writing for long: try again when it is done.",
}
"""By what SQLite's names of errors begin with, how to mend them."""
DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql",
    "postgresql+psycopg": "postgresql",
}
"""What a URL may begin with, and the kind of database that it means."""


def connect(url: str) -> Engine:
    """An engine for the database at ``url``.

    SQLite is opened with a write-ahead log, foreign keys and a patient lock. Its transactions begin
    with ``BEGIN IMMEDIATE``: one that reads and then writes must not find itself overtaken in between. A file
    that is made, and its folder, is for its owner's eyes only.

    Raises:
        SettingsError: the URL is neither SQLite nor PostgreSQL.
    """
    try:
        parsed = make_url(url)
        name = DRIVERS.get(parsed.drivername)
        # A folder in its place is where a socket lies.
        host_name(parsed.host if parsed.host and "/" not in parsed.host else "")
    except (ArgumentError, ValueError):
        name = None
    if name is None:
        raise SettingsError(
            "NEWSLETTER_DATABASE_URL is not usable.",
            "It looks like sqlite:////var/lib/newsletter/newsletter.db or postgresql://user:password@host/name.",
        )
    if name == "postgresql":
        return _postgresql(url)
    # Here and below: what a statement was given stays out of errors, and so out of logs.
    # Those who wait for a writer are not to keep others from reading, which needs no more than a file that is opened.
    engine = create_engine(
        url,
        hide_parameters=True,
        poolclass=QueuePool,
        max_overflow=-1,
        connect_args={"timeout": SQLITE_WAIT_SECONDS},
    )

    @event.listens_for(engine, "do_connect")
    def make(*_: object) -> None:
        # SQLite gives the write-ahead log the mode of the file. Never open one that is there: closing it again would
        # take this process's locks away.
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(OSError):
                os.close(os.open(parsed.database, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # The driver's own BEGIN comes too late and is never IMMEDIATE.
        connection.isolation_level = None
        # Without secure_delete an erased address would stay in the file until its place is needed.
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(
            "BEGIN" if connection.get_execution_options().get("read_only") else "BEGIN IMMEDIATE"
        )

    return engine


def _postgresql(url: str) -> Engine:
    # In UTC moments need no converting on their way. What a peak has opened stays: opening takes longer than ten
    # statements. The one that was used last is taken first, so that few of them are busy and have all prepared.
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=MOST_CONNECTIONS,
        max_overflow=0,
        pool_use_lifo=True,
        connect_args={"options": "-c timezone=UTC", **NOTICED},
    )

    @event.listens_for(engine, "checkin")
    def left(_connection: Any, record: Any) -> None:
        record.info["left_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def taken(connection: Any, record: Any, _proxy: Any) -> None:
        # A server that was restarted has forgotten us. To ask each time would be a trip more for each transaction.
        if time.monotonic() - record.info.get("left_at", time.monotonic()) > RESTED:
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error:
                raise InvalidatePoolError from None

    return engine


def is_absent(engine: Engine) -> bool:
    """Whether the file of a SQLite database is not there yet; to connect would make it, and its folder."""
    file = (engine.url.database or "") if engine.dialect.name == "sqlite" else ""
    return bool(file) and not file.startswith((":memory:", "file:")) and not Path(file).exists()


def unusable(url: URL, error: DBAPIError) -> StateError:
    """What is to be said of an error of the database at ``url``, and how to mend it."""
    reason = _reason(error)
    if url.get_backend_name() != "sqlite":
        return StateError(
            f"The database cannot be used: {reason}.", "Check NEWSLETTER_DATABASE_URL, and whether its server runs."
        )
    code = getattr(error.orig, "sqlite_errorname", "")
    mend = next(
        (mend for beginning, mend in MENDS.items() if code.startswith(beginning)), "Check its file and its disk."
    )
    return StateError(f"The database {url.database} cannot be used: {reason}.", mend)


def why_away(error: BaseException) -> str:
    """Why the database cannot be used just now; empty if the error is one of ours, which stays when it is back."""
    if not isinstance(error, DBAPIError):
        return ""
    sqlite_name = getattr(error.orig, "sqlite_errorname", None)
    if sqlite_name is not None:
        passing = sqlite_name.startswith(tuple(beginning for beginnings in MENDS for beginning in beginnings))
    else:
        # Without a state the server did not answer at all.
        state = getattr(error.orig, "sqlstate", None)
        passing = isinstance(error, (OperationalError, InterfaceError)) and (
            not state or state.startswith(("08", "53", "57P", "58"))
        )
    return _reason(error) if passing else ""


def _reason(error: DBAPIError) -> str:
    return (str(error.orig).strip().splitlines() or ["no reason is given"])[0]


def empty_log(engine: Engine) -> None:
    """On SQLite, empty the write-ahead log, in which what was changed or deleted stands for a while yet.

    Somebody who is reading just now keeps it; then the next call, or the last to close the database, empties it.
    """
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            raw = connection.connection.dbapi_connection
            assert raw
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")


@cache
def engine_for(url: str) -> Engine:
    """The process's one engine for ``url``.

    A process that is forked, as Celery's are, opens connections of its own: two processes that talk over one
    connection get each other's answers.
    """
    engine = connect(url)
    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection for reading only, which on SQLite does not wait for writers."""
    with engine.connect().execution_options(read_only=True) as connection:
        yield connection


@contextmanager
def at_once(engine: Engine) -> Iterator[Connection]:
    """A connection for one statement that does all there is to do, and more only if it did nothing.

    On PostgreSQL each is a transaction of its own, without the trips that beginning and ending one take.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="AUTOCOMMIT")
        with connection.begin():
            yield connection


class IdList(TypeDecorator[Collection[int]]):
    """Any number of ids as one parameter: an array as PostgreSQL writes it, or JSON for SQLite."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Collection[int] | None, dialect: Dialect) -> str:
        """Write them; several times faster than the driver's own way."""
        numbers = ",".join(map(str, value or ()))
        return f"{{{numbers}}}" if dialect.name == "postgresql" else f"[{numbers}]"


IDS = bindparam("ids", type_=IdList())


def any_of(array: str, of: str) -> str:
    """``ANY`` of an array that is given as PostgreSQL writes it; ``of``: the type of its elements."""
    # One that is not the result of a SELECT is read anew for each row, where a table or an index is read through.
    return f"ANY(CAST((SELECT CAST({array} AS {of}[])) AS {of}[]))"


class Among(FunctionElement[Any]):
    """``Among(column, IDS)``: the column is one of the ids that the statement is executed with.

    An IN is written with a parameter for each value: to write, read and plan that costs more than to look up the rows.
    This is the same text for any number of them, so that a statement is built and planned once.
    """

    name = "among"
    inherit_cache = True
    # A Boolean would be compared with 1 on SQLite, which then reads the whole table.
    type = NullType()


@compiles(Among)
def _write_among(element: Among, compiler: SQLCompiler, **options: Any) -> str:
    column, ids = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({ids}))"  # noqa: S608 - clauses, not values


@compiles(Among, "postgresql")
def _write_among_postgresql(element: Among, compiler: SQLCompiler, **options: Any) -> str:
    column, ids = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = {any_of(ids, 'bigint')}"


def insert(connection: Connection, table: Any) -> Any:
    """The dialect's INSERT, which both databases can follow with ``on_conflict_do_nothing``."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
