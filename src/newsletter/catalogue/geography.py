"""Countries (ISO 3166-1 alpha-2, and XK) and regions (UN M49): what lies where, and what it is called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from babel import Locale

from newsletter.errors import InputError, UnknownName
from newsletter.languages import LANGUAGES
from newsletter.resembling import fold, nearest

WORLD = "001"

# What people write and CLDR does not list among its first names.
OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "uk": ("GB",),
    "great britain": ("GB",),
    "england": ("GB",),
    "u s": ("US",),
    "u s a": ("US",),
    "united states of america": ("US",),
    "estados unidos de america": ("US",),
    "ee uu": ("US",),
    "etats unis d amerique": ("US",),
    "holland": ("NL",),
    "ivory coast": ("CI",),
    "cote d ivoire": ("CI",),
    "costa de marfil": ("CI",),
    "burma": ("MM",),
    "birmania": ("MM",),
    "birmanie": ("MM",),
    "swaziland": ("SZ",),
    "cape verde": ("CV",),
    "czech republic": ("CZ",),
    "turkey": ("TR",),
    "turkiye": ("TR",),
    "macedonia": ("MK",),
    "east timor": ("TL",),
    "palestine": ("PS",),
    "palestina": ("PS",),
    "dr congo": ("CD",),
    "drc": ("CD",),
    "rdc": ("CD",),
    "congo": ("CD", "CG"),
    "korea": ("KP", "KR"),
    "corea": ("KP", "KR"),
    "coree": ("KP", "KR"),
    "virgin islands": ("VG", "VI"),
    "saint martin": ("MF", "SX"),
    "america": ("019", "US"),
    "latin america and the caribbean": ("419",),
    "america latina y el caribe": ("419",),
    "amerique latine et caraibes": ("419",),
    "sub saharan africa": ("202",),
    "america central": ("013",),
    "america del sur": ("005",),
    # As ISO 3166-1 has them.
    "bolivia plurinational state of": ("BO",),
    "venezuela bolivarian republic of": ("VE",),
    "iran islamic republic of": ("IR",),
    "tanzania united republic of": ("TZ",),
    "korea republic of": ("KR",),
    "korea democratic people s republic of": ("KP",),
    "congo democratic republic of the": ("CD",),
    "moldova republic of": ("MD",),
    "micronesia federated states of": ("FM",),
    "palestine state of": ("PS",),
    "taiwan province of china": ("TW",),
    "virgin islands british": ("VG",),
    "virgin islands u s": ("VI",),
}


@cache
def _territories() -> dict[str, Any]:
    text = files("newsletter.catalogue").joinpath("territories.json").read_text("utf-8")
    territories: dict[str, Any] = json.loads(text)
    return territories


@cache
def countries_in(region: str) -> frozenset[str]:
    """The countries in an M49 region; none in what is not a region."""
    return frozenset(_territories()["regions"].get(region, ()))


def all_places() -> tuple[str, ...]:
    """Every country code, then every region code."""
    regions = _territories()["regions"]
    return (*regions[WORLD], *regions)


@cache
def _locale(language: str) -> Locale:
    return Locale.parse(language if language in LANGUAGES else LANGUAGES[0])


@cache
def place_name(code: str, language: str) -> str:
    """The name of a country or region in ``language`` (English if we have no words in it)."""
    return str(_locale(language).territories.get(code, code))


@cache
def zone_names(language: str) -> Mapping[str, str]:
    """Every time zone that a country has now (``zone.tab`` of the IANA database), and what people call it: the
    country, and a city if it has several."""
    # Commands that name no zone would wait for it.
    from babel.dates import get_timezone_location

    table = files("tzdata").joinpath("zoneinfo/zone.tab").read_text("utf-8")
    zones: dict[str, list[str]] = {}
    for line in table.splitlines():
        if not line.startswith("#"):
            country, _, zone = line.split("\t")[:3]
            zones.setdefault(country, []).append(zone)
    named: dict[str, str] = {}
    for country, several in zones.items():
        name = place_name(country, language)
        for zone in several:
            # Where CLDR knows no city, Babel gives all that stands behind the continent.
            city = get_timezone_location(zone, _locale(language), True).rpartition("/")[2]
            named[zone] = f"{name} – {city}" if len(several) > 1 else name
    return named


def zone_name(zone: str, language: str) -> str:
    """What people call a time zone; itself if no country has it."""
    return zone_names(language).get(zone, zone.replace("_", " "))


@cache
def _names() -> dict[str, frozenset[str]]:
    """Folded name → the codes it may mean."""
    names: dict[str, set[str]] = {name: set(codes) for name, codes in OTHER_NAMES.items()}
    for code in all_places():
        for language in LANGUAGES:
            folded = fold(place_name(code, language))
            if folded not in OTHER_NAMES:
                names.setdefault(folded, set()).add(code)
    return {name: frozenset(codes) for name, codes in names.items()}


def find_place(text: str) -> str:
    """The code of a country or region given as a code (alpha-2, alpha-3, M49) or a name in any of our languages.

    Raises:
        UnknownName: no place, or more than one, is called so; with suggestions.
        InputError: nothing was given.
    """
    word = text.strip()
    if not word:
        raise InputError("A place is empty.", "Give a country or region: GT, Guatemala, 013, Central America.")
    if code := _by_code(word.upper()):
        return code
    codes = _names().get(fold(word), frozenset())
    if len(codes) == 1:
        return next(iter(codes))
    if codes:
        raise UnknownName(f"{word!r} may mean more than one place.", tuple(sorted(_labelled(codes))))
    called = {name: next(iter(codes)) for name, codes in _names().items() if len(codes) == 1}
    near = nearest(word, called)
    raise UnknownName(f"There is no country or region {word!r}.", tuple(_labelled(near)))


def _by_code(word: str) -> str | None:
    territories = _territories()
    if word in territories["regions"][WORLD]:
        return word
    if word.isascii() and word.isdigit() and len(word) <= 3:
        word = word.zfill(3)
        if word in territories["regions"]:
            return word
    code: str | None = territories["codes"].get(word)
    return code


def _labelled(codes: frozenset[str] | tuple[str, ...]) -> list[str]:
    return [f"{place_name(code, 'en')} ({code})" for code in codes]


def parse_places(texts: list[str]) -> tuple[list[str], list[str]]:
    """Places given as codes or names, as countries and regions in the order given, without repeats.

    Raises:
        UnknownName: as ``find_place``.
    """
    codes = list(dict.fromkeys(find_place(text) for text in texts))
    return [code for code in codes if not code.isdigit()], [code for code in codes if code.isdigit()]
