"""``newsletter subscribers``: one reader at a time; importing is in ``importing``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from sqlalchemy import Connection

from newsletter.audience import subscribers as audience
from newsletter.audience.addresses import parse_address
from newsletter.audience.consents import Proof, check_source, consent_hash
from newsletter.audience.picks import KINDS, Picks
from newsletter.audience.schedule import (
    WEEKDAYS,
    Schedule,
    parse_frequency,
    parse_hour,
    parse_language,
    parse_timezone,
    parse_weekday,
)
from newsletter.cli.importing import import_
from newsletter.cli.output import misused, print_json_rows, say, table
from newsletter.cli.personal import STATES, Email, check_state, erase, export, reader_facts, show
from newsletter.cli.shared import (
    SHOWN,
    Countries,
    Frequency,
    Hour,
    House,
    ItemLanguages,
    Json,
    Limit,
    ListSlug,
    OfList,
    Regions,
    ThemeNames,
    Timezone,
    Weekday,
    chosen_list,
    now,
    opened,
    read_picks,
    to_ask_for,
)
from newsletter.database import reading
from newsletter.digests.calendar import next_due
from newsletter.digests.starting import backfill_cursor
from newsletter.errors import StateError

app = typer.Typer(name="subscribers", help="Who reads, what they pick, and when.", no_args_is_help=True)
app.command("import")(import_)
for command in (show, export, erase):
    app.command()(command)

PersonName = Annotated[str | None, typer.Option("--name", help="The reader's name, for the To header.")]
Language = Annotated[str | None, typer.Option("--language", help="Of the mails: en, es, fr, ar.")]
Source = Annotated[str, typer.Option("--source", help="Where consent was given, for the record.")]
COMMAND_LINE = "command line"


def _proof(house: House, row: Any) -> Proof:
    return Proof(consent_hash(house.settings.keys, row.email_key))


def schedule_from(base: Any, frequency: str | None, hour: str | None, weekday: str | None) -> Schedule:
    """A schedule: what is named, over that of ``base`` (a list or a subscription)."""
    return Schedule(
        base.frequency if frequency is None else parse_frequency(frequency),
        base.hour if hour is None else parse_hour(hour),
        base.weekday if weekday is None else parse_weekday(weekday),
    )


def _named_of_person(
    name: str | None, language: str | None, timezone: str | None, languages: Sequence[str]
) -> dict[str, str]:
    """What options say of the person; what they do not name is absent."""
    named = {} if name is None else {"name": audience.check_name(name)}
    if language:
        named["language"] = parse_language(language, languages)
    return named | ({"timezone": parse_timezone(timezone)} if timezone else {})


def _picks_over(row: Any, named: Picks, by_place: object, by_theme: object, by_language: object) -> Picks:
    """A reader's picks, with those kinds of them that are named in place of theirs."""
    kept = Picks(*(frozenset(getattr(row, kind)) for kind in KINDS))
    return Picks(
        named.countries if by_place else kept.countries,
        named.regions if by_place else kept.regions,
        named.themes if by_theme else kept.themes,
        named.languages if by_language else kept.languages,
    )


def _change(
    house: House,
    connection: Connection,
    row: Any,
    person: dict[str, str],
    picks: Picks,
    schedule: Schedule,
    source: str,
    moment: datetime,
) -> bool:
    return audience.edit(
        connection,
        row,
        person=person,
        picks=picks,
        schedule=schedule,
        next_due=next_due,
        source=source,
        now=moment,
        proof=_proof(house, row),
    )


