"""``newsletter subscribers show``, ``export`` and ``erase``: what is kept of people, for them and about them."""

from __future__ import annotations

import csv
import io
import sys
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from newsletter.audience import subscribers as audience
from newsletter.audience.addresses import parse_address
from newsletter.audience.consents import as_shown, consent_history, was_given_for
from newsletter.audience.erasing import erase as erase_person
from newsletter.audience.exporting import person_data
from newsletter.audience.links import Keys
from newsletter.audience.picks import KINDS
from newsletter.audience.schedule import WEEKDAYS
from newsletter.catalogue.geography import place_name
from newsletter.cli.output import confirmed, facts, print_json, print_json_rows, say, table, worded
from newsletter.cli.shared import WHY_NOTHING, Json, ListSlug, OfList, Yes, chosen_list, now, opened
from newsletter.database import empty_log, reading
from newsletter.errors import InputError, UnknownName
from newsletter.languages import language_name
from newsletter.tabular import guarded

Email = Annotated[str, typer.Argument(metavar="EMAIL")]
STATES = (*audience.LIVE, "unsubscribed")


def reader_facts(row: Any) -> dict[str, Any]:
    """A subscription (``find_subscription``) as commands show it."""
    return {
        "email": row.email,
        "name": row.name,
        "list": row.slug,
        "state": row.state,
        "language": row.language,
        "countries": row.countries,
        "regions": row.regions,
        "themes": row.themes,
        "item_languages": row.languages,
        "frequency": row.frequency,
        "hour": row.hour,
        "weekday": WEEKDAYS[row.weekday],
        "timezone": row.timezone,
        "cursor": row.cursor,
        "list_position": row.last_position,
        "due_at": row.due_at,
        "last_outcome": row.last_outcome,
        "last_failure": f"{row.failed_at:%Y-%m-%d %H:%M} UTC: {row.failure_code} {row.failure}"
        if row.failed_at
        else None,
        "suppressed_at": row.suppressed_at,
        "created_at": row.created_at,
    }


WORDS = {
    "item_languages": "languages of items",
    "cursor": "served up to position",
    "list_position": "newest position",
    "due_at": "next looked at",
    "last_outcome": "last time",
    "last_failure": "last refusal",
    "suppressed_at": "suppressed",
    "created_at": "since",
}
"""What values of a subscription are called, if not as in JSON."""


def _in_words(found: dict[str, Any]) -> dict[str, Any]:
    """``reader_facts`` for people: places and languages by name."""
    places = {kind: [f"{place_name(code, 'en')} ({code})" for code in found[kind]] for kind in ("countries", "regions")}
    languages = [language_name(code) for code in found["item_languages"]]
    outcome = WHY_NOTHING.get(found["last_outcome"] or "", found["last_outcome"])
    return found | places | {"item_languages": languages, "last_outcome": outcome}


def check_state(state: str | None) -> None:
    """Refuse what is no state of a subscription."""
    if state and state not in STATES:
        raise InputError(f"{state!r} is no state.", f"Use one of {', '.join(STATES)}.")


def show(email: Email, slug: OfList = None, as_json: Json = False) -> None:
    """One reader: subscriptions and consent history, with what proves each consent.

    Example: `newsletter subscribers show ana@example.org`
    """
    house = opened()
    with reading(house.engine) as connection:
        if slug:
            rows: Any = [audience.find_subscription(connection, email, chosen_list(connection, slug).id)]
        else:
            rows = audience.subscriptions_of(connection, email)
        if not rows:
            raise InputError(f"{email} is on no list.")
        history = [as_shown(row) for row in consent_history(connection, rows[0].subscriber_id)]
    for consent in history:
        consent["address"] = ADDRESS[was_given_for(house.settings.keys, consent["address_hash"], rows[0].email_key)]
    if as_json:
        print_json({"subscriptions": [reader_facts(row) for row in rows], "consents": history})
        return
    for row in rows:
        facts(worded(_in_words(reader_facts(row)), WORDS))
        say("")
    _show_consents(history)


ADDRESS = {True: "this one", False: "another", None: None}


def _show_consents(history: list[dict[str, Any]]) -> None:
    """One line an event; below it what was agreed to, each wording once."""
    wordings: dict[str, int] = {}
    for consent in history:
        if consent["wording"]:
            wordings.setdefault(consent["wording"], len(wordings) + 1)
    table(
        ("when", "list", "event", "where", "address", "network", "page", "wording", "picks"),
        (
            (
                *(consent[name] for name in ("at", "list", "event", "source", "address", "network", "page")),
                wordings.get(consent["wording"]),
                _picks(consent["picks"]),
            )
            for consent in history
        ),
        "No consent is recorded.",
    )
    for wording, number in wordings.items():
        say("")
        facts([(f"wording {number}", wording)])


def _picks(picks: dict[str, Any] | None) -> str | None:
    if picks is None:
        return None
    codes = [code for kind in KINDS for code in picks.get(kind, ())]
    return f"{' '.join(codes) or 'all'}; {picks['frequency']}"


def erase(email: Email, yes: Yes = False) -> None:
    """Forget a person: all that is personal goes, everywhere. A keyed hash stays, so that no import mails them again.

    Example: `newsletter subscribers erase ana@example.org`
    """
    house = opened()
    confirmed(f"Erase {email} from every list? This cannot be undone.", yes)
    with house.engine.begin() as connection:
        erase_person(connection, house.settings.keys, email, now())
    empty_log(house.engine)
    say("Erased.")


COLUMNS = (
    *("email", "name", "language", "timezone", "countries", "regions", "themes", "item_languages"),
    *("frequency", "hour", "weekday", "state", "created_at"),
)


def export(
    email: Annotated[
        str | None, typer.Argument(metavar="EMAIL", help="One person: all that is kept of them, as JSON.")
    ] = None,
    slug: ListSlug = None,
    state: Annotated[str | None, typer.Option("--state", help=f"Only {', '.join(STATES)}.")] = None,
    as_json: Json = False,
) -> None:
    """Write the readers of a list as CSV (or JSON) to standard output; `import` reads it back.

    With an address, write all that is kept of that person, for them: as JSON, on every list.

    Example: `newsletter subscribers export --list rutas --state active > readers.csv`
    """
    check_state(state)
    house = opened()
    with reading(house.engine) as connection:
        if email is not None:
            if slug or state:
                raise InputError("One person's data are those of every list.", "Leave --list and --state out.")
            print_json(_data_of(connection, house.settings.keys, email))
            return
        rows = audience.select_subscriptions(connection, chosen_list(connection, slug).id, state, None, None)
        if as_json:
            print_json_rows({name: values[name] for name in COLUMNS} for values in map(reader_facts, rows))
            return
        if isinstance(sys.stdout, io.TextIOWrapper):
            # It is for a file, which has all names whatever this terminal can show.
            sys.stdout.reconfigure(encoding="utf-8")
        writer = csv.writer(sys.stdout)
        writer.writerow(COLUMNS)
        for row in rows:
            values = reader_facts(row)
            writer.writerow([_cell(values[name]) for name in COLUMNS])


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ";".join(value)
    return guarded("" if value is None else str(value))


def _data_of(connection: Connection, keys: Keys, email: str) -> dict[str, Any]:
    person = audience.find_person(connection, parse_address(email))
    if person is None:
        raise UnknownName(f"There is no subscriber {email}.")
    return person_data(connection, keys, person.subscriber_id)
