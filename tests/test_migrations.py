"""The database's history: from nothing up to the tables, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from commanding import CommandLine
from sqlalchemy import Connection, Engine, delete, insert, inspect, select, text, update
from sqlalchemy.exc import IntegrityError

from newsletter.audience.addresses import address_hash
from newsletter.audience.suppressions import suppress, suppressed
from newsletter.database import connect
from newsletter.errors import SettingsError, StateError
from newsletter.migrations import _config, latest, require_current, upgrade
from newsletter.tables import address_changes, deliveries, editions, metadata, notices, subscribers, subscriptions

KEYS = ("k" * 40,)


def picture(engine: Engine) -> dict[str, object]:
    """All that the database itself says of its tables."""
    found = inspect(engine)
    return {
        table: (
            [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in found.get_columns(table)],
            sorted(
                (str(i["name"]), str(i["column_names"]), i["unique"], str([*map(str, i["dialect_options"].values())]))
                for i in found.get_indexes(table)
            ),
            sorted(str(sorted(u.items(), key=str)) for u in found.get_unique_constraints(table)),
            sorted(str(sorted(f.items(), key=str)) for f in found.get_foreign_keys(table)),
            found.get_pk_constraint(table),
        )
        for table in found.get_table_names()
        if table != "alembic_version"
    }


@contextmanager
def at_revision(engine: Engine, revision: str) -> Iterator[Connection]:
    """A database of that time, for what was in it then; committed at the end."""
    with engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        yield connection


def test_migrations_match_the_tables(empty_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """All migrations together make exactly the tables of today; a second time there is nothing to do."""
    engine = connect(empty_url)
    assert upgrade(engine)
    assert not upgrade(engine)
    require_current(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata) == []
    postgresql = engine.dialect.name == "postgresql"
    other = request.getfixturevalue("postgres").create() if postgresql else f"sqlite:///{tmp_path / 'other.db'}"
    direct = connect(other)
    metadata.create_all(direct)
    assert picture(engine) == picture(direct)
    engine.dispose()
    direct.dispose()


def test_room_in_pages(postgres) -> None:
    """On PostgreSQL moving a cursor writes no index entries: its table leaves room for it, migrated or made anew."""
    engine, direct = connect(postgres.create()), connect(postgres.create())
    upgrade(engine)
    metadata.create_all(direct)
    for one in (engine, direct):
        with one.connect() as connection:
            found = connection.scalar(text("SELECT reloptions FROM pg_class WHERE relname = 'subscriptions'"))
            assert found == ["fillfactor=50"]
        one.dispose()


def test_constraints_are_there(empty_url: str) -> None:
    """The indexes that promises 2 and 3 rest on are in the migrated database, and in force."""
    engine = connect(empty_url)
    upgrade(engine)
    with engine.connect() as connection:
        table = "sqlite_master" if engine.dialect.name == "sqlite" else "pg_indexes"
        column = "sql" if engine.dialect.name == "sqlite" else "indexdef"
        found = " ".join(s for s in connection.scalars(text(f"SELECT {column} FROM {table}")) if s)
    assert "uq_deliveries_open" in found
    assert "WHERE" in found
    engine.dispose()


def test_editions_survive_packing(empty_url: str) -> None:
    """Revision 0002 keeps every edition with its ids, and the deliveries that point at them."""
    engine = connect(empty_url)
    with at_revision(engine, "0001") as connection:
        for statement in OLD_ROWS:
            connection.execute(text(statement))
        for number in range(1, 1201):
            values = {"id": number, "key": f"{number:064x}", "ids": f"[{number},{number + 5},3]"}
            connection.execute(
                text("INSERT INTO editions (id, run_id, key, language, item_ids) VALUES (:id, 1, :key, 'en', :ids)"),
                values,
            )
        connection.execute(text(OLD_DELIVERY))
    assert upgrade(engine)
    with engine.connect() as connection:
        found = connection.execute(select(editions).order_by(editions.c.id)).all()
        assert [(row.id, row.item_ids) for row in found] == [(n, [n, n + 5, 3]) for n in range(1, 1201)]
        assert len({row.key for row in found}) == 1200
        assert connection.scalar(select(deliveries.c.edition_id)) == 700
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET subscription_id = 99999"))
    engine.dispose()


def test_suppressions_mark_their_subscribers(empty_url: str) -> None:
    """Revision 0007 marks who is suppressed already, whose hashes go on working."""
    engine = connect(empty_url)
    with at_revision(engine, "0005") as connection:
        for number, key in enumerate(("ana@e.example", "josé@e.example", "ben@e.example"), 1):
            values = {"id": number, "key": key, "hash": address_hash(key)}
            connection.execute(
                text(
                    "INSERT INTO subscribers (id, email, email_key, language, timezone, created_at)"
                    " VALUES (:id, :key, :key, 'en', 'UTC', '2026-01-01 00:00:00')"
                ),
                values,
            )
            if number < 3:
                connection.execute(
                    text(
                        "INSERT INTO suppressions (address_hash, reason, at) VALUES (:hash, 'x', '2026-02-02 00:00:00')"
                    ),
                    values,
                )
    assert upgrade(engine)
    with engine.connect() as connection:
        marks = connection.scalars(select(subscribers.c.suppressed_at).order_by(subscribers.c.id)).all()
        assert marks == [datetime(2026, 2, 2, tzinfo=UTC)] * 2 + [None]
        keys = ("k" * 40,)
        assert set(suppressed(connection, keys, ["josé@e.example", "ben@e.example"])) == {"josé@e.example"}
    engine.dispose()


def test_addresses_that_were_folded(empty_url: str) -> None:
    """Revision 0012 compares addresses in small letters; whoever must not be mailed stays so, under the old form."""
    engine = connect(empty_url)
    found = {
        "straße@e.example": "strasse@e.example",
        "JOSÉ@e.example": "josé@e.example",
        "ana@e.example": "ana@e.example",
    }
    with at_revision(engine, "0011") as connection:
        for email, key in found.items():
            connection.execute(
                text(
                    "INSERT INTO subscribers (email, email_key, language, timezone, created_at)"
                    " VALUES (:email, :key, 'en', 'UTC', '2026-01-01 00:00:00')"
                ),
                {"email": email, "key": key},
            )
        suppress(connection, KEYS, "strasse@e.example", "x", datetime(2026, 2, 2, tzinfo=UTC))
    assert upgrade(engine)
    with engine.connect() as connection:
        keys = {row.email: row.email_key for row in connection.execute(select(subscribers))}
        assert keys == {email: email.lower() for email in found}
        assert set(suppressed(connection, KEYS, list(keys.values()))) == {"straße@e.example"}
        assert set(suppressed(connection, KEYS, ["strasse@e.example"])) == {"strasse@e.example"}
    engine.dispose()


def test_notices_survive(empty_url: str) -> None:
    """Revision 0010 keeps every notice, takes some to nobody's account, and gives no number out twice."""
    engine = connect(empty_url)
    with at_revision(engine, "0009") as connection:
        for statement in OLD_ROWS:
            connection.execute(text(statement))
        old = (
            "INSERT INTO notices (kind, subscriber_id, list_id, data, asked_at, due_at)"
            " VALUES (:kind, 1, 1, '{\"a\": 1}', '2026-01-01 00:00:00', '2026-01-02 00:00:00')"
        )
        connection.execute(text(old.replace(":kind", "'confirm'")))
        connection.execute(text(old.replace(":kind", "'known'")))
    assert upgrade(engine)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    report = {"kind": "run_done", "list_id": 1, "email": "a@e.example", "asked_at": now}
    for number in (3, 4):
        with engine.begin() as connection:
            found = connection.execute(select(notices).order_by(notices.c.id)).all()
            assert [(row.id, row.kind, row.subscriber_id, row.data) for row in found] == [
                (1, "confirm", 1, {"a": 1}),
                (2, "known", 1, {"a": 1}),
            ]
            assert connection.scalar(insert(notices).values(report).returning(notices.c.id)) == number
            connection.execute(delete(notices).where(notices.c.id == number))
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(insert(notices).values({**report, "subscriber_id": 99}))
    engine.dispose()