@app.command()
def add(
    email: Email,
    slug: ListSlug = None,
    countries: Countries = None,
    regions: Regions = None,
    themes: ThemeNames = None,
    item_languages: ItemLanguages = None,
    frequency: Frequency = None,
    hour: Hour = None,
    weekday: Weekday = None,
    timezone: Timezone = None,
    name: PersonName = None,
    language: Language = None,
    is_confirmed: Annotated[
        bool, typer.Option("--confirmed", help="Consent was given: send no confirmation mail.")
    ] = False,
    backfill: Annotated[
        int, typer.Option("--backfill", metavar="N", min=0, max=200, help="A welcome digest of the latest N.")
    ] = 0,
    from_start: Annotated[bool, typer.Option("--from-start", help="A welcome digest of all there is.")] = False,
    source: Source = COMMAND_LINE,
) -> None:
    """Subscribe one address. No places picked means all; likewise themes.

    Without `--confirmed` the reader gets a mail and has to confirm; with it who was asked already is confirmed, and
    keeps what is not named. A welcome digest goes out at the next tick.
    Language and time zone are the reader's on every list: who reads another list already keeps theirs if none is named.

    Example: `newsletter subscribers add ana@example.org --country Guatemala --theme protection --confirmed`
    """
    if backfill and from_start:
        raise misused("subscribers add", "--backfill and --from-start exclude each other.")
    source = check_source(source)
    house, moment = opened(), now()
    with house.engine.begin() as connection:
        list_row = chosen_list(connection, slug, archived=False)
        picks = read_picks(connection, list_row.id, countries, regions, themes, item_languages)
        address = parse_address(email)
        named = _named_of_person(name, language, timezone, list_row.languages)
        person = audience.find_person(connection, address)
        if person is not None:
            audience.change_person(connection, person, named, next_due, moment)
        present = audience.standing(connection, list_row.id, address)
        is_asked = is_confirmed and present.state == "pending"
        if is_asked:
            picks = _picks_over(present, picks, countries or regions, themes, item_languages)
        schedule = schedule_from(present if is_asked else list_row, frequency, hour, weekday)
        zone = named.get("timezone") or (person or list_row).timezone
        due_at = None
        if is_confirmed:
            due_at = next_due(schedule.frequency, schedule.hour, schedule.weekday, zone, moment)
            due_at = moment if backfill or from_start else due_at
        cursor = 0 if from_start else backfill_cursor(connection, list_row.id, picks, backfill)
        if is_asked and due_at:
            _change(house, connection, present, {}, picks, schedule, source, moment)
            begin = cursor if backfill or from_start else None
            audience.confirm_for(connection, house.settings.keys, present, source, due_at, moment, cursor=begin)
        else:
            audience.subscribe(
                connection,
                list_row.id,
                address,
                picks,
                schedule,
                keys=house.settings.keys,
                name=named.get("name", ""),
                language=named.get("language") or list_row.languages[0],
                timezone=zone,
                cursor=cursor,
                due_at=due_at,
                source=source,
                now=moment,
            )
    if is_confirmed:
        say(f"{escape(email)} is subscribed to {list_row.slug}; first digest due {due_at:%Y-%m-%d %H:%M} UTC.")
    else:
        say(f"{escape(email)} will be asked to confirm at the next tick (--confirmed skips that).")


def picks_line(row: Any) -> str:
    """A reader's picks in codes; ``all`` if there are none."""
    return " ".join([*row.countries, *row.regions, *row.themes, *row.languages]) or "all"


