"""``newsletter items``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from sqlalchemy import Connection, Engine

from newsletter.catalogue.geography import countries_in, parse_places
from newsletter.catalogue.importing import BadItem, Defaults, draft_of, parse_moment, read_items
from newsletter.catalogue.items import (
    Draft,
    Saved,
    find_by_key,
    find_item,
    identify_item,
    item_name,
    save_items,
    select_items,
    withdraw,
)
from newsletter.catalogue.items import retag as retag_item
from newsletter.catalogue.themes import all_themes, descendants, find_theme
from newsletter.cli.output import confirmed, errors, facts, misused, print_json, print_json_rows, say, table
from newsletter.cli.shared import (
    SHOWN,
    Countries,
    Json,
    Limit,
    ListSlug,
    Regions,
    ThemeNames,
    Yes,
    chosen_list,
    now,
    opened,
    to_ask_for,
)
from newsletter.database import reading
from newsletter.errors import InputError, StateError
from newsletter.given import readable

app = typer.Typer(name="items", help="What there is to read.", no_args_is_help=True)

BATCH = 500
SHOWN_PROBLEMS = 20
File = Annotated[
    Path, typer.Argument(metavar="FILE", help=".jsonl, .json, .csv or .txt, or a pipe; - is standard input.")
]
Number = Annotated[str, typer.Argument(metavar="ITEM", help="Its number, own id or URL.")]


def publish(
    engine: Engine, list_id: int, drafts: Iterable[Draft | BadItem], *, dry: bool = False
) -> tuple[Saved, list[BadItem]]:
    """Save drafts in batches, each one transaction; what was saved, and what could not be read.

    ``dry``: all of it is one transaction, which is then taken back.
    """
    total = Saved()
    problems: list[BadItem] = []
    batch: list[Draft] = []
    seen: set[str] = set()

    def save(connection: Connection) -> None:
        saved = save_items(connection, list_id, batch, now(), seen)
        if not dry:
            connection.commit()
        total.added += saved.added
        total.revised += saved.revised
        total.unchanged += saved.unchanged
        problems.extend(BadItem(None, _which(draft)) for draft in saved.ambiguous)
        batch.clear()

    with engine.connect() as connection:
        for draft in drafts:
            if isinstance(draft, BadItem):
                problems.append(draft)
                continue
            batch.append(draft)
            if len(batch) == BATCH:
                save(connection)
        if batch:
            save(connection)
    return total, problems


def _which(draft: Draft) -> str:
    """What to do about a draft of ``Saved.ambiguous``."""
    if draft.published_at:
        return (
            f"{draft.title[:60]!r} of {draft.published_at:%Y-%m-%d} comes twice, with two texts; the first is kept. "
            "Give the other a title, a date, an id or a URL of its own."
        )
    return (
        f"{draft.title[:60]!r} was published today with another text. "
        f"Correct it with --date {now():%Y-%m-%d}, or give the date of its own issue."
    )


@app.command("import")
def import_(
    file: File,
    slug: ListSlug = None,
    countries: Countries = None,
    regions: Regions = None,
    themes: ThemeNames = None,
    language: Annotated[
        str | None, typer.Option("--language", help="Of items that do not say theirs. Default: the list's first.")
    ] = None,
    published: Annotated[
        str | None, typer.Option("--date", help="Of items that do not say theirs: 2026-11-24. Default: now.")
    ] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and publish nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Publish items from JSON Lines, JSON, CSV, or the text of a printed newsletter.

    Text: lines take turns, title and summary; with one missing nothing is read. Of one date, what stands first
    stands first in digests. `--country`, `--region` and `--theme` are added to each item. Import a file again as
    often as you like: an item is known by its id, else its URL, else title and date; a changed one is a revision.
    The date of one that has none is the day of its import, so that the same title in the next issue is a new item;
    the very same text is known on any day. Two texts under one title and date are two items: the second is named,
    and not kept. Tags that you set with `items retag` stay until the source says others. Items that cannot be read
    are named, the others are kept (exit code 1). A picture (`image`, `image_alt`) that is no web address is left
    out and named; its item is kept.

    Example: `newsletter items import june.txt --date 2026-06-30 --region 'Central America' --theme protection`
    """
    house = opened()
    with reading(house.engine) as connection:
        list_row = chosen_list(connection, slug, archived=False)
        vocabulary = all_themes(connection, list_row.id)
    places = parse_places([*(countries or ()), *(regions or ())])
    defaults = Defaults(
        language or list_row.languages[0],
        vocabulary,
        (*places[0], *places[1]),
        tuple(find_theme(vocabulary, theme) for theme in themes or ()),
        parse_moment(published) if published else None,
    )
    with readable(file) as source:
        saved, problems = publish(house.engine, list_row.id, read_items(source, defaults), dry=dry)
    lost = sum(not bad.kept for bad in problems)
    if as_json:
        print_json(
            {
                "applied": not dry,
                "added": saved.added,
                "revised": saved.revised,
                "unchanged": saved.unchanged,
                "bad": [{bad.unit: bad.number, "reason": bad.reason} for bad in problems if not bad.kept],
                "left_out": [{bad.unit: bad.number, "reason": bad.reason} for bad in problems if bad.kept],
            }
        )
    else:
        for bad in problems[:SHOWN_PROBLEMS]:
            say((f"[yellow]{bad.unit} {bad.number}:[/] " if bad.number else "") + escape(bad.reason), errors)
        if len(problems) > SHOWN_PROBLEMS:
            say(f"and {len(problems) - SHOWN_PROBLEMS} more; `--json` lists them all.", errors)
        say(f"{saved.added} added, {saved.revised} revised, {saved.unchanged} unchanged, {lost} not read.")
        if dry:
            say("That was a dry run: nothing is published.")
    if lost:
        raise typer.Exit(1)


