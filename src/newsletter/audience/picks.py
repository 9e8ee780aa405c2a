"""Picks, and the profiles that hold each distinct set of them once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from sqlalchemy import Connection, Text, select, type_coerce

from newsletter.database import IDS, Among, insert
from newsletter.errors import InputError
from newsletter.languages import is_language
from newsletter.tables import profiles

KINDS = ("countries", "regions", "themes", "languages")
MANY = 500

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Picks:
    """What a reader picks. An empty set of a kind means all of that kind."""

    countries: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    themes: frozenset[str] = frozenset()
    languages: frozenset[str] = frozenset()

    def columns(self) -> dict[str, list[str]]:
        """The sets as sorted lists, as they are stored."""
        return {kind: sorted(getattr(self, kind)) for kind in KINDS}

    @property
    def key(self) -> str:
        """SHA-256 of the picks: equal picks are one profile."""
        return hashlib.sha256(json.dumps(self.columns(), sort_keys=True).encode()).hexdigest()


def parse_picks(
    countries: Iterable[str],
    regions: Iterable[str],
    themes: Iterable[str],
    languages: Iterable[str],
    find_place: Callable[[str], str],
    find_theme: Callable[[str], str],
) -> Picks:
    """Read picks given as codes or names.

    A country given as a region, or the other way round, lands where it belongs: both are places.

    Raises:
        UnknownName: a place or theme that does not exist; with suggestions.
        InputError: a language that is no code.
    """
    places = {find_place(text) for text in (*countries, *regions)}
    return Picks(
        countries=frozenset(place for place in places if not place.isdigit()),
        regions=frozenset(place for place in places if place.isdigit()),
        themes=frozenset(find_theme(text) for text in themes),
        languages=frozenset(language_code(text) for text in languages),
    )


def language_code(text: str) -> str:
    """A language of items: any ISO 639 code.

    Raises:
        InputError: it is no code.
    """
    code = text.strip().lower()
    if not is_language(code):
        raise InputError(f"{text!r} is not a language code.", "Use ISO 639 codes: en, es, fr.")
    return code


def profile_ids(connection: Connection, wanted: Iterable[Picks]) -> dict[Picks, int]:
    """The id of each profile; those that do not exist yet are made."""
    keys = {picks.key: picks for picks in wanted}
    if keys:
        rows = [{"key": key, **keys[key].columns()} for key in sorted(keys)]
        connection.execute(insert(connection, profiles).on_conflict_do_nothing(), rows)
    found: dict[Picks, int] = {}
    for part in _parts(list(keys)):
        for row in connection.execute(select(profiles.c.key, profiles.c.id).where(profiles.c.key.in_(part))):
            found[keys[row.key]] = row.id
    return found


# As text, since the same few sets come again and again: each is read once.
_PROFILES = select(profiles.c.id, *(type_coerce(profiles.c[kind], Text) for kind in KINDS)).where(
    Among(profiles.c.id, IDS)
)


def load_profiles(connection: Connection, ids: Sequence[int]) -> dict[int, Picks]:
    """The picks of these profiles, by id."""
    rows = connection.execute(_PROFILES, {"ids": ids}).all()
    return {number: Picks(*map(_set_of, texts)) for number, *texts in rows}


@lru_cache(maxsize=4096)
def _set_of(text: str) -> frozenset[str]:
    """A set from the JSON that it is stored as."""
    return frozenset(json.loads(text))


def _parts(values: Sequence[_Value]) -> Iterable[Sequence[_Value]]:
    return (values[start : start + MANY] for start in range(0, len(values), MANY))
