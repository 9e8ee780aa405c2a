"""``newsletter demo``: the whole product at work on a sample list."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from datetime import timedelta
from importlib.resources import as_file, files
from pathlib import Path
from shlex import quote
from shutil import which
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from sqlalchemy import Connection, Engine, exists, func, select

from newsletter.audience.importing import FIELDS, import_subscribers
from newsletter.audience.lists import create_list
from newsletter.audience.merging import ImportContext
from newsletter.audience.schedule import parse_weekday
from newsletter.catalogue.geography import find_place, place_name
from newsletter.catalogue.importing import Defaults, draft_of
from newsletter.catalogue.themes import add_themes, all_themes, find_theme, theme_name
from newsletter.cli.items import publish
from newsletter.cli.output import console, counted, say, table
from newsletter.cli.services import start_house
from newsletter.cli.shared import WHY_NOTHING, now
from newsletter.cli.supervising import Supervisor, free_port, is_listening
from newsletter.cli.themes import read_themes
from newsletter.database import engine_for, reading
from newsletter.digests.shards import is_due
from newsletter.errors import StateError
from newsletter.languages import language_name
from newsletter.migrations import upgrade
from newsletter.settings import PLACEHOLDER_SITE, Settings, load_settings
from newsletter.tables import OPEN, deliveries, editions, lists, profiles, runs, subscribers, subscriptions
from newsletter.tabular import BadRecord, open_sheet

TICK_SECONDS = 2
PATIENCE = 300.0
SAMPLE = "rutas"
"""The slug of the sample list."""


def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop when all is sent, instead of at Ctrl-C.")] = False,
) -> None:
    """Show the product at work: a sample list, real workers, and an inbox in the browser.

    All of it is embedded and stays in NEWSLETTER_HOME/demo; no mail leaves this machine. A second start
    goes on where the first stopped.

    Example: `newsletter demo --once`
    """
    configured = load_settings()
    configured.make_home()
    settings = _settings(configured)
    engine = engine_for(settings.database)
    upgrade(engine)
    settings.make_key()
    from newsletter.delivery import dispatch

    dispatch.warm_up(settings)
    list_id = load_sample(engine, settings.keys)
    environment = {
        f"NEWSLETTER_{name.upper()}": str(getattr(settings, name))
        for name in ("database_url", "smtp_url", "base_url", "inbox_smtp_port", "inbox_web_port", "tick_seconds")
    }
    environment["NEWSLETTER_RELAYS"] = "none"
    with Supervisor(settings.home) as supervisor:
        start_house(supervisor, settings, environment)
        say("Celery worker, Celery beat, Valkey and the inbox are running; beat looks for who is due.")
        watch(supervisor, engine, list_id)
        if supervisor.stopping:
            raise typer.Exit(130)
        show_readers(engine, list_id)
        counts = _tell_totals(engine, list_id)
        say("\nTo look around:")
        say(escape(looking_around(settings.home)), indent=2, to_copy=True)
        if not once:
            # One server for both: the inbox serves the site beside its own pages.
            address = f"http://{settings.inbox_host}:{settings.inbox_web_port}/"
            say(f"Readers' site: [bold]{address}{SAMPLE}[/]")
            say(f"Inbox: [bold]{address}[/]")
            say("Ctrl-C stops everything.")
            supervisor.watch()
            say("Stopping …")
    say("Stopped: no process is left.")
    if counts["sent"] + counts["withdrawn"] < counts.total():
        raise typer.Exit(1)


def looking_around(home: Path) -> str:
    """A command for the shell that shows what the demo sent; ``home`` is its state folder."""
    command = "newsletter" if which("newsletter") else str(Path(sys.executable).with_name("newsletter"))
    return f"NEWSLETTER_HOME={quote(str(home))} {quote(command)} deliveries list"


def _settings(configured: Settings) -> Settings:
    """The embedded default, whatever is configured for a real list: a demo must not touch that."""
    home = (configured.home / "demo").absolute()
    host = configured.inbox_host
    ports = {}
    for name in ("inbox_smtp_port", "inbox_web_port"):
        port = getattr(configured, name)
        if port == 0 or is_listening(host, port):
            if port:
                say(f"Port {port} is taken; another is used.")
            port = free_port(host)
        ports[name] = port
    return load_settings(
        home=home,
        database_url=f"sqlite:///{home / 'newsletter.db'}",
        redis_url="",
        relays="none",
        smtp_url=f"smtp://{host}:{ports['inbox_smtp_port']}",
        base_url=PLACEHOLDER_SITE,
        tick_seconds=TICK_SECONDS,
        **ports,
    )


def load_sample(engine: Engine, keys: tuple[str, ...]) -> int:
    """The sample list, loaded unless it is there; its id. Everybody's first slot is now, and not at 8."""
    with as_file(files("newsletter").joinpath("samples")) as folder:
        values = json.loads((folder / "list.json").read_text("utf-8"))
        with engine.begin() as connection:
            found = connection.scalar(select(lists.c.id).where(lists.c.slug == values["slug"]))
            if found is not None:
                say("The sample list is there from an earlier start; nothing is sent twice.")
                return int(found)
            values |= {"weekday": parse_weekday(values["weekday"]), "max_items": 30}
            create_list(connection, values, now())
            list_row = connection.execute(select(lists).where(lists.c.slug == values["slug"])).one()
            add_themes(connection, list_row.id, read_themes(folder / "themes.json"))
            vocabulary = all_themes(connection, list_row.id)
        saved, _ = publish(engine, list_row.id, (draft_of(r, Defaults("en", vocabulary)) for r in _items(folder)))
        numbers = import_subscribers(
            engine,
            open_sheet(folder / "subscribers.csv", FIELDS, ("email",)),
            ImportContext(
                list_row=list_row,
                find_place=find_place,
                find_theme=lambda text: find_theme(vocabulary, text),
                next_due=lambda *_: now(),
                source="sample",
                consent_at=now(),
                cursor=0,
                now=now(),
                confirmed=True,
                keys=keys,
            ),
            apply=True,
            on_batch=lambda _: None,
            report=_refuse,
        )
    say(f"Sample list [bold]{list_row.name}[/]: {saved.added} items, {numbers.added} readers.")
    return int(list_row.id)


