"""Leaving countries, regions and themes out of picks: what a page or a link proposes, and its reader may save. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from newsletter.audience.picks import Picks
from newsletter.catalogue.geography import WORLD, countries_in
from newsletter.catalogue.themes import Vocabulary, descendants
from subscribers.choices import ANTARCTICA, CONTINENTS


def without(
    picks: Picks,
    vocabulary: Vocabulary,
    *,
    countries: Collection[str] = (),
    regions: Collection[str] = (),
    themes: Collection[str] = (),
) -> Picks | None:
    """The same picks but for all of these. A region is left out as the pick that it is: what else was picked stays.

    None if nothing would be left of the places or of the themes, which would mean all.
    """
    kept = picks.regions - frozenset(regions)
    if picks.regions and not kept and not picks.countries:
        return None
    left: Picks | None = replace(picks, regions=kept)
    for code in countries:
        left = left and without_country(left, code)
    for slug in themes:
        left = left and without_theme(left, vocabulary, slug)
    return left


def without_country(picks: Picks, code: str) -> Picks | None:
    """The same picks but for one country: a region that holds it becomes what is left of that region.

    None if nothing would be left, which would mean all.
    """
    if not picks.countries and not picks.regions:
        picks = Picks(regions=frozenset({WORLD}), themes=picks.themes, languages=picks.languages)
    countries, regions = set(picks.countries - {code}), set()
    for region in picks.regions:
        left = set(_without(region, code))
        regions |= {place for place in left if place.isdigit()}
        countries |= {place for place in left if not place.isdigit()}
    if not countries and not regions:
        return None
    return Picks(frozenset(countries), frozenset(regions), picks.themes, picks.languages)


def _without(region: str, code: str) -> Iterable[str]:
    """The places that a region without a country consists of, as large as the form has them."""
    if code not in countries_in(region):
        yield region
    elif region == WORLD:
        for continent in CONTINENTS:
            yield from _without(continent, code)
        yield from {ANTARCTICA} - {code}
    elif region in CONTINENTS:
        for part in CONTINENTS[region]:
            yield from _without(part, code)
    else:
        yield from countries_in(region) - {code}


def without_theme(picks: Picks, vocabulary: Vocabulary, slug: str) -> Picks | None:
    """The same picks but for one theme and those below it: a theme above it becomes its other parts.

    None if nothing would be left, which would mean all.
    """
    chosen = picks.themes or {theme.slug for theme in vocabulary.values() if theme.parent not in vocabulary}
    left = {part for theme in chosen for part in _spared(vocabulary, theme, slug)}
    return Picks(picks.countries, picks.regions, frozenset(left), picks.languages) if left else None


def _spared(vocabulary: Vocabulary, theme: str, slug: str) -> Iterable[str]:
    if theme == slug or theme in descendants(vocabulary, slug):
        return
    if theme not in vocabulary or slug not in descendants(vocabulary, theme):
        yield theme
        return
    for part in vocabulary.values():
        if part.parent == theme:
            yield from _spared(vocabulary, part.slug, slug)
