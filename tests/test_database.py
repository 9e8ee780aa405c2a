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
