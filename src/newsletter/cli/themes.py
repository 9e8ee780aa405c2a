"""``newsletter themes``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from newsletter.catalogue.themes import Theme, add_themes, all_themes, amend_theme, rename_theme, theme_name
from newsletter.cli.output import misused, print_json, say, table
from newsletter.cli.shared import Json, ListSlug, chosen_list, opened
from newsletter.database import reading
from newsletter.errors import InputError
from newsletter.given import parse_json, readable
from newsletter.languages import LANGUAGES
from newsletter.tabular import BadRecord, open_sheet

app = typer.Typer(name="themes", help="A list's vocabulary, with names per language.", no_args_is_help=True)

Descriptions = Annotated[
    list[str] | None,
    typer.Option("--description", metavar="CODE=TEXT", help="A sentence on it: en='Asylum and returns'. Repeatable."),
]
Names = Annotated[list[str], typer.Option("--name", metavar="CODE=NAME", help="A name: es=Protección. Repeatable.")]

EXAMPLE = '{"slug": "protection", "names": {"en": "Protection"}, "descriptions": {"en": "Asylum and returns"}}'


def _names(texts: list[str], option: str = "--name en=Protection") -> dict[str, str]:
    """Names or descriptions by language code; an empty one is one to take away."""
    names = {}
    for text in texts:
        code, equals, name = text.partition("=")
        if not equals or not (code.isascii() and code.isalpha() and len(code) <= 3):
            raise InputError(f"{text!r} is not a text with its language.", f"Write {option}.")
        names[code.lower()] = " ".join(name.split())
    return names


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=".json or .csv; - is standard input.")],
    slug: ListSlug = None,
) -> None:
    """Add themes from JSON or CSV, and bring those there are up to date: names and parent become what the file says.

    JSON: `[{"slug": "protection", "names": {"en": "Protection"}, "parent": null, "descriptions": {}}]`;
    CSV: columns slug, en, es, fr, ar, parent.

    Example: `newsletter themes import themes.json --list rutas`
    """
    house = opened()
    with readable(file) as source:
        wanted = read_themes(source)
    with house.engine.begin() as connection:
        added, changed = add_themes(connection, chosen_list(connection, slug).id, wanted)
    say(f"{added} added, {changed} changed, {len(wanted) - added - changed} unchanged.")


def read_themes(file: Path) -> list[Theme]:
    """The themes of a file.

    Raises:
        InputError: the file or an entry cannot be read.
    """
    if file.suffix.lower() == ".json" or file.read_bytes().lstrip().startswith(b"["):
        try:
            entries = parse_json(file.read_text("utf-8-sig"))
        except UnicodeDecodeError:
            raise InputError(f"{file.name} is not text in UTF-8.", "Save it as UTF-8.") from None
        except InputError as error:
            raise InputError(f"{file.name}: {error.message}") from None
        if not isinstance(entries, list):
            raise InputError(f"{file.name} holds no list of themes.", "See `newsletter themes import --help`.")
        return [_theme(f"{file.name}, entry {number}:", entry) for number, entry in enumerate(entries, 1)]
    fields = {"slug": (), "parent": (), **{code: (f"name {code}", f"name_{code}") for code in LANGUAGES}}
    found = []
    sheet = open_sheet(file, fields, ("slug",))
    if not sheet.fields.keys() & LANGUAGES:
        raise InputError(f"{file.name} has no column of names.", f"Name a column {' or '.join(LANGUAGES)}.")
    for record in sheet.records():
        if isinstance(record, BadRecord):
            raise InputError(f"{file.name}, line {record.line}: {record.reason}")
        names = {code: record.cells[code] for code in LANGUAGES if record.cells.get(code)}
        if not names:
            raise InputError(
                f"{file.name}, line {record.line}: the theme has no name.",
                f"Fill its cell in a column {' or '.join(LANGUAGES)}.",
            )
        found.append(Theme(record.cells["slug"], names, record.cells.get("parent") or None))
    return found


def _theme(place: str, entry: Any) -> Theme:
    names = entry.get("names") if isinstance(entry, dict) else None
    if (
        not isinstance(names, dict)
        or not isinstance(entry.get("slug"), str)
        or not isinstance(entry.get("parent"), (str, type(None)))
        or not all(isinstance(name, str) for name in names.values())
    ):
        raise InputError(f"{place} it is not a theme with slug and names.", f"Write {EXAMPLE}.")
    descriptions = entry.get("descriptions") or {}
    if not isinstance(descriptions, dict) or not all(isinstance(text, str) for text in descriptions.values()):
        raise InputError(f"{place} its descriptions are not texts by language.", f"Write {EXAMPLE}.")
    return Theme(entry["slug"], names, entry.get("parent"), descriptions)


@app.command()
def add(
    theme: Annotated[str, typer.Argument(metavar="THEME", help="Its slug, for ever: counter-trafficking.")],
    names: Annotated[
        list[str] | None, typer.Option("--name", metavar="CODE=NAME", help="A name: es=Protección. Repeatable.")
    ] = None,
    parent: Annotated[str | None, typer.Option("--parent", help="Who picks the parent gets this too.")] = None,
    descriptions: Descriptions = None,
    slug: ListSlug = None,
) -> None:
    """Add one theme, or change one that is there: what is not given stays.

    An empty text takes away what there is: `--name fr=`, `--description en=`, `--parent ''`.

    Example: `newsletter themes add children --name en=Children --name es=Niñez --parent protection`
    """
    if not names and not descriptions and parent is None:
        raise misused("themes add")
    house = opened()
    with house.engine.begin() as connection:
        now, was = amend_theme(
            connection,
            chosen_list(connection, slug).id,
            theme,
            _names(names or []),
            _names(descriptions or [], "--description en='Asylum and returns'"),
            parent,
        )
    say(escape(_told(now, was)))


def _told(now: Theme, was: Theme | None) -> str:
    """What became of a theme."""
    if was is None:
        return f"Added {now.slug}."
    before, after = _parts(was), _parts(now)
    changes = [
        f"{part} is {after.get(part, 'taken away')}"
        for part in sorted({**before, **after})
        if before.get(part) != after.get(part)
    ]
    return f"Changed {now.slug}: {'; '.join(changes)}." if changes else f"{now.slug} was there already, just so."


def _parts(theme: Theme) -> dict[str, str]:
    parts = {f"name {code}": name for code, name in theme.names.items()}
    parts |= {f"description {code}": repr(text) for code, text in theme.descriptions.items()}
    return parts | ({"parent": theme.parent} if theme.parent else {})


@app.command("list")
def show_all(slug: ListSlug = None, as_json: Json = False) -> None:
    """The vocabulary of a list.

    Example: `newsletter themes list`
    """
    house = opened()
    with reading(house.engine) as connection:
        vocabulary = all_themes(connection, chosen_list(connection, slug).id)
    if as_json:
        print_json(
            [
                {"slug": t.slug, "names": t.names, "parent": t.parent, "descriptions": t.descriptions}
                for t in vocabulary.values()
            ]
        )
        return
    table(
        ("theme", "name", "also", "parent"),
        (
            (
                t.slug,
                theme_name(t, "en"),
                " · ".join(sorted({*t.names.values()} - {theme_name(t, "en")})),
                t.parent,
            )
            for t in vocabulary.values()
        ),
        "The list has no themes yet: see `newsletter themes import --help`.",
    )


@app.command()
def rename(theme: Annotated[str, typer.Argument(metavar="THEME")], names: Names, slug: ListSlug = None) -> None:
    """Change a theme's names; the slug stays, since items and picks hold it. `--name fr=` takes a name away.

    Example: `newsletter themes rename children --name fr=Enfance`
    """
    house = opened()
    with house.engine.begin() as connection:
        rename_theme(connection, chosen_list(connection, slug).id, theme, _names(names))
    say("Renamed.")
