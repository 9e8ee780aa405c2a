"""``newsletter init``."""

from __future__ import annotations

from rich.markup import escape

from newsletter.cli.output import print_json, say
from newsletter.cli.shared import Json
from newsletter.database import connect
from newsletter.migrations import latest, upgrade
from newsletter.settings import load_settings


def init(as_json: Json = False) -> None:
    """Create what is missing: state folder, database, secret key. Run it again after each update.

    Example: `newsletter init && newsletter lists create --help`
    """
    settings = load_settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    engine = connect(settings.database)
    migrated = upgrade(engine)
    made = settings.make_key()
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
    say("  newsletter lists create news --name News --sender-email news@example.org --postal-address '1 Main St'")
    say("  newsletter themes add protection --name en=Protection")
    say("  newsletter items import FILE")
    say("  newsletter subscribers add ana@example.org --country Guatemala --confirmed --from-start")
    say("  newsletter up")
