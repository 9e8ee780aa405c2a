"""What a list has to read for everybody: its archive, a page at a time, as pages and feeds show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from babel.dates import format_date
from sqlalchemy import Connection, select

from newsletter.catalogue.geography import WORLD, all_places, countries_in
from newsletter.catalogue.items import day_of
from newsletter.catalogue.themes import Vocabulary, descendants, theme_name
from newsletter.digests.archive import COUNTED, codes_in_use
from newsletter.mail.cards import cut
from newsletter.slugs import SLUG
from newsletter.tables import lists
from subscribers.choices import language_name, name_of
from subscribers.filters import Filter
from subscribers.ordering import ordering
from subscribers.rendering import speak

SUMMARY = 320
"""Characters of a summary that an archive shows."""


@dataclass(frozen=True)
class Named:
    """A pick by its name; ``kind`` as an address calls it: country, region, theme, language."""

    kind: str
    code: str
    name: str


@dataclass(frozen=True)
class Entry:
    """An item as an archive lists it; ``url`` leads to where it is to be read."""

    title: str
    summary: str
    url: str
    language: str
    source: str
    date: date
    day: str
    """The same, written out."""
    places: tuple[str, ...]


def public_list(connection: Connection, slug: str) -> Any:
    """The list of this slug if everybody may read it, else None."""
    if not SLUG.fullmatch(slug):
        # Whatever else stands there, as a NUL, no database has to see.
        return None
    return connection.execute(
        select(lists).where(lists.c.slug == slug, lists.c.is_public, lists.c.archived_at.is_(None))
    ).one_or_none()


def entry(row: Any, timezone: str, language: str) -> Entry:
    """An item, its places and day in the reader's language; ``timezone``: the list's."""
    day = day_of(row.published_at, timezone)
    return Entry(
        title=row.title,
        summary=cut(" ".join(row.summary.split()), SUMMARY),
        url=row.url or f"/items/{row.id}",
        language=row.language,
        source=row.source,
        date=day,
        day=format_date(day, "long", locale=speak(language)),
        places=tuple(name_of(code, language) for code in (*row.countries, *row.regions)),
    )


def count_line(count: int) -> tuple[str, int]:
    """The key of the sentence that says how many items fit, and the number in it."""
    return "archive_count_many" if count > COUNTED else "archive_count", min(count, COUNTED)


def picked(chosen: Filter, vocabulary: Vocabulary, language: str) -> list[Named]:
    """The picks of a filter by their names: places, then themes, then languages."""
    return [Named(kind, code, _name(kind, code, vocabulary, language)) for kind, code in chosen.pairs()]


def offered(
    connection: Connection, list_id: int, vocabulary: Vocabulary, chosen: Filter, language: str
) -> dict[str, list[Named]]:
    """What there is to pick that some item meets and is not picked already, by kind, in order of name."""
    tagged = {kind: set(codes_in_use(connection, list_id, kind)) for kind in ("country", "region", "theme", "language")}
    countries = tagged["country"].union(*map(countries_in, tagged["region"] - {WORLD}))
    found: Mapping[str, Iterable[str]] = {
        "country": countries,
        "region": [
            code for code in all_places() if code.isdigit() and code != WORLD and countries & countries_in(code)
        ],
        "theme": [slug for slug in vocabulary if tagged["theme"] & descendants(vocabulary, slug)],
        "language": tagged["language"] if len(tagged["language"]) > 1 else (),
    }
    here = set(chosen.pairs())
    return {
        kind: sorted(
            (Named(kind, code, _name(kind, code, vocabulary, language)) for code in codes if (kind, code) not in here),
            key=lambda one: ordering(one.name, speak(language)),
        )
        for kind, codes in found.items()
    }


def _name(kind: str, code: str, vocabulary: Vocabulary, language: str) -> str:
    if kind == "theme":
        return theme_name(vocabulary[code], language)
    return language_name(code, language) if kind == "language" else name_of(code, language)
