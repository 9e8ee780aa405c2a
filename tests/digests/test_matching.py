"""Matching by bits says what matching one by one would say."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from plainly import plain_arrange

from newsletter.audience.picks import Picks
from newsletter.catalogue.geography import countries_in
from newsletter.digests.arranging import Arranger, arrange
from newsletter.digests.matching import Index, Item

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


def arranged(
    items: list[Item], wanted: Picks, most: int, before: tuple[Picks, ...] = (), sections: str = "country"
) -> tuple[list[tuple[str, list[tuple[Item, tuple[str, ...], tuple[str, ...]]]]], list[Item]]:
    """By bits: what stands under each heading, with its reasons, and the rest. ``before``: profiles met earlier."""
    arranger = Arranger((*REGIONS, "002"), countries_in, THEMES, under, by_theme=sections == "theme")
    for picks in before:
        arranger.picks_mask(picks)
    ready = [(item, arranger.placeable(item)) for item in items]
    mask = arranger.picks_mask(wanted)
    placed = []
    for item, one in ready:
        placing = one.placing(mask & one.mask)
        placed.append((placing.relevance, placing.within, placing.heading, item, placing.places, placing.themes))
    groups, rest = arrange(placed, most)
    return [(heading, [one[3:] for one in cards]) for heading, cards in groups.items()], [one[3] for one in rest]


def fits(item: Item, wanted: Picks) -> bool:
    """The rule in words: docs/decisions/0009-matching.md."""
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


@given(item_lists(), picks, st.integers(1, 15), st.lists(picks, max_size=3), st.sampled_from(("country", "theme")))
def test_arranged_by_bits(found: list[Item], wanted: Picks, most: int, before: list[Picks], sections: str) -> None:
    """Bits put items in the order, under the headings and with the reasons that looking at each would give.

    By country and by theme; also those that fit no longer, as after an item was tagged anew, and whoever asked before.
    """
    groups, rest = plain_arrange(found, wanted, countries_in, under, most, sections)
    assert arranged(found, wanted, most, tuple(before), sections) == (
        [(heading, [(p.item, p.why.places, p.why.themes) for p in placed]) for heading, placed in groups],
        [p.item for p in rest],
    )


@given(item_lists(), picks, st.integers(1, 15))
def test_each_item_once_and_why(found: list[Item], wanted: Picks, most: int) -> None:
    """A digest names each fitting item once, cards and rest together, with reasons among the reader's own picks."""
    fitting = [item for item in found if fits(item, wanted)]
    groups, rest = arranged(fitting, wanted, most)
    cards = [card for _, group in groups for card in group]
    assert sorted([item.id for item, _, _ in cards] + [item.id for item in rest]) == sorted(i.id for i in fitting)
    assert len(cards) == min(most, len(fitting))
    for _, places, themes in cards:
        assert set(places) <= wanted.countries | wanted.regions
        assert set(themes) <= wanted.themes
        assert bool(places) == bool(wanted.countries or wanted.regions)
        assert bool(themes) == bool(wanted.themes)


def test_reason_names_country_before_region() -> None:
    """The closest pick is named first: the country itself, then the smaller region."""
    item = Item(1, 1, "t", "s", None, "en", "", datetime(2026, 1, 1, tzinfo=UTC), ("GT",), (), ("children",))
    wanted = Picks(frozenset({"GT"}), frozenset({"019", "013"}), frozenset({"protection"}))
    assert arranged([item], wanted, 1) == ([("GT", [(item, ("GT", "013", "019"), ("protection",))])], [])


def item(number: int, countries: tuple[str, ...], themes: tuple[str, ...]) -> Item:
    return Item(
        number, number, f"t{number}", "s", None, "en", "", datetime(2026, 1, number, tzinfo=UTC), countries, (), themes
    )


def test_sections_by_theme() -> None:
    """Headings are the items' own themes that the reader follows, also by a parent; under each, countries together;
    what has no theme comes last, however relevant it is.
    """
    found = [
        item(1, ("HN",), ("health", "trafficking")),
        item(2, ("GT",), ("trafficking",)),
        item(3, ("HN",), ("children",)),
        item(4, ("HN",), ("trafficking",)),
        item(5, ("GT", "HN"), ()),
    ]
    wanted = Picks(frozenset({"GT", "HN"}), frozenset(), frozenset({"protection"}))
    groups, _ = arranged(found, wanted, 10, sections="theme")
    numbers = [(heading, [card[0].id for card in cards]) for heading, cards in groups]
    assert numbers == [("trafficking", [2, 4, 1]), ("children", [3]), ("", [5])]
    everything = arranged(found, Picks(), 10, sections="theme")[0]
    assert [heading for heading, _ in everything] == ["trafficking", "children", "health", ""]


def test_no_country_comes_last() -> None:
    """Under countries, too, what concerns none of them is the last section, though it be the newest."""
    groups, _ = arranged([item(1, ("GT",), ()), item(2, (), ("health",))], Picks(), 10)
    assert [heading for heading, _ in groups] == ["GT", ""]
