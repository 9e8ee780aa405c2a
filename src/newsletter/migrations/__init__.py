"""The database's history: from nothing, or from any released state, up to the tables of today."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, column, inspect, select, table
from sqlalchemy.exc import DBAPIError

from newsletter.database import is_absent, reading, unusable
from newsletter.errors import StateError

if TYPE_CHECKING:
    from alembic.config import Config

# PostgreSQL: two `init` at once must not create the same tables.
LOCK = 7_261_947
HERE = Path(__file__).parent
VERSION = table("alembic_version", column("version_num"))


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(HERE))
    # "%" is special to the ini format that Alembic keeps its options in.
    config.set_main_option("path_separator", "os")
    return config


# Every command asks which revision a database is at: Alembic, a sixth of the time they take to start, is not needed.
@cache
def revisions() -> list[str]:
    """All revisions, the newest last: what the names of their files begin with."""
    return sorted(file.name.partition("_")[0] for file in (HERE / "versions").glob("[0-9]*.py"))


def latest() -> str:
    """The newest revision there is."""
    return revisions()[-1]


def revision_of(connection: Connection) -> str:
    """The revision that a database is at; empty if it has none."""
    if not inspect(connection).has_table(VERSION.name):
        return ""
    return connection.scalar(select(VERSION.c.version_num)) or ""


def upgrade(engine: Engine) -> bool:
    """Bring the database up to date; whether anything had to be done.

    Raises:
        StateError: the database cannot be reached, or is of a newer version.
    """
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            current = revision_of(connection)
            if current == latest():
                return False
            _refuse_newer(current)
            from alembic import command

            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        raise unusable(engine.url, error) from None
    return True


def require_current(engine: Engine) -> None:
    """Refuse to work on a database that is not up to date.

    Raises:
        StateError: it is missing, cannot be reached, older or newer than this version.
    """
    current = ""
    try:
        if not is_absent(engine):
            with reading(engine) as connection:
                current = revision_of(connection)
    except DBAPIError as error:
        raise unusable(engine.url, error) from None
    if not current:
        raise StateError("There is no database yet.", "Run `newsletter init`.")
    if current != latest():
        _refuse_newer(current)
        raise StateError(
            f"The database is at revision {current}, this version needs {latest()}.",
            "Run `newsletter init`; it migrates and keeps everything.",
        )


def _refuse_newer(current: str) -> None:
    if current and current not in revisions():
        raise StateError(
            f"The database is at revision {current}, this version needs {latest()}.",
            "The database was brought up to date by a newer version of Newsletter: install that one.",
        )
