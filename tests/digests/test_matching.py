"""Matching by bits says what matching one by one would say."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from newsletter.audience.picks import Picks
from newsletter.catalogue.geography import countries_in
from newsletter.digests.arranging import arrange
from newsletter.digests.matching import Index, Item, reason

CHILDREN = {"protection": {"children", "trafficking"}, "health": {"mental"}}
COUNTRIES = ("GT", "HN", "MX", "CA", "FR", "SN")
REGIONS = ("013", "021", "019", "150", "001")
THEMES = ("protection", "children", "trafficking", "health", "mental")
LANGUAGES = ("en", "es", "fr")


def under(slug: str) -> frozenset[str]:
    return frozenset({slug, *CHILDREN.get(slug, ())})


def some(values: tuple[str, ...], most: int = 3) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), max_size=most, unique=True)


@st.composite
def item_lists(draw: st.DrawFn) -> list[Item]:
    return [
        Item(
            n + 1,
            n * 2 + 1,
            f"t{n}",
            "s",
            None,
            draw(st.sampled_from(LANGUAGES)),
            "",
            datetime(2026, 1, draw(st.integers(1, 28)), tzinfo=UTC),
            tuple(draw(some(COUNTRIES))),
            tuple(draw(some(REGIONS, 2))),
            tuple(draw(some(THEMES))),
        )
        for n in range(draw(st.integers(0, 12)))
    ]


picks = st.builds(
    Picks,
    countries=some(COUNTRIES).map(frozenset),
    regions=some(REGIONS, 2).map(frozenset),
    themes=some(THEMES).map(frozenset),
    languages=some(LANGUAGES).map(frozenset),
)


def fits(item: Item, wanted: Picks) -> bool:
    """The rule in words: design.md, *country, region* and *theme*."""
    here = set(item.countries) | {c for r in item.regions for c in countries_in(r)}
    followed = set(wanted.countries) | {c for r in wanted.regions for c in countries_in(r)}
    themes = {t for theme in wanted.themes for t in under(theme)}
    return (
        (not followed or bool(here & followed))
        and (not themes or bool(themes & set(item.themes)))
        and (not wanted.languages or item.language in wanted.languages)
    )


@given(item_lists(), picks, st.integers(0, 30))
def test_bits_agree_with_the_rule(found: list[Item], wanted: Picks, cursor: int) -> None:
    """An item is in the mask exactly if it fits the picks, and after the cursor exactly if its position is."""
    index = Index(found, countries_in, under)
    mask = index.fitting(wanted) & index.after(cursor)
    assert list(index.of(mask)) == [i for i in found if fits(i, wanted) and i.position > cursor]


@given(item_lists(), picks, st.integers(1, 15))
def test_each_item_once_and_why(found: list[Item], wanted: Picks, most: int) -> None:
    """A digest names each fitting item once, cards and rest together, with reasons among the reader's own picks."""
    fitting = [item for item in found if fits(item, wanted)]
    arrangement = arrange(fitting, wanted, countries_in, under, most)
    cards = [placed for _, group in arrangement.groups for placed in group]
    assert sorted(p.item.id for p in (*cards, *arrangement.rest)) == sorted(item.id for item in fitting)
    assert len(cards) == min(most, len(fitting))
    assert {p.rank for p in cards} == set(range(len(cards)))
    for placed in (*cards, *arrangement.rest):
        assert set(placed.why.places) <= wanted.countries | wanted.regions
        assert set(placed.why.themes) <= wanted.themes
        assert bool(placed.why.places) == bool(wanted.countries or wanted.regions)
        assert bool(placed.why.themes) == bool(wanted.themes)


def test_reason_names_country_before_region() -> None:
    """The closest pick is named first: the country itself, then the smaller region."""
    item = Item(1, 1, "t", "s", None, "en", "", datetime(2026, 1, 1, tzinfo=UTC), ("GT",), (), ("children",))
    wanted = Picks(frozenset({"GT"}), frozenset({"019", "013"}), frozenset({"protection"}))
    assert reason(item, wanted, countries_in, under).places == ("GT", "013", "019")
    assert reason(item, wanted, countries_in, under).themes == ("protection",)
