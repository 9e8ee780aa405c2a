"""Which items fit which picks: items as bits, so that a profile costs a few operations on integers. Pure.

Bit ``n`` of every mask is the ``n``-th item by position. For each country, theme and language there is one
mask of the items that carry it; a profile is matched by OR over what it picks of a kind and AND of the kinds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

CountriesIn = Callable[[str], frozenset[str]]
"""The countries in an M49 region."""

ThemesUnder = Callable[[str], frozenset[str]]
"""A theme and all that descend from it."""


class Picks(Protocol):
    """What a profile picks; an empty set of a kind means all of that kind."""

    @property
    def countries(self) -> frozenset[str]:
        """ISO 3166-1 alpha-2."""

    @property
    def regions(self) -> frozenset[str]:
        """UN M49."""

    @property
    def themes(self) -> frozenset[str]:
        """Slugs."""

    @property
    def languages(self) -> frozenset[str]:
        """Languages of items."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item as digests see it."""

    id: int
    position: int
    title: str
    summary: str
    url: str | None
    language: str
    source: str
    published_at: datetime
    countries: tuple[str, ...]
    regions: tuple[str, ...]
    themes: tuple[str, ...]
    image: str | None = None
    image_alt: str = ""


def concerned(countries: Iterable[str], regions: Iterable[str], countries_in: CountriesIn) -> frozenset[str]:
    """The countries that these countries and regions amount to."""
    return frozenset(countries).union(*(countries_in(region) for region in regions))


class Index:
    """Items of a list in order of position, ready to be matched against any number of profiles."""

    def __init__(self, items: Sequence[Item], countries_in: CountriesIn, themes_under: ThemesUnder) -> None:
        """``items`` must be in order of position."""
        self.items = items
        self._countries_in = countries_in
        self._themes_under = themes_under
        self._positions = [item.position for item in items]
        self._all = (1 << len(items)) - 1
        self._by_country: dict[str, int] = {}
        self._by_theme: dict[str, int] = {}
        self._by_language: dict[str, int] = {}
        self._by_region: dict[str, int] = {}
        self._by_branch: dict[str, int] = {}
        for n, item in enumerate(items):
            bit = 1 << n
            for country in concerned(item.countries, item.regions, countries_in):
                self._by_country[country] = self._by_country.get(country, 0) | bit
            for theme in item.themes:
                self._by_theme[theme] = self._by_theme.get(theme, 0) | bit
            self._by_language[item.language] = self._by_language.get(item.language, 0) | bit

    def fitting(self, picks: Picks) -> int:
        """The mask of all items that fit ``picks``."""
        mask = self._all
        if picks.countries or picks.regions:
            places = 0
            for country in picks.countries:
                places |= self._by_country.get(country, 0)
            for region in picks.regions:
                places |= self._in_region(region)
            mask &= places
        if picks.themes:
            themes = 0
            for theme in picks.themes:
                themes |= self._under_theme(theme)
            mask &= themes
        if picks.languages:
            mask &= _union(self._by_language, picks.languages)
        return mask

    def _in_region(self, region: str) -> int:
        """The items that concern a country of ``region``; found once."""
        mask = self._by_region.get(region)
        if mask is None:
            mask = self._by_region[region] = _union(self._by_country, self._countries_in(region))
        return mask

    def _under_theme(self, theme: str) -> int:
        """The items that carry ``theme`` or one below it; found once."""
        mask = self._by_branch.get(theme)
        if mask is None:
            mask = self._by_branch[theme] = _union(self._by_theme, self._themes_under(theme))
        return mask

    def after(self, cursor: int) -> int:
        """The mask of the items whose position is greater than ``cursor``."""
        passed = bisect_right(self._positions, cursor)
        return (self._all >> passed) << passed

    def of(self, mask: int) -> Iterator[Item]:
        """The items of ``mask`` in order of position."""
        while mask:
            lowest = mask & -mask
            yield self.items[lowest.bit_length() - 1]
            mask ^= lowest


def _union(masks: dict[str, int], keys: Iterable[str]) -> int:
    """The items under any of ``keys``."""
    union = 0
    for key in keys:
        union |= masks.get(key, 0)
    return union