@app.command("list")
def show_all(
    slug: OfList = None,
    state: Annotated[str | None, typer.Option("--state", help=", ".join(STATES))] = None,
    search: Annotated[str | None, typer.Option("--search", help="Part of address or name.")] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Readers by address.

    Example: `newsletter subscribers list --state pending --search example.org`
    """
    check_state(state)
    house = opened()
    with reading(house.engine) as connection:
        list_id = chosen_list(connection, slug).id if slug else None
        found = audience.select_subscriptions(connection, list_id, state, search, to_ask_for(limit, as_json=as_json))
        if as_json:
            print_json_rows(map(reader_facts, found))
            return
        rows = list(found)
    table(
        ("reader", "list", "state", "picks", "when", "next"),
        (
            (
                row.email,
                row.slug,
                row.state,
                picks_line(row),
                _when(row),
                row.due_at if row.state == "active" and row.frequency != "immediate" else None,
            )
            for row in rows
        ),
        "Nobody fits.",
        most=limit or SHOWN,
    )


def _when(row: Any) -> str:
    if row.frequency == "immediate":
        return "immediate"
    day = f" {WEEKDAYS[row.weekday]}" if row.frequency == "weekly" else ""
    return f"{row.frequency}{day} {row.hour}:00 {row.timezone}"


@app.command()
def edit(
    email: Email,
    slug: ListSlug = None,
    countries: Countries = None,
    regions: Regions = None,
    themes: ThemeNames = None,
    item_languages: ItemLanguages = None,
    all_places: Annotated[bool, typer.Option("--all-places", help="Follow every place.")] = False,
    all_themes: Annotated[bool, typer.Option("--all-themes", help="Follow every theme.")] = False,
    any_language: Annotated[bool, typer.Option("--any-language", help="Items in every language.")] = False,
    frequency: Frequency = None,
    hour: Hour = None,
    weekday: Weekday = None,
    timezone: Timezone = None,
    name: PersonName = None,
    language: Language = None,
    source: Source = COMMAND_LINE,
) -> None:
    """Change a reader's picks (places, themes and languages each as a whole) or schedule; the rest stays.

    Name, language and time zone are the reader's on every list.

    Example: `newsletter subscribers edit ana@example.org --country GT --country HN --frequency weekly`
    """
    for everything, some, option in (
        (all_places, countries or regions, "--all-places and --country or --region"),
        (all_themes, themes, "--all-themes and --theme"),
        (any_language, item_languages, "--any-language and --item-language"),
    ):
        if everything and some:
            raise misused("subscribers edit", f"{option} exclude each other.")
    by_place, by_theme = all_places or countries or regions, all_themes or themes
    by_language = any_language or item_languages
    if name is None and not any((by_place, by_theme, by_language, frequency, hour, weekday, timezone, language)):
        raise misused("subscribers edit")
    source = check_source(source)
    house, moment = opened(), now()
    with house.engine.begin() as connection:
        list_row = chosen_list(connection, slug)
        row = audience.find_subscription(connection, email, list_row.id)
        named = read_picks(connection, list_row.id, countries, regions, themes, item_languages)
        person = _named_of_person(name, language, timezone, list_row.languages)
        picks = _picks_over(row, named, by_place, by_theme, by_language)
        schedule = schedule_from(row, frequency, hour, weekday)
        changed = _change(house, connection, row, person, picks, schedule, source, moment)
        row = audience.find_subscription(connection, email, list_row.id)
    say(f"{escape(row.email)}: {escape(picks_line(row))}; {_when(row)}.{'' if changed else ' It was so before.'}")


@app.command()
def pause(
    email: Email,
    slug: ListSlug = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on.")] = False,
) -> None:
    """Send nothing until `--resume`; what is published meanwhile comes then.

    Example: `newsletter subscribers pause ana@example.org`
    """
    house, moment = opened(), now()
    with house.engine.begin() as connection:
        row = audience.find_subscription(connection, email, chosen_list(connection, slug).id)
        if resume:
            due_at = next_due(row.frequency, row.hour, row.weekday, row.timezone, moment)
            audience.resume(connection, row.id, due_at, moment, _proof(house, row))
        else:
            audience.pause(connection, row.id, moment, _proof(house, row))
        state = audience.find_subscription(connection, email, row.list_id).state
    wanted = "active" if resume else "paused"
    if state != wanted:
        raise StateError(f"{email} is {state}.")
    say(f"{escape(email)} is {state}.")


@app.command()
def unsubscribe(
    email: Email,
    slug: ListSlug = None,
    source: Annotated[str, typer.Option("--source", help="Where it was asked for, for the record.")] = COMMAND_LINE,
) -> None:
    """End a subscription; a digest that waits for it will not go out.

    Example: `newsletter subscribers unsubscribe ana@example.org --source 'asked by telephone'`
    """
    source = check_source(source)
    house = opened()
    with house.engine.begin() as connection:
        row = audience.find_subscription(connection, email, chosen_list(connection, slug).id)
        audience.unsubscribe(connection, row.id, source, now(), _proof(house, row))
    say(f"{escape(email)} is unsubscribed.")
