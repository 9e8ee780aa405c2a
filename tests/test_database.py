"""The way to the database."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, insert
from sqlalchemy.exc import DBAPIError

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
