"""``newsletter lists``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from newsletter.audience.brand import ENOUGH, clear_brand, least_contrast, set_brand
from newsletter.audience.lists import all_lists, archive_list, create_list, edit_list, find_list
from newsletter.audience.schedule import WEEKDAYS, parse_frequency, parse_hour, parse_timezone, parse_weekday
from newsletter.cli.output import confirmed, facts, misused, print_json, say, table
from newsletter.cli.shared import Frequency, Hour, Json, Timezone, Weekday, Yes, now, opened
from newsletter.database import reading
from newsletter.given import readable
from newsletter.languages import check_languages

app = typer.Typer(name="lists", help="The newsletters that people subscribe to.", no_args_is_help=True)

Name = Annotated[str | None, typer.Option("--name", help="What readers see.")]
Description = Annotated[str | None, typer.Option("--description", help="A sentence on what it brings.")]
SenderName = Annotated[str | None, typer.Option("--sender-name", help="The From name.")]
SenderEmail = Annotated[str | None, typer.Option("--sender-email", help="The From address.")]
Postal = Annotated[
    str | None, typer.Option("--postal-address", help="Stands in every mail, as the law asks (CAN-SPAM).")
]
Languages = Annotated[
    list[str] | None,
    typer.Option("--language", metavar="CODE", help="en, es, fr or ar; the first is the default. Repeatable."),
]
Approval = Annotated[
    bool | None, typer.Option("--approval/--no-approval", help="Hold each run until an admin approves it.")
]
Public = Annotated[
    bool | None, typer.Option("--public/--no-public", help="Whether its subscribe page, archive and feed are there.")
]
Welcomes = Annotated[
    bool | None, typer.Option("--welcome-digest/--no-welcome-digest", help="Welcome with the latest digest.")
]
MaxItems = Annotated[int | None, typer.Option("--max-items", help="Cards in one digest; the rest is named.")]
Style = Annotated[
    str | None, typer.Option("--style", help="Of its digests: full, or compact for who skims (no summaries).")
]
Sections = Annotated[
    str | None, typer.Option("--sections", help="What headings of its digests name: country or theme.")
]

ReportsTo = Annotated[
    list[str] | None,
    typer.Option(
        "--reports-to", metavar="ADDRESS", help="Gets a mail when a run waits for approval or is done. Repeatable."
    ),
]

Slug = Annotated[str, typer.Argument(metavar="LIST", help="Its slug.")]

HIDDEN = ("id", "last_position", "logo", "logo_dark")


def _values(**given: Any) -> dict[str, Any]:
    readers: dict[str, Callable[[Any], Any]] = {
        "frequency": parse_frequency,
        "hour": parse_hour,
        "weekday": parse_weekday,
        "timezone": parse_timezone,
        "languages": check_languages,
    }
    return {
        name: readers[name](value) if name in readers else value
        for name, value in given.items()
        if value is not None and value != []
    }


@app.command()
def create(
    slug: Annotated[
        str, typer.Argument(metavar="LIST", help="Short name for commands and the List-Id: migration-news.")
    ],
    name: Annotated[str, typer.Option("--name", help="What readers see.")],
    sender_email: Annotated[str, typer.Option("--sender-email", help="The From address.")],
    postal_address: Annotated[str, typer.Option("--postal-address", help="Stands in every mail.")],
    sender_name: Annotated[
        str | None, typer.Option("--sender-name", help="The From name. Default: the list's name.")
    ] = None,
    description: Description = None,
    languages: Languages = None,
    frequency: Frequency = None,
    hour: Hour = None,
    weekday: Weekday = None,
    timezone: Timezone = None,
    approval: Approval = None,
    max_items: MaxItems = None,
    style: Style = None,
    sections: Sections = None,
    public: Public = None,
    welcomes: Welcomes = None,
    reports_to: ReportsTo = None,
) -> None:
    """Create a list. The schedule is what new subscriptions begin with: daily at 8 in UTC if you say nothing.

    Example: `newsletter lists create rutas --name Rutas --sender-email digest@rutas.example
    --postal-address '24 Calle Segunda, Guatemala' --language es --language en --timezone America/Guatemala`
    """
    house = opened()
    values = {
        "sender_name": name,
        "languages": ["en"],
        "frequency": "daily",
        "hour": 8,
        "weekday": 0,
        "timezone": "UTC",
        "max_items": 30,
    } | _values(
        slug=slug,
        name=name,
        sender_email=sender_email,
        sender_name=sender_name,
        postal_address=postal_address,
        description=description,
        languages=languages,
        frequency=frequency,
        hour=hour,
        weekday=weekday,
        timezone=timezone,
        needs_approval=approval,
        max_items=max_items,
        style=style,
        sections=sections,
        is_public=public,
        welcomes=welcomes,
        reports_to=reports_to,
    )
    with house.engine.begin() as connection:
        create_list(connection, values, now())
    say(f"List [bold]{slug}[/] created.")


@app.command("list")
def show_all(as_json: Json = False) -> None:
    """All lists, with their numbers of readers and items.

    Example: `newsletter lists list --json`
    """
    house = opened()
    with reading(house.engine) as connection:
        rows = all_lists(connection)
    if as_json:
        print_json([_facts(row) | {"readers": row.readers, "items": row.stories} for row in rows])
        return
    table(
        ("list", "name", "readers", "items", "from", "state"),
        ((r.slug, r.name, r.readers, r.stories, r.sender_email, "archived" if r.archived_at else "open") for r in rows),
        "There is no list yet: see `newsletter lists create --help`.",
        right=(2, 3),
    )


def _facts(row: Any) -> dict[str, Any]:
    found = {name: value for name, value in row._mapping.items() if name not in (*HIDDEN, "readers", "stories")}
    return found | {"weekday": WEEKDAYS[row.weekday]}


@app.command()
def show(slug: Slug, as_json: Json = False) -> None:
    """One list with its settings.

    Example: `newsletter lists show rutas`
    """
    house = opened()
    with reading(house.engine) as connection:
        row = find_list(connection, slug)
    if as_json:
        print_json(_facts(row))
    else:
        facts((name.replace("_", " "), value) for name, value in _facts(row).items())


@app.command()
def edit(
    slug: Slug,
    name: Name = None,
    sender_name: SenderName = None,
    sender_email: SenderEmail = None,
    postal_address: Postal = None,
    description: Description = None,
    languages: Languages = None,
    frequency: Frequency = None,
    hour: Hour = None,
    weekday: Weekday = None,
    timezone: Timezone = None,
    approval: Approval = None,
    max_items: MaxItems = None,
    style: Style = None,
    sections: Sections = None,
    public: Public = None,
    welcomes: Welcomes = None,
    reports_to: ReportsTo = None,
) -> None:
    """Change settings of a list; what is not named stays. Subscriptions there are keep their schedule.

    `--reports-to ''` ends the reports on runs.

    Example: `newsletter lists edit rutas --approval --style compact --reports-to ana@example.org`
    """
    values = _values(
        name=name,
        sender_name=sender_name,
        sender_email=sender_email,
        postal_address=postal_address,
        description=description,
        languages=languages,
        frequency=frequency,
        hour=hour,
        weekday=weekday,
        timezone=timezone,
        needs_approval=approval,
        max_items=max_items,
        style=style,
        sections=sections,
        is_public=public,
        welcomes=welcomes,
        reports_to=reports_to,
    )
    if not values:
        raise misused("lists edit")
    house = opened()
    with house.engine.begin() as connection:
        edit_list(connection, slug, values)
    say(f"List [bold]{escape(slug)}[/] changed.")


@app.command()
def archive(
    slug: Slug,
    undo: Annotated[bool, typer.Option("--undo", help="Open it again.")] = False,
    yes: Yes = False,
) -> None:
    """Stop a list: no run, no mail. Nothing is deleted; `--undo` opens it again.

    Example: `newsletter lists archive rutas`
    """
    house = opened()
    with reading(house.engine) as connection:
        find_list(connection, slug)
    if not undo:
        confirmed(f"Stop all digests of {slug}?", yes)
    with house.engine.begin() as connection:
        archive_list(connection, slug, None if undo else now())
    say(f"List [bold]{escape(slug)}[/] {'opened again' if undo else 'archived'}.")


@app.command()
def brand(
    slug: Slug,
    accent: Annotated[
        str | None, typer.Option("--accent", metavar="COLOUR", help="Of links and buttons: #0b6e6e.")
    ] = None,
    accent_dark: Annotated[
        str | None,
        typer.Option("--accent-dark", metavar="COLOUR", help="The same on dark pages. Default: a lighter --accent."),
    ] = None,
    logo: Annotated[
        Path | None,
        typer.Option("--logo", metavar="FILE", help="PNG, JPEG or WebP, 112 pixels high; - is standard input."),
    ] = None,
    logo_dark: Annotated[
        Path | None, typer.Option("--logo-dark", metavar="FILE", help="Stands where it is dark: dark mode, a band.")
    ] = None,
    header: Annotated[
        str | None,
        typer.Option("--header", metavar="plain|band", help="Name or logo on paper, or on a band in the accent."),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take all of it away again.")] = False,
) -> None:
    """Give a list's pages and mails its own colour, logo and header. A colour that is too faint to read is refused.

    Example: `newsletter lists brand rutas --accent '#0b6e6e' --logo logo.png --logo-dark white.png --header band`
    """
    named = [accent, accent_dark, logo, logo_dark, header]
    if clear == any(value is not None for value in named):
        raise misused("lists brand", "Name a colour, a logo or a header, or --clear.")
    house = opened()
    with house.engine.begin() as connection:
        if clear:
            clear_brand(connection, slug)
            say(f"List [bold]{escape(slug)}[/] looks as shipped again.")
            return
        colours = set_brand(
            connection,
            slug,
            accent=accent,
            accent_dark=accent_dark,
            logo=_read_logo(logo) if logo else None,
            logo_dark=_read_logo(logo_dark) if logo_dark else None,
            header=header,
        )
        row = find_list(connection, slug)
    for name, colour in colours.items():
        ratio = least_contrast(name, colour)
        say(f"{name.replace('_', ' ')} {colour}: contrast {ratio:.1f} to 1, where {ENOUGH} is needed.")
    say(f"List [bold]{escape(slug)}[/] has its look{' and its logo' if logo else ''}.")
    if row.header == "band" and row.logo and not row.logo_dark:
        say("Its logo stands on the accent now. If it is dark itself, give one for dark pages: --logo-dark.")


def _read_logo(file: Path) -> bytes:
    with readable(file) as source:
        return source.read_bytes()