def test_deliveries_survive(empty_url: str) -> None:
    """Revision 0011 keeps every delivery as it was, and what promises 2 and 3 rest on."""
    engine = connect(empty_url)
    with at_revision(engine, "0010") as connection:
        for statement in OLD_ROWS:
            connection.execute(text(statement))
        connection.execute(insert(editions).values(id=700, run_id=1, key=b"k", language="en", item_ids=[1, 2]))
        connection.execute(text(OLD_DELIVERY))
        values = {"state": "deferred", "claim": "a" * 32, "attempts": 2, "doubtful": True, "code": 451, "relay": "main"}
        connection.execute(update(deliveries).values(values))
        before = connection.execute(select(deliveries)).all()
    assert upgrade(engine)
    row = before[0]._asdict()
    with engine.begin() as connection:
        assert connection.execute(select(deliveries)).all() == before
    for twice in ({"state": "sent"}, {"run_id": 2}):
        with pytest.raises(IntegrityError), engine.begin() as connection:
            connection.execute(insert(deliveries).values({**row, "id": 2, **twice}))
    with engine.begin() as connection:
        connection.execute(insert(deliveries).values({**row, "id": 2, "run_id": 2, "state": "sent"}))
    engine.dispose()


def test_numbers_are_given_once(empty_url: str) -> None:
    """A number that a token may name is not given out again when its row is gone; what was there before stays."""
    engine = connect(empty_url)
    with at_revision(engine, "0005") as connection:
        for statement in OLD_ROWS:
            connection.execute(text(statement))
        if engine.dialect.name == "postgresql":
            for table in ("subscribers", "subscriptions"):
                connection.execute(text(f"SELECT setval('{table}_id_seq', 1)"))
    assert upgrade(engine)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    person = {"email": "x@e.example", "language": "en", "timezone": "UTC", "created_at": now}
    held = {"list_id": 1, "profile_id": 1, "state": "pending", "frequency": "daily", "hour": 8, "weekday": 0}
    held |= {"start": 0, "cursor": 0, "created_at": now}
    change = {"email": "y@e.example", "email_key": "y@e.example", "asked_at": now}
    for number in (2, 3):
        with engine.begin() as connection:
            assert connection.scalars(select(subscribers.c.email)).all() == ["r@e.example"]
            made = insert(subscribers).values({**person, "email_key": str(number)}).returning(subscribers.c.id)
            assert connection.scalar(made) == number
            for table, values in ((subscriptions, held), (address_changes, change)):
                made = insert(table).values({**values, "subscriber_id": number}).returning(table.c.id)
                assert connection.scalar(made) == number - (table is address_changes)
                connection.execute(delete(table).where(table.c.subscriber_id == number))
            connection.execute(delete(subscribers).where(subscribers.c.id == number))
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(delete(subscribers))
    engine.dispose()


