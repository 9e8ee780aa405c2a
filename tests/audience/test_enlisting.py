"""Putting an address on a list in few statements, whoever else does the same at this moment."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from house import House
from psycopg._queries import MAX_CACHED_STATEMENT_LENGTH
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, delete, event, func, select, text, update

from newsletter.audience.lists import create_list
from newsletter.audience.picks import Picks
from newsletter.audience.suppressions import suppress
from newsletter.database import RESTED, at_once, connect
from newsletter.errors import StateError
from newsletter.tables import consents, lists, notices, profiles, subscribers, subscriptions

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
NEW = Picks(countries=frozenset({"GT"}))


@pytest.fixture
def statements(house: House) -> Iterator[list[str]]:
    """What is put to the database."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(house.engine, "before_cursor_execute", note)
    yield seen
    event.remove(house.engine, "before_cursor_execute", note)


def counts(house: House) -> list[int]:
    tables = (subscribers, profiles, subscriptions, consents, notices)
    with house.engine.connect() as connection:
        return [connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


def test_one_statement(house: House, statements: list[str]) -> None:
    """On PostgreSQL one statement puts an address on the list and asks for its mail, with new picks or old; psycopg
    keeps what it made of its text, which it does up to a length.
    """
    is_one = house.engine.dialect.name == "postgresql"
    for email in ("ana@example.org", "ben@example.org"):
        statements.clear()
        house.subscribe(email, NEW, due_at=None, cursor=None)
        put = [text for text in statements if not text.startswith("BEGIN")]
        assert len(put) == (1 if is_one else 5)
        assert max(map(len, put)) <= MAX_CACHED_STATEMENT_LENGTH
    assert counts(house) == [2, 1, 2, 2, 2]


def test_the_mail_of_who_comes_back(house: House) -> None:
    """Who waits for a mail already gets no second one: it is asked for now. Whoever is confirmed is sent none."""
    reader = house.subscribe("ana@example.org", NEW, due_at=None)
    house.set(reader, state="unsubscribed", due_at=None)
    house.pass_time(minutes=30)
    house.subscribe("ana@example.org", NEW, due_at=None)
    house.subscribe("ben@example.org", NEW)
    with house.engine.connect() as connection:
        (row,) = connection.execute(select(notices)).all()
    assert (row.kind, row.list_id, row.email, row.data) == ("confirm", house.list_id, None, {})
    assert (row.asked_at, row.due_at) == (house.now, house.now - timedelta(minutes=30))


def test_where_the_list_stands(house: House) -> None:
    """Without a cursor a subscription begins after all that is published."""
    house.publish("a", "b")
    house.subscribe("ana@example.org", cursor=None)
    with house.engine.connect() as connection:
        row = connection.execute(select(subscriptions)).one()
        last = connection.scalar(select(lists.c.last_position))
    assert row.start == row.cursor == last > 0


def test_an_archived_list(house: House) -> None:
    """Nobody is put on a list that is archived; nothing is written."""
    with house.engine.begin() as connection:
        connection.execute(update(lists).values(archived_at=house.now))
    with pytest.raises(StateError, match=r"The list 'rutas' is archived\."):
        house.subscribe("ana@example.org", NEW)
    assert counts(house) == [0, 0, 0, 0, 0]


def test_at_once(house: House) -> None:
    """On PostgreSQL what is done at once has begun no transaction; the next to have the connection begins one."""
    engine = house.engine
    is_postgresql = engine.dialect.name == "postgresql"

    def is_beginning(connection: Connection) -> bool:
        connection.execute(select(lists.c.id))
        raw: Any = connection.connection.dbapi_connection
        return bool(raw.info.transaction_status == TransactionStatus.INTRANS if is_postgresql else raw.in_transaction)

    with at_once(engine) as connection:
        assert is_beginning(connection) is not is_postgresql
    with engine.begin() as connection:
        assert is_beginning(connection)


def test_coming_back(house: House) -> None:
    """Who left begins again: the same subscription since the same day; picks, schedule and cursor as asked for now."""
    reader = house.subscribe("ana@example.org", NEW)
    house.set(reader, state="unsubscribed", due_at=None, last_outcome="sent", last_run_id=7)
    began = house.now
    house.pass_time(days=3)
    assert house.subscribe("Ana@Example.org", Picks(), "weekly", due_at=None, cursor=5, name="Another") == reader
    with house.engine.connect() as connection:
        row = connection.execute(select(subscriptions)).one()
        person = connection.execute(select(subscribers)).one()
    assert (row.state, row.frequency, row.start, row.cursor, row.created_at) == ("pending", "weekly", 5, 5, began)
    assert (row.last_outcome, row.last_run_id, row.paused_until) == (None, None, None)
    assert (person.email, person.name) == ("Ana@example.org", "")
    assert counts(house) == [1, 2, 1, 2, 1]


def test_a_strangers_spelling(house: House) -> None:
    """Whoever signs an address up for another list changes nothing of how it is written to while it is on one."""
    with house.engine.begin() as connection:
        other = {"slug": "mares", "name": "Mares", "sender_name": "M", "sender_email": "m@mares.example"}
        other |= {"postal_address": "1 St", "languages": ["en"], "frequency": "daily", "hour": 8, "weekday": 0}
        create_list(connection, {**other, "timezone": "UTC", "max_items": 10}, house.now)
    first, mares = house.list_id, house.list_id + 1

    def written() -> str:
        with house.engine.connect() as connection:
            return str(connection.scalar(select(subscribers.c.email)))

    for spelling in ("Ana@example.org", "aNa@example.org"):
        house.subscribe(spelling, due_at=None)
        with house.engine.begin() as connection:
            connection.execute(delete(subscriptions))
        assert written() == spelling
    reader = house.subscribe("Ana@example.org")
    for state in ("active", "paused", "pending"):
        house.set(reader, state=state)
        house.list_id = mares
        house.subscribe("ANA@example.org", due_at=None)
        house.list_id = first
        assert written() == "Ana@example.org"
        with house.engine.begin() as connection:
            connection.execute(delete(subscriptions).where(subscriptions.c.id != reader))


def test_who_may_not(house: House) -> None:
    """An address that must not be mailed, or is there already, is refused with the reason; nothing is written."""
    house.subscribe("there@example.org")
    with house.engine.begin() as connection:
        suppress(connection, house.settings.keys, "never@example.org", "complaint", house.now)
    before = counts(house)
    with pytest.raises(StateError, match="must not be mailed: complaint"):
        house.subscribe("never@example.org", NEW)
    with pytest.raises(StateError, match=r"on this list already \(active\)"):
        house.subscribe("There@example.org", NEW)
    assert counts(house) == before
    with house.engine.connect() as connection:
        assert connection.scalar(select(subscribers.c.email)) == "there@example.org"


@on_postgresql
@pytest.mark.parametrize("ends", ["commit", "rollback"])
@pytest.mark.parametrize("email", ["ben@example.org", "ana@example.org"])
def test_two_at_once(house: House, ends: str, email: str) -> None:
    """Two bring the same new picks, or the same address, in the same moment: the second waits for the first, and both
    are on the list, or the second alone if the first was undone; the same address is told that it is there.
    """
    told: list[Any] = []

    def second() -> None:
        try:
            told.append(house.subscribe(email, NEW, due_at=None))
        except StateError as error:
            told.append(error)

    engine = house.engine
    with engine.connect() as connection:
        house.engine = _Same(connection)  # type: ignore[assignment]
        first = house.subscribe("ana@example.org", NEW, due_at=None)
        house.engine = engine
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        assert not told
        getattr(connection, ends)()
        thread.join(20)
    refused = ends == "commit" and email == "ana@example.org"
    assert isinstance(told[0], StateError if refused else int)
    assert told[0] != first
    people = 2 if ends == "commit" and not refused else 1
    assert counts(house) == [people, 1, people, people, people]


class _Same:
    """In place of an engine: a transaction that is not over yet."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def begin(self) -> Any:
        return self

    def __enter__(self) -> Any:
        return self.connection

    def __exit__(self, *_: object) -> None:
        pass


@on_postgresql
def test_a_server_that_was_restarted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that rested is asked whether it still lives; one that does not is replaced, and nobody notices."""
    assert RESTED <= 1
    monkeypatch.setattr("newsletter.database.RESTED", 0)
    engine = connect(str(house.engine.url.render_as_string(hide_password=False)))
    with engine.connect() as connection:
        lost = connection.scalar(text("SELECT pg_backend_pid()"))
    with house.engine.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": lost})
    with engine.begin() as connection:
        connection.execute(update(subscribers).values(name="x"))
        assert connection.scalar(text("SELECT pg_backend_pid()")) != lost
    engine.dispose()
