"""The order of a digest: grouped by country, most relevant first, each item once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from newsletter.digests.matching import (
    CountriesIn,
    Item,
    Picks,
    Reason,
    ThemesUnder,
    concerned,
    reason,
    relevance,
)


@dataclass(frozen=True, slots=True)
class Placed:
    """An item in its place in a reader's digest."""

    item: Item
    why: Reason
    heading: str
    """The country or region code it stands under; empty if it concerns none in particular."""
    rank: int
    """0 is the most relevant item of the digest."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What a digest shows, group by group, and the rest, which is only named."""

    groups: tuple[tuple[str, tuple[Placed, ...]], ...]
    rest: tuple[Placed, ...]


def arrange(
    items: Sequence[Item], picks: Picks, countries_in: CountriesIn, themes_under: ThemesUnder, most: int
) -> Arrangement:
    """Group by country, that of the most relevant item first; inside a group by theme, then newest first.

    Beyond the ``most`` most relevant items, the rest keeps the order of relevance.
    """
    reasons = {item.id: reason(item, picks, countries_in, themes_under) for item in items}
    by_relevance = sorted(items, key=lambda item: (relevance(item, reasons[item.id]), item.position), reverse=True)
    followed = concerned(picks.countries, picks.regions, countries_in)
    placed = [Placed(item, reasons[item.id], _heading(item, followed), rank) for rank, item in enumerate(by_relevance)]
    groups: dict[str, list[Placed]] = {}
    for entry in placed[:most]:
        groups.setdefault(entry.heading, []).append(entry)
    return Arrangement(
        tuple((heading, tuple(sorted(entries, key=_theme_then_date))) for heading, entries in groups.items()),
        tuple(placed[most:]),
    )


def _heading(item: Item, followed: frozenset[str]) -> str:
    """The first country of the item that the reader follows; a regional item stands under its region."""
    for country in item.countries:
        if not followed or country in followed:
            return country
    return next(iter((*item.regions, *item.countries)), "")


def _theme_then_date(entry: Placed) -> tuple[str, float, int]:
    themes = entry.why.themes or entry.item.themes
    first = next((theme for theme in entry.item.themes if theme in themes), next(iter(themes), ""))
    return first, -entry.item.published_at.timestamp(), -entry.item.position