@app.command()
def add(
    title: Annotated[str, typer.Argument(metavar="TITLE", help="Its title.")],
    summary: Annotated[str, typer.Option("--summary", help="One paragraph.")],
    url: Annotated[str | None, typer.Option("--url", help="Without one it gets its own page.")] = None,
    body: Annotated[str | None, typer.Option("--body", help="HTML for its own page.")] = None,
    external_id: Annotated[str | None, typer.Option("--id", help="Your own id for it.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="Who says it.")] = None,
    published: Annotated[str | None, typer.Option("--date", help="2026-11-24. Default: now.")] = None,
    image: Annotated[str | None, typer.Option("--image", metavar="URL", help="A picture, for mails.")] = None,
    image_alt: Annotated[str | None, typer.Option("--image-alt", help="What it shows, in words.")] = None,
    language: Annotated[str | None, typer.Option("--language", help="Default: the list's first.")] = None,
    countries: Countries = None,
    regions: Regions = None,
    themes: ThemeNames = None,
    slug: ListSlug = None,
    as_json: Json = False,
) -> None:
    """Publish one item.

    Example: `newsletter items add 'Border post reopens' --summary 'After …' --country GT -t border-management`
    """
    house = opened()
    with house.engine.begin() as connection:
        list_row = chosen_list(connection, slug, archived=False)
        record = {
            "id": external_id,
            "title": title,
            "summary": summary,
            "body": body,
            "url": url,
            "language": language,
            "source": source,
            "published_at": published,
            "countries": countries,
            "regions": regions,
            "themes": themes,
            "image": image,
            "image_alt": image_alt,
        }
        draft = draft_of(record, Defaults(list_row.languages[0], all_themes(connection, list_row.id)))
        if draft.left_out:
            raise InputError(f"--image is none, and nothing is published: {draft.left_out}")
        saved = save_items(connection, list_row.id, [draft], now())
        if saved.ambiguous:
            raise StateError(_which(draft))
        row = find_by_key(connection, list_row.id, saved.keys.pop())
    if as_json:
        print_json(_facts(row))
    else:
        done = "published" if saved.added else "revised" if saved.revised else "there already, just so"
        say(f"Item [bold]{row.id}[/] {done}, at position {row.position}.")


def _facts(row: Any) -> dict[str, Any]:
    found = {name: value for name, value in row._mapping.items() if name not in ("key", "list_id", "source_tags")}
    return {"list" if name == "slug" else name: value for name, value in found.items()}


@app.command("list")
def show_all(
    slug: ListSlug = None,
    countries: Countries = None,
    regions: Regions = None,
    themes: ThemeNames = None,
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="Withdrawn ones too.")] = False,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """The latest items, newest position first.

    Example: `newsletter items list --region 'Central America' --theme protection`
    """
    house = opened()
    places = parse_places([*(countries or ()), *(regions or ())])
    within = {country for region in places[1] for country in countries_in(region)}
    with reading(house.engine) as connection:
        list_row = chosen_list(connection, slug)
        vocabulary = all_themes(connection, list_row.id)
        wanted = frozenset().union(*(descendants(vocabulary, find_theme(vocabulary, t)) for t in themes or ()))
        rows = select_items(
            connection,
            list_row.id,
            place={*places[0], *places[1], *within},
            theme=wanted,
            withdrawn=withdrawn,
            limit=to_ask_for(limit, as_json=as_json),
        )
        if as_json:
            print_json_rows(map(_facts, rows))
            return
        found = list(rows)
    table(
        ("item", "date", "title", "places", "themes", "language"),
        (
            (
                row.id,
                f"{row.published_at:%Y-%m-%d}",
                row.title,
                " ".join([*row.countries, *row.regions]),
                " ".join(row.themes),
                row.language + (" withdrawn" if row.withdrawn_at else ""),
            )
            for row in found
        ),
        "No items: see `newsletter items import --help`.",
        right=(0,),
        most=limit or SHOWN,
    )


@app.command()
def show(item: Number, slug: ListSlug = None, as_json: Json = False) -> None:
    """One item with all there is of it.

    Example: `newsletter items show 12`
    """
    house = opened()
    with reading(house.engine) as connection:
        row = identify_item(connection, item, chosen_list(connection, slug).id if slug else None)
    if as_json:
        print_json(_facts(row))
    else:
        facts((name.replace("_", " "), value) for name, value in _facts(row).items())


@app.command()
def retag(
    item: Number,
    countries: Countries = None,
    regions: Regions = None,
    themes: ThemeNames = None,
    no_places: Annotated[bool, typer.Option("--no-places", help="Take all places away.")] = False,
    no_themes: Annotated[bool, typer.Option("--no-themes", help="Take all themes away.")] = False,
    slug: ListSlug = None,
) -> None:
    """Set an item's places or themes anew; what is not named stays.

    The item keeps its position: readers whose digest has passed it, sent or still to be sent, are not served again.

    Example: `newsletter items retag 12 --country HN --theme counter-trafficking`
    """
    if (no_places and (countries or regions)) or (no_themes and themes):
        raise misused("items retag", "Give tags or take them away, not both.")
    if not (countries or regions or themes or no_places or no_themes):
        raise misused("items retag")
    house = opened()
    with house.engine.begin() as connection:
        row = identify_item(connection, item, chosen_list(connection, slug).id if slug else None)
        tags: dict[str, list[str]] = {}
        if countries or regions or no_places:
            tags["countries"], tags["regions"] = parse_places([*(countries or ()), *(regions or ())])
        if themes or no_themes:
            vocabulary = all_themes(connection, row.list_id)
            tags["themes"] = list(dict.fromkeys(find_theme(vocabulary, theme) for theme in themes or ()))
        changed = retag_item(connection, row.id, tags, now())
        row = find_item(connection, row.id)
    say(
        f"Item {row.id}: {escape(' '.join([*row.countries, *row.regions]) or 'no places')}; "
        f"{escape(' '.join(row.themes) or 'no themes')}." + ("" if changed else " Nothing changed.")
    )


@app.command("withdraw")
def withdraw_(item: Number, slug: ListSlug = None, yes: Yes = False) -> None:
    """Take an item out of every digest that is not yet sent, and off its page.

    Example: `newsletter items withdraw 12`
    """
    house = opened()
    with reading(house.engine) as connection:
        row = identify_item(connection, item, chosen_list(connection, slug).id if slug else None)
    if row.withdrawn_at is None:
        confirmed(f"Withdraw item {item_name(row)}?", yes)
    with house.engine.begin() as connection:
        done = withdraw(connection, row.id, now())
    say(f"Item {row.id} {'withdrawn' if done else 'was withdrawn already'}.")