OLD_ROWS = (
    "INSERT INTO lists (id, slug, name, sender_name, sender_email, postal_address, languages, frequency, hour, weekday,"
    " timezone, max_items, created_at) VALUES (1, 'a', 'A', 'A', 'a@e.example', '1 St', '[\"en\"]', 'daily', 8, 0,"
    " 'UTC', 30, '2026-01-01 00:00:00')",
    "INSERT INTO profiles (id, key, countries, regions, themes, languages) VALUES (1, 'k', '[]', '[]', '[]', '[]')",
    "INSERT INTO subscribers (id, email, email_key, language, timezone, created_at)"
    " VALUES (1, 'r@e.example', 'r@e.example', 'en', 'UTC', '2026-01-01 00:00:00')",
    "INSERT INTO subscriptions (id, list_id, subscriber_id, profile_id, state, frequency, hour, weekday, start, cursor,"
    " created_at) VALUES (1, 1, 1, 1, 'active', 'daily', 8, 0, 0, 0, '2026-01-01 00:00:00')",
    "INSERT INTO runs (id, list_id, slot, upper, state, started_by, opened_at)"
    " VALUES (1, 1, '2026-01-01 00:00:00', 9, 'sending', 'beat', '2026-01-01 00:00:00')",
)
OLD_DELIVERY = (
    "INSERT INTO deliveries (id, run_id, subscription_id, profile_id, edition_id, lower, state, due_at, deadline)"
    " VALUES (1, 1, 1, 1, 700, 0, 'sent', '2026-01-01 00:00:00', '2026-01-02 00:00:00')"
)


