"""The order of a digest: in sections by country or by theme, most relevant first, each item once. Pure.

A profile is a mask of its picks, an item a mask of the picks that would meet it. What both have, the *hit*, decides
all that a reader's picks decide about an item: why it fits, where it stands and how relevant it is. In the lowest bits,
which every profile has, an item has its number, so that a hit says by itself which item it is of.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from newsletter.digests.matching import CountriesIn, Item, Picks, ThemesUnder, concerned

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST = 1 << 63
_NEWEST = (1 << 128) - 1
NUMBERS = (1 << 32) - 1
"""The bits of an item's number."""
_FOLLOWS = NUMBERS + 1
"""The bit of a profile that picks places at all."""


class Placing(NamedTuple):
    """Where and why an item stands in the digest of everyone with the same hit."""

    places: tuple[str, ...]
    """The picks that it met: countries before regions, those that it names and small regions first."""
    themes: tuple[str, ...]
    heading: str
    """The place's code or the theme's slug that it stands under; empty if it has none in particular."""
    relevance: int
    """The greater, the further ahead; no two items of a list have the same."""
    within: bytes
    """The order under a heading: by theme, or under a theme by place; then newest first, as they were given."""


class Placeable:
    """An item with its mask, and what each of the bits in it means."""

    __slots__ = (
        *("_anywhere", "_by_theme", "_countries", "_elsewhere", "_first_theme", "_meanings", "_newness"),
        *("_relevances", "_themes", "_withins", "mask"),
    )

    def __init__(
        self,
        item: Item,
        mask: int,
        meanings: dict[int, tuple[int, str, str]],
        countries: list[tuple[str, int]],
        themes: list[tuple[str, int]],
        *,
        by_theme: bool,
    ) -> None:
        """``meanings``: for each bit its rank among the reasons, kind and code; ``countries``, ``themes``: for each
        of the item, the picks that follow it."""
        self.mask = mask
        self._meanings = meanings
        self._countries = countries
        self._themes = themes
        self._by_theme = by_theme
        self._anywhere = next(iter((*item.countries, *item.regions)), "")
        self._elsewhere = next(iter((*item.regions, *item.countries)), "")
        self._first_theme = next(iter(item.themes), "")
        moment = (item.published_at - EPOCH) // timedelta(microseconds=1)
        # Of what is of one moment the first stays the first: in print that is the lead.
        self._newness = (moment + _MOST << 64) - item.position
        # Kept, so that those with different hits share them.
        self._withins: dict[str, bytes] = {}
        self._relevances: dict[int, int] = {}

    def placing(self, hit: int) -> Placing:
        """What a hit (a profile's mask and the item's) means for the item."""
        met = []
        left = hit & ~(_FOLLOWS | NUMBERS)
        while left:
            lowest = left & -left
            met.append(self._meanings[lowest])
            left ^= lowest
        met.sort()
        places = tuple([code for _, kind, code in met if kind != "theme"])
        themes = tuple([code for _, kind, code in met if kind == "theme"])
        score = 2 * len(themes) + len(places) + sum([kind == "named" for _, kind, _ in met])
        otherwise = self._elsewhere if hit & _FOLLOWS else self._anywhere
        place = next((country for country, picks in self._countries if hit & picks), otherwise)
        theme = next((theme for theme, picks in self._themes if hit & picks), self._first_theme)
        heading, inner = (theme, place) if self._by_theme else (place, theme)
        within = self._withins.get(inner)
        if within is None:
            within = self._withins[inner] = inner.encode() + b"\0" + (_NEWEST - self._newness).to_bytes(16)
        # By score, then the newer, then the earlier position: each in a field of its own.
        relevance = self._relevances.setdefault(score, (score << 128) + self._newness)
        return Placing(places, themes, heading, relevance, within)


class Arranger:
    """The bits of a list's picks. They are given as places and themes come up."""

    def __init__(
        self,
        regions: Iterable[str],
        countries_in: CountriesIn,
        themes: Iterable[str],
        under: ThemesUnder,
        *,
        by_theme: bool = False,
    ) -> None:
        """``regions`` and ``themes``: all there are, whether or not anybody picks them.

        ``by_theme``: whether headings name themes instead of places.
        """
        self._by_theme = by_theme
        self._countries_in = countries_in
        self._regions = {region: countries_in(region) for region in regions}
        self._themes = {theme: under(theme) for theme in themes}
        self._bits: dict[tuple[str, str], int] = {}

    def _bit(self, kind: str, code: str) -> int:
        bit = self._bits.get((kind, code))
        if bit is None:
            bit = self._bits[kind, code] = _FOLLOWS << 1 << len(self._bits)
        return bit

    def picks_mask(self, picks: Picks) -> int:
        """The mask of a profile."""
        mask = NUMBERS | (_FOLLOWS if any(map(self._countries_in, picks.regions)) or picks.countries else 0)
        for kind, codes in (("country", picks.countries), ("region", picks.regions), ("theme", picks.themes)):
            for code in codes:
                mask |= self._bit(kind, code)
        return mask

    def placeable(self, item: Item, number: int = 0) -> Placeable:
        """An item, ready to be placed for any number of masks; ``number``: among those that hits must tell apart."""
        here = concerned(item.countries, item.regions, self._countries_in)
        tags = frozenset(item.themes)
        regions = [region for region, countries in self._regions.items() if not here.isdisjoint(countries)]
        regions.sort(key=lambda region: (len(self._regions[region]), region))
        named = list(dict.fromkeys(item.countries))
        themes = sorted(tags.union(theme for theme, below in self._themes.items() if below & tags))
        reasons = (
            *(("country", "named", country) for country in named),
            *(("country", "near", country) for country in sorted(here.difference(named))),
            *(("region", "region", region) for region in regions),
            *(("theme", "theme", theme) for theme in themes),
        )
        meanings = {self._bit(of, code): (rank, kind, code) for rank, (of, kind, code) in enumerate(reasons)}
        countries = []
        for country in named:
            picks = self._bit("country", country)
            for region in regions:
                if country in self._regions[region]:
                    picks |= self._bit("region", region)
            countries.append((country, picks))
        # Who picks a theme picks what is below it.
        tagged = [
            (
                tag,
                sum(
                    self._bit("theme", theme) for theme in themes if theme == tag or tag in self._themes.get(theme, ())
                ),
            )
            for tag in item.themes
        ]
        mask = sum(meanings) | _FOLLOWS | number
        return Placeable(item, mask, meanings, countries, tagged, by_theme=self._by_theme)


Placed = TypeVar("Placed", bound=tuple[Any, ...])
"""A placing's ``relevance``, ``within`` and ``heading``, and more: a plain tuple, which is read and sorted fastest."""
_relevance, _within, _heading = itemgetter(0), itemgetter(1), itemgetter(2)


def arrange(placed: list[Placed], most: int) -> tuple[dict[str, list[Placed]], list[Placed]]:
    """Group by heading, that of the most relevant item first and what has none last; inside a group by ``within``.

    Gives those under each heading, and beyond the ``most`` most relevant ones the rest, in order of relevance.
    ``placed`` is put in another order.
    """
    placed.sort(key=_relevance, reverse=True)
    rest = placed[most:]
    del placed[most:]
    groups: dict[str, list[Placed]] = {heading: [] for heading in dict.fromkeys(map(_heading, placed))}
    placed.sort(key=_within)
    for one in placed:
        groups[one[2]].append(one)
    if "" in groups:
        groups[""] = groups.pop("")
    return groups, rest
