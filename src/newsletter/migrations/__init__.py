"""The database's history: from nothing, or from any released state, up to the tables of today."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from newsletter.database import is_absent, reading, unusable
from newsletter.errors import StateError

# PostgreSQL: two `init` at once must not create the same tables.
LOCK = 7_261_947


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    # "%" is special to the ini format that Alembic keeps its options in.
    config.set_main_option("path_separator", "os")
    return config


@cache
def latest() -> str:
    """The newest revision there is."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def revision_of(connection: Connection) -> str:
    """The revision that a database is at; empty if it has none."""
    return MigrationContext.configure(connection).get_current_revision() or ""


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
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if current and current not in known:
        raise StateError(
            f"The database is at revision {current}, this version needs {latest()}.",
            "The database was brought up to date by a newer version of Newsletter: install that one.",
        )
