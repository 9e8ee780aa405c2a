"""``newsletter init``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from sqlalchemy import Engine, exists, select

from newsletter.audience.suppressions import counts_by_lost_key
from newsletter.cli.output import print_json, say
from newsletter.cli.shared import Json
from newsletter.database import connect, reading
from newsletter.errors import StateError
from newsletter.migrations import latest, upgrade
from newsletter.settings import Settings, load_settings
from newsletter.tables import subscriptions

NEXT = (
    "newsletter lists create news --name News --sender-email news@example.org --postal-address '1 Main St'",
    "newsletter themes add protection --name en=Protection",
    "newsletter items import FILE",
    "newsletter subscribers add ana@example.org --country Guatemala --confirmed --from-start",
)
"""Commands that make a list of one's own, in their order."""


def make_key(settings: Settings, engine: Engine) -> bool:
    """Make the secret key, if there is none; whether it was made.

    Raises:
        StateError: there is none, and the database was used with one.
        SettingsError: the key file holds something else.
    """
    if settings.has_key:
        return False
    with reading(engine) as connection:
        lost = counts_by_lost_key(connection, ())
        if lost or connection.scalar(select(exists(select(subscriptions.c.id)))):
            named = f" (fingerprint {', '.join(lost)})" if lost else ""
            raise StateError(
                f"There is no secret key in {settings.key_file}, and this database was used with one{named}.",
                "Put the copy of it back, or set NEWSLETTER_SECRET_KEY. If it is lost: `newsletter init --new-key`; "
                "links in mails sent so far open nothing then, and who is suppressed under the lost key may be "
                "mailed again.",
            )
    return settings.make_key()


def init(
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Make a secret key, though the one that was used is lost.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Create what is missing: state folder, database, secret key. Run it again after each update.

    A database that was used with another secret key is refused: links in mails depend on it, and suppressions.

    Example: `newsletter init && newsletter lists create --help`
    """
    settings = load_settings()
    settings.make_home()
    engine = connect(settings.database)
    migrated = upgrade(engine)
    made = settings.make_key() if new_key else make_key(settings, engine)
    where = engine.url.render_as_string(hide_password=True)
    engine.dispose()
    if as_json:
        print_json({"home": str(settings.home), "database": where, "migrated": migrated, "key_made": made})
        return
    done = f"brought to revision {latest()}" if migrated else "up to date already"
    say(f"State folder  {escape(str(settings.home.absolute()))}")
    say(f"Database      {escape(where)}, {done}")
    say(f"Secret key    {'made: keep a copy of it, links in mails depend on it' if made else 'there already'}")
    say("")
    say("Next:")
    # Where Redis is of its own, as with compose, so are worker, beat and site.
    for command in NEXT if settings.redis_url else (*NEXT, "newsletter up"):
        say(escape(command), indent=2, to_copy=True)
