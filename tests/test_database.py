"""The way to the database."""

from __future__ import annotations

import pytest
from commanding import CommandLine
from sqlalchemy import Engine, insert
from sqlalchemy.exc import DBAPIError

from newsletter.database import engine_for
from newsletter.settings import load_settings
from newsletter.tables import subscribers


def test_errors_name_nobody(engine: Engine) -> None:
    """What a statement was given does not stand in its error, which may come into a log."""
    values = {"email": "ana.secret@example.org", "email_key": "k", "name": "x" * 9, "language": "en", "timezone": "UTC"}
    with pytest.raises(DBAPIError) as caught, engine.begin() as connection:
        connection.execute(insert(subscribers).values(**values, created_at=None))
    assert "INSERT INTO subscribers" in str(caught.value)
    assert "ana.secret" not in str(caught.value.statement) + str(caught.value).partition("DETAIL")[0]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_machine_that_vanishes(engine: Engine) -> None:
    """A connection to PostgreSQL is watched: what is not acknowledged for a minute ends it."""
    with engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        given = raw.info.get_parameters()
    assert given["tcp_user_timeout"] == "60000"
    assert int(given["keepalives_idle"]) + int(given["keepalives_interval"]) * int(given["keepalives_count"]) <= 60


@pytest.mark.parametrize(
    ("fault", "reason", "mend"),
    [
        ("other", "file is not a database", "put a back-up in its place"),
        ("damaged", "malformed", "put a back-up in its place"),
        ("folder", "unable to open", "a file that this user may write"),
        ("read-only", "readonly", "a file that this user may write"),
    ],
)
def test_files_that_cannot_be_used(
    newsletter: CommandLine, fault: str, reason: str, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a SQLite file that cannot be used the name is said, and what to do about it."""
    file = newsletter.home / "newsletter.db"
    engine_for(load_settings().database).dispose()
    engine_for.cache_clear()
    if fault == "read-only":
        monkeypatch.setenv("NEWSLETTER_DATABASE_URL", f"sqlite:///file:{file}?mode=ro&uri=true")
    elif fault == "folder":
        file.unlink()
        file.mkdir()
    elif fault == "other":
        file.write_bytes(b"x" * 10_000)
    else:
        content = file.read_bytes()
        file.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    create = ("lists", "create", "n", "--name", "N", "--sender-email", "n@e.example", "--postal-address", "1 St")
    for words in (create, ("init",))[: 1 if fault == "read-only" else 2]:
        refused = newsletter(*words, code=1).err
        assert f"The database {'file:' if fault == 'read-only' else ''}{file} cannot be used" in refused
        assert reason in refused.splitlines()[0]
        assert mend in refused.splitlines()[1]
