"""The archive finds what digests would, page by page, whatever is published and withdrawn meanwhile."""

from __future__ import annotations

import pytest
from house import House
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, select

from newsletter.audience.picks import Picks
from newsletter.catalogue.geography import countries_in
from newsletter.catalogue.items import Draft, save_items, withdraw
from newsletter.catalogue.themes import all_themes, descendants
from newsletter.digests import archive
from newsletter.digests.archive import Archive, codes_in_use, wanted_of
from newsletter.digests.matching import Index
from newsletter.digests.runs import load_items
from newsletter.settings import Settings
from newsletter.tables import items

HYPOTHESIS = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
COUNTRIES, REGIONS = ("GT", "HN", "FR", "SN"), ("001", "013", "019", "150")
THEMES, LANGUAGES = ("protection", "children", "trade"), ("en", "es", "ar")


def some(values: tuple[str, ...], most: int = 2) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=most, unique=True).map(tuple)


drafts = st.builds(
    lambda number, **values: Draft(f"Item {number}", "Summary.", url=f"https://e.example/{number}", **values),
    number=st.integers(0, 10**9),
    language=st.sampled_from(LANGUAGES),
    countries=some(COUNTRIES),
    regions=some(REGIONS, 1),
    themes=some(THEMES),
)
picks = st.builds(
    Picks,
    countries=some(COUNTRIES).map(frozenset),
    regions=some(REGIONS).map(frozenset),
    themes=some(THEMES).map(frozenset),
    languages=some(LANGUAGES).map(frozenset),
)


@pytest.fixture
def house(engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> House:
    # So short that a dozen items lie in several.
    monkeypatch.setattr(archive, "FIRST_STRETCH", 3)
    monkeypatch.setattr(archive, "LONGER", 2)
    return House(engine, settings).create()


def opened(connection: Connection, house: House, chosen: Picks) -> Archive:
    return Archive(connection, house.list_id, wanted_of(chosen, all_themes(connection, house.list_id)))


def positions(page: archive.Page) -> list[int]:
    return [row.position for row in page.items]


def fitting(connection: Connection, house: House, chosen: Picks) -> list[int]:
    """What digests would choose, newest first."""
    vocabulary = all_themes(connection, house.list_id)
    found = load_items(connection, house.list_id, 0, 10**6)
    index = Index(found, countries_in, lambda slug: descendants(vocabulary, slug))
    return [item.position for item in index.of(index.fitting(chosen))][::-1]


@HYPOTHESIS
@given(st.lists(drafts, max_size=14), st.lists(picks, min_size=1, max_size=4), st.integers(0, 14))
def test_the_rule_of_digests(house: House, made: list[Draft], several: list[Picks], gone: int) -> None:
    """For any items and picks, an archive holds just what digests match, newest first, and counts it."""
    with house.engine.connect() as connection:
        save_items(connection, house.list_id, made, house.now)
        for number in connection.scalars(select(items.c.id).order_by(items.c.id)).all()[gone : gone + 2]:
            withdraw(connection, number, house.now)
        for chosen in several:
            found = opened(connection, house, chosen)
            expected = fitting(connection, house, chosen)
            assert positions(found.page(100)) == expected
            assert found.count() == len(expected)
            for place in (1, 5, 10):
                assert positions(found.page(3, before=place)) == [p for p in expected if p < place][:3]
                assert positions(found.page(3, after=place)) == [p for p in expected if p > place][-3:]
        connection.rollback()


@HYPOTHESIS
@given(
    st.lists(drafts, min_size=4, max_size=12, unique_by=lambda draft: draft.url),
    picks,
    st.lists(st.one_of(drafts, st.integers(0, 11)), max_size=6),
    st.integers(1, 4),
)
def test_pages_stay(house: House, made: list[Draft], chosen: Picks, happens: list[Draft | int], size: int) -> None:
    """Whoever leafs to the end sees each item that stays exactly once, and nothing that was withdrawn, although items
    are published and withdrawn between any two pages; leafing back shows the same and what is new."""
    with house.engine.connect() as connection:
        save_items(connection, house.list_id, made, house.now)
        ids = connection.execute(select(items.c.id, items.c.position).order_by(items.c.position)).all()
        there = fitting(connection, house, chosen)
        events, seen, withdrawn = iter(happens), [], set()
        page = opened(connection, house, chosen).page(size)
        while True:
            assert not withdrawn & {*positions(page)}
            seen += positions(page)
            event = next(events, None)
            if isinstance(event, int):
                number, position = ids[event % len(ids)]
                withdraw(connection, number, house.now)
                withdrawn.add(position)
            elif event is not None:
                save_items(connection, house.list_id, [event], house.now)
            if not page.older:
                break
            page = opened(connection, house, chosen).page(size, before=seen[-1])
        assert seen == sorted(set(seen), reverse=True)
        assert set(there) - withdrawn <= set(seen) <= set(there)
        now_there = fitting(connection, house, chosen)
        back: list[int] = []
        newest = seen[-1] - 1 if seen else 0
        while (page := opened(connection, house, chosen).page(size, after=newest)).items:
            back += reversed(positions(page))
            newest = back[-1]
            assert page.newer == (newest < now_there[0])
        assert back == [position for position in now_there[::-1] if not seen or position >= seen[-1]]
        connection.rollback()


def test_what_there_is_to_pick(house: House) -> None:
    """Only codes that an item which is still there carries; each once."""
    for number in range(4):
        house.publish(f"a{number}", countries=("GT", "HN"), themes=("trade",))
    (gone,) = house.publish("gone", countries=("FR",), themes=("children",), regions=("150",), language="fr")
    with house.engine.begin() as connection:
        withdraw(connection, gone, house.now)
        found = [codes_in_use(connection, house.list_id, kind) for kind in ("country", "region", "theme", "language")]
        assert codes_in_use(connection, house.list_id + 1, "country") == []
    assert found == [["GT", "HN"], [], ["trade"], ["en"]]


def test_counting_ends(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number it is only known that there are more."""
    monkeypatch.setattr(archive, "COUNTED", 5)
    house.publish(*(f"t{number}" for number in range(9)))
    with house.engine.connect() as connection:
        assert opened(connection, house, Picks()).count() == 6
