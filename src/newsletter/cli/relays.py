"""``newsletter relays``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from sqlalchemy import Connection

from newsletter.audience.lists import sending_domains
from newsletter.cli.output import complain, facts, print_json, say, table
from newsletter.cli.shared import Json, now, opened
from newsletter.database import engine_for, reading
from newsletter.delivery import resting
from newsletter.delivery.pace import Pace
from newsletter.delivery.relays import INBOX, Relay, relays_of
from newsletter.delivery.resting import State
from newsletter.delivery.shares import senders
from newsletter.delivery.smtp.probing import Probed, probe
from newsletter.errors import StateError, UnknownName
from newsletter.migrations import require_current
from newsletter.resembling import nearest
from newsletter.settings import Settings, load_settings

app = typer.Typer(
    name="relays",
    help="The SMTP servers that messages are handed to. They are configured, and not made here.",
    no_args_is_help=True,
)

START_INBOX = "It is the built-in inbox: start it with `newsletter up`, or set NEWSLETTER_SMTP_URL to a relay."

Name = Annotated[str, typer.Argument(metavar="RELAY", help="Its name; `newsletter relays list` shows it.")]


@app.command("list")
def show_all(as_json: Json = False) -> None:
    """All relays with their settings and live state, and the domains that are held back now.

    Example: `newsletter relays list --json`
    """
    house = opened()
    relays = relays_of(house.settings)
    with reading(house.engine) as connection:
        known = resting.states(connection, relays)
    limits = _domain_limits(house.settings)
    moment = now()
    if as_json:
        found = [_facts(relay, known[relay.name], moment) for relay in relays]
        print_json({"relays": found, "domains": limits})
        return
    table(
        ("relay", "address", "security", "lists", "weight", "rate", "connections", "state"),
        (_row(relay, known[relay.name], moment) for relay in relays),
        "There is no relay.",
        right=(4, 6),
    )
    failed = [(name, state.last_error_at, state.last_error) for name, state in known.items() if state.last_error]
    if failed:
        say("")
        table(("relay", "last error at", "last error"), failed, "")
    if limits:
        say("\nHeld back, because their servers asked for less:")
        table(
            ("domain", "messages a minute"),
            ((domain, f"{rate * 60:.1f}") for domain, rate in limits.items()),
            "",
            right=(1,),
        )
    elif limits is None:
        say("\nWhich domains are held back is not known here: NEWSLETTER_REDIS_URL is not set, or Redis is away.")


def _domain_limits(settings: Settings) -> dict[str, float] | None:
    pace = Pace(settings.redis_url)
    try:
        return pace.limits()
    finally:
        pace.close()


def _facts(relay: Relay, state: State, moment: datetime) -> dict[str, Any]:
    return {
        "name": relay.name,
        "host": relay.host,
        "port": relay.port,
        "security": relay.security,
        "user": relay.user or None,
        "lists": relay.lists,
        "weight": relay.weight,
        "rate": [str(rate) for rate in relay.rates],
        "connections": relay.connections,
        "messages_per_connection": relay.messages_per_connection,
        "state": state.word(moment),
        "rests_until": state.rests_until if state.word(moment) == "resting" else None,
        "failures": state.failures,
        "last_error": state.last_error,
        "last_error_at": state.last_error_at,
        "last_ok_at": state.last_ok_at,
    }


def _row(relay: Relay, state: State, moment: datetime) -> tuple[Any, ...]:
    word = state.word(moment)
    if word == "resting":
        word = f"resting until {state.rests_until:%H:%M:%S} UTC"
    lists, rates = ", ".join(sorted(relay.lists)) or "all", ", ".join(map(str, relay.rates))
    host = f"[{relay.host}]" if ":" in relay.host else relay.host
    return relay.name, f"{host}:{relay.port}", relay.security, lists, relay.weight, rates, relay.connections, word


@app.command("test")
def try_out(
    name: Annotated[str | None, typer.Argument(metavar="RELAY", help="Only this one.")] = None,
    as_json: Json = False,
) -> None:
    """Connect to each relay, or to one, encrypt, log in, begin a message from each of its lists and take it back.

    Nothing is sent. Exit code 1 if a relay cannot be used.

    Example: `newsletter relays test mail.example.org`
    """
    settings = load_settings()
    relays = relays_of(settings)
    if name is not None:
        relays = (_chosen(relays, name),)
    domains = _domains(settings)
    found = [probe(relay, settings.smtp_timeout, senders(relay, domains)) for relay in relays]
    if as_json:
        print_json([_probed(one) for one in found])
    else:
        for one in found:
            _tell(one)
    for one in found:
        if one.problem:
            complain(f"Relay {one.relay.name}: {one.problem}", START_INBOX if one.relay.name == INBOX else one.mend)
    if any(one.problem for one in found):
        raise typer.Exit(1)


def _domains(settings: Settings) -> dict[str, str]:
    """Of the lists, by slug; a relay can be tried before there are any."""
    engine = engine_for(settings.database)
    try:
        require_current(engine)
    except StateError:
        return {}
    with reading(engine) as connection:
        return sending_domains(connection)


def _probed(one: Probed) -> dict[str, Any]:
    return {
        "name": one.relay.name,
        "usable": not one.problem,
        "problem": one.problem or None,
        "mend": (START_INBOX if one.relay.name == INBOX else one.mend) if one.problem else None,
        "greeting": one.greeting,
        "tls": one.tls or None,
        "login": one.login or None,
        "capabilities": one.capabilities,
        "senders": one.senders,
        "seconds": {step: round(seconds, 4) for step, seconds in one.seconds.items()},
    }


def _tell(one: Probed) -> None:
    say(f"[bold]{escape(one.relay.name)}[/] {escape(str(one.relay))}")
    rows = [
        ("greeting", one.greeting),
        ("encryption", one.tls or "none"),
        ("login", f"{one.login} as {one.relay.user}" if one.login else "none"),
        ("offers", one.capabilities),
        ("takes mail of", one.senders),
        ("time", [f"{step} {seconds * 1000:.0f} ms" for step, seconds in one.seconds.items()]),
    ]
    facts(rows if not one.problem else [row for row in rows if row[1] and row[1] != "none"])


@app.command()
def pause(name: Name) -> None:
    """Use a relay no more until it is resumed. Workers see it within moments; what is under way ends.

    Example: `newsletter relays pause mail.example.org`
    """
    changed = _change(name, resting.pause)
    say(f"Relay [bold]{escape(name)}[/] {'is paused' if changed else 'was paused before'}.")


@app.command()
def resume(name: Name) -> None:
    """Use a relay again from now on, whether it was paused or rests after failures.

    Example: `newsletter relays resume mail.example.org`
    """
    changed = _change(name, resting.resume)
    say(f"Relay [bold]{escape(name)}[/] {'is used again' if changed else 'was in use'}.")


def _change(name: str, change: Callable[[Connection, Relay, datetime], bool]) -> bool:
    house = opened()
    relay = _chosen(relays_of(house.settings), name)
    with house.engine.begin() as connection:
        return change(connection, relay, now())


def _chosen(relays: tuple[Relay, ...], name: str) -> Relay:
    for relay in relays:
        if relay.name == name:
            return relay
    names = {relay.name: relay.name for relay in relays}
    are = "is" if len(names) == 1 else "are"
    raise UnknownName(f"No relay is called {name!r}; there {are} {', '.join(names)}.", nearest(name, names))