def _items(folder: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (folder / "items.jsonl").read_text("utf-8").splitlines()]
    for record in records:
        record["published_at"] = (now() - timedelta(days=record.pop("days_ago"))).date().isoformat()
    return records


def _refuse(bad: BadRecord) -> None:
    raise StateError(f"The sample is broken: line {bad.line}, {bad.column}: {bad.reason}")


def _state(connection: Connection, list_id: int) -> tuple[int, int, int, int, bool]:
    """Readers, readers looked at, digests, digests settled, and whether nothing is left to do."""
    active = (subscriptions.c.list_id == list_id, subscriptions.c.state == "active")
    readers = connection.scalar(select(func.count()).where(*active)) or 0
    looked_at = connection.scalar(select(func.count()).where(*active, subscriptions.c.last_run_id.is_not(None))) or 0
    made = connection.scalar(select(func.count()).select_from(deliveries)) or 0
    open_ = connection.scalar(select(func.count()).where(deliveries.c.state.in_(OPEN))) or 0
    upper = connection.scalar(select(lists.c.last_position).where(lists.c.id == list_id)) or 0
    due = connection.scalar(select(exists().where(is_due(list_id, now(), upper))))
    going = connection.scalar(select(exists().where(runs.c.state.not_in(("done", "cancelled")))))
    return readers, looked_at, made, made - open_, not (due or going or open_)


def watch(supervisor: Supervisor, engine: Engine, list_id: int) -> None:
    """Show how it goes until everything is sent.

    Raises:
        StateError: it takes longer than five minutes.
    """
    began = time.monotonic()
    with Progress(
        TextColumn("{task.description:<20}"),
        BarColumn(),
        MofNCompleteColumn(separator=" of "),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        looking = progress.add_task("readers looked at", total=None)
        sending = progress.add_task("digests sent", total=None)
        told = ""
        while not supervisor.stopping:
            supervisor.check()
            with reading(engine) as connection:
                readers, looked_at, made, settled, finished = _state(connection, list_id)
            progress.update(looking, completed=looked_at, total=readers)
            progress.update(sending, completed=settled, total=made)
            line = f"{looked_at} of {readers} readers looked at, {settled} of {made} digests sent"
            if line != told and not console.is_terminal:
                say(line)
            told = line
            if finished:
                return
            if time.monotonic() - began > PATIENCE:
                raise StateError(f"After {PATIENCE:.0f} s: {line}.", f"See the logs in {supervisor.home / 'logs'}.")
            time.sleep(0.25)


def show_readers(engine: Engine, list_id: int) -> None:
    """Who got how many items, and who none and why."""
    with reading(engine) as connection:
        got: Counter[int] = Counter()
        items_of: Counter[int] = Counter()
        for row in connection.execute(
            select(deliveries.c.subscription_id, editions.c.item_ids)
            .join(editions, editions.c.id == deliveries.c.edition_id)
            .where(deliveries.c.state == "sent")
        ):
            got[row.subscription_id] += 1
            items_of[row.subscription_id] += len(row.item_ids)
        vocabulary = all_themes(connection, list_id)
        rows = connection.execute(
            select(subscriptions, subscribers.c.email, subscribers.c.language, profiles)
            .join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
            .join(profiles, profiles.c.id == subscriptions.c.profile_id)
            .where(subscriptions.c.list_id == list_id)
            .order_by(subscribers.c.email)
        ).all()

    def follows(row: Any) -> str:
        places = [place_name(code, "en") for code in (*row.countries, *row.regions)]
        themes = [theme_name(vocabulary[slug], "en") for slug in row.themes if slug in vocabulary]
        languages = [f"in {language_name(code)}" for code in row.languages]
        return ", ".join([*places, *themes, *languages]) or "everything"

    def result(row: Any) -> str:
        if got[row.id]:
            return f"{items_of[row.id]} in {got[row.id]} digest{'s' if got[row.id] > 1 else ''}"
        return f"none: {_why_none(row)}"

    table(
        ("reader", "follows", "language", "frequency", "items"),
        ((row.email, follows(row), row.language, row.frequency, result(row)) for row in rows),
        "No readers.",
    )


def _why_none(subscription: Any) -> str:
    """Why it has no digest: what came of the last run, else the state that keeps it from any."""
    kept_by = "not due yet" if subscription.state == "active" else str(subscription.state)
    return WHY_NOTHING.get(subscription.last_outcome or "", kept_by)


def _tell_totals(engine: Engine, list_id: int) -> Counter[str]:
    with reading(engine) as connection:
        counts = Counter(connection.scalars(select(deliveries.c.state)).all())
        none = connection.execute(
            select(subscriptions.c.last_outcome, subscriptions.c.state).where(
                subscriptions.c.list_id == list_id,
                ~exists().where(
                    deliveries.c.subscription_id == subscriptions.c.id,
                    deliveries.c.state == "sent",
                ),
            )
        ).all()
    without = ", ".join(f"{n} {why}" for why, n in Counter(map(_why_none, none)).items())
    say(
        f"\n{counted(counts['sent'], 'digest')} sent; {counted(len(none), 'reader')} got none"
        + (f" ({without})." if without else ".")
    )
    return counts
