"""What several commands need: the opened database, the list meant, common options."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from sqlalchemy import Connection, Engine

from newsletter.audience.lists import all_lists, find_list, open_list
from newsletter.audience.picks import Picks, parse_picks
from newsletter.catalogue.geography import find_place
from newsletter.catalogue.themes import all_themes, find_theme
from newsletter.database import engine_for
from newsletter.errors import InputError
from newsletter.migrations import require_current
from newsletter.settings import Settings, load_settings

BIGGEST = 2**63 - 1
"""What the number of a row can be at most, in either database."""
SHOWN = 50
"""Rows of a table, if nobody says how many."""

WHY_NOTHING = {
    "nothing-fits": "nothing new fits",
    "nothing-new": "nothing new",
    "open-delivery": "a digest is still on its way",
}
"""What a run made of a reader without a digest (``digests.shards.Outcome``), in words."""


def row_number(text: str) -> int:
    """A number from 1 to the biggest: of a row, or how many of them."""
    if text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= BIGGEST:
        return int(text)
    raise typer.BadParameter(f"{text!r} is not a number from 1 up.")


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", metavar="N", parser=row_number, help=f"How many at most. Default: {SHOWN}; with --json, all."
    ),
]
OfRun = Annotated[int | None, typer.Option("--run", metavar="RUN", parser=row_number, help="Of one run.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ListSlug = Annotated[
    str | None,
    typer.Option("--list", "-l", metavar="SLUG", help="The list. Not needed if there is only one."),
]
OfList = Annotated[str | None, typer.Option("--list", "-l", metavar="SLUG", help="Of this list. Default: every list.")]
Countries = Annotated[
    list[str] | None,
    typer.Option("--country", "-c", metavar="PLACE", help="A country, as code or name: GT, Guatemala. Repeatable."),
]
Regions = Annotated[
    list[str] | None,
    typer.Option("--region", "-r", metavar="PLACE", help="A region: 013, 'Central America'. Repeatable."),
]
ThemeNames = Annotated[
    list[str] | None,
    typer.Option("--theme", "-t", metavar="THEME", help="A theme of the list, as slug or name. Repeatable."),
]
ItemLanguages = Annotated[
    list[str] | None,
    typer.Option("--item-language", metavar="CODE", help="Only items in this language. Repeatable."),
]
Frequency = Annotated[str | None, typer.Option("--frequency", help="immediate, daily, weekly or monthly (on the 1st).")]
Hour = Annotated[str | None, typer.Option("--hour", help="Local hour, 0 to 23.")]
Weekday = Annotated[str | None, typer.Option("--weekday", help="For weekly: mon … sun.")]
Timezone = Annotated[str | None, typer.Option("--timezone", help="IANA zone: America/Guatemala.")]


@dataclass(frozen=True)
class House:
    """The configuration and the database that it names."""

    settings: Settings
    engine: Engine


def opened() -> House:
    """The house, its database checked.

    Raises:
        StateError: the database is missing or not up to date.
        SettingsError: a setting is not usable.
    """
    settings = load_settings()
    engine = engine_for(settings.database)
    require_current(engine)
    return House(settings, engine)


def to_ask_for(limit: int | None, *, as_json: bool) -> int:
    """How many rows to ask for: all for scripts; for people one more than ``table`` shows, so that it can say so."""
    if as_json:
        return limit or BIGGEST
    return min((limit or SHOWN) + 1, BIGGEST)


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


def chosen_list(connection: Connection, slug: str | None, *, archived: bool = True) -> Any:
    """The list that a command is about; the only one, if none is named.

    Raises:
        InputError: none was named and there are none or several.
    """
    if slug is None:
        rows = all_lists(connection)
        known = [row.slug for row in rows if row.archived_at is None]
        if not rows:
            raise InputError("There is no list yet.", "See `newsletter lists create --help`.")
        if not known:
            raise InputError(
                "Every list is archived.",
                f"Name one with --list: {', '.join(row.slug for row in rows[:8])}; "
                "`newsletter lists archive LIST --undo` opens it again.",
            )
        if len(known) > 1:
            raise InputError("Which list?", f"Name it with --list: {', '.join(known[:8])}.")
        slug = known[0]
    return find_list(connection, slug) if archived else open_list(connection, slug)


def read_picks(
    connection: Connection,
    list_id: int,
    countries: list[str] | None,
    regions: list[str] | None,
    themes: list[str] | None,
    languages: list[str] | None,
) -> Picks:
    """Picks from options.

    Raises:
        UnknownName: a place or theme that there is none of.
    """
    vocabulary = all_themes(connection, list_id)
    return parse_picks(
        countries or (),
        regions or (),
        themes or (),
        languages or (),
        find_place,
        lambda text: find_theme(vocabulary, text),
    )