def test_confirmations_to_come_survive(empty_url: str) -> None:
    """Revision 0007 makes notices of the confirmation mails that have not gone out, and of no others."""
    engine = connect(empty_url)
    with at_revision(engine, "0005") as connection:
        for statement in OLD_ROWS:
            connection.execute(text(statement))
        for number, state, due in (
            (2, "pending", "'2026-01-02 00:00:00'"),
            (3, "pending", "NULL"),
            (4, "active", "NULL"),
        ):
            connection.execute(
                text(
                    "INSERT INTO subscribers (id, email, email_key, language, timezone, created_at)"
                    f" VALUES ({number}, 'r{number}', 'r{number}', 'en', 'UTC', '2026-01-01 00:00:00')"
                )
            )
            connection.execute(
                text(
                    "INSERT INTO subscriptions (id, list_id, subscriber_id, profile_id, state, frequency, hour,"
                    " weekday, start, cursor, created_at, confirm_due_at)"
                    f" VALUES ({number}, 1, {number}, 1, '{state}', 'daily', 8, 0, 0, 0, '2026-01-01 00:00:00', {due})"
                )
            )
        connection.execute(
            text(
                "INSERT INTO consents (subscriber_id, list_id, at, event, source)"
                " VALUES (2, 1, '2026-01-01 12:00:00', 'asked', 'test')"
            )
        )
    assert upgrade(engine)
    with engine.connect() as connection:
        (row,) = connection.execute(select(notices)).all()
    assert (row.kind, row.subscriber_id, row.list_id, row.data) == ("confirm", 2, 1, {})
    assert (row.asked_at, row.due_at) == (datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    engine.dispose()


def test_two_at_once(empty_url: str) -> None:
    """Two `init` at the same moment make one database."""
    engines = [connect(empty_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(upgrade, engines)) == [False, False, False, True]
    for engine in engines:
        engine.dispose()


def test_refuses_what_is_not_current(empty_url: str) -> None:
    """An empty database and one of another version are refused with what to do."""
    engine = connect(empty_url)
    with pytest.raises(StateError, match="Run `newsletter init`"):
        require_current(engine)
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999_from_the_future'"))
    with pytest.raises(StateError, match=f"this version needs {latest()}"):
        require_current(engine)
    engine.dispose()


def test_a_database_of_a_newer_version(newsletter: CommandLine) -> None:
    """A newer database is refused by `init` too, and nobody is sent round in a circle."""
    engine = connect(f"sqlite:///{newsletter.home / 'newsletter.db'}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999_from_the_future'"))
    engine.dispose()
    for words in (("init",), ("lists", "list")):
        shown = newsletter(*words, code=1).err
        assert "9999_from_the_future" in shown
        assert "newer version" in shown
        assert "newsletter init" not in shown


@pytest.mark.parametrize(
    "url",
    [
        *("nonsense", "mysql://h/d", "oracle://h/d", "sqlite//x", "://", "postgresqll://x/y"),
        *(
            "postgresql://a:b@host:port/x",
            "postgresql+asyncpg://x/y",
            "sqlite+aiosqlite://",
            "postgresql+psycopg2://h/d",
        ),
    ],
)
def test_other_databases(url: str) -> None:
    """What is neither SQLite nor PostgreSQL is refused with an example."""
    with pytest.raises(SettingsError, match="It looks like sqlite"):
        connect(url)


def test_unreachable() -> None:
    """A server that is not there gets a sentence, without the password."""
    engine = connect("postgresql://user:secret-word@127.0.0.1:1/none")
    with pytest.raises(StateError, match="Check NEWSLETTER_DATABASE_URL, and whether its server runs") as caught:
        require_current(engine)
    assert "secret-word" not in str(caught.value)
