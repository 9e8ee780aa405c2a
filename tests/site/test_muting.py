"""Muting: by the link in every digest a reader leaves out countries, regions and themes, and never gets more by it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient
from house import House
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from test_preferences import COUNTRIES, REGIONS, saved, words

from newsletter.audience.links import make_token
from newsletter.audience.lists import archive_list
from newsletter.audience.picks import Picks
from newsletter.catalogue.geography import countries_in
from newsletter.catalogue.themes import Theme
from newsletter.languages import LANGUAGES
from newsletter.settings import Settings
from newsletter.tables import consents
from subscribers.muting import without

PICKS = Picks(frozenset({"CO"}), frozenset({"013"}), frozenset({"trade", "protection"}), frozenset({"es"}))


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    return House(engine, settings).create(name="Rutas <b>")


@pytest.fixture
def reader(house: House) -> int:
    return house.subscribe("ana@example.org", PICKS)


def path(house: House, number: int) -> str:
    return "/p/" + make_token(house.settings.key, "preferences", number) + "/mute"


def offered(page: str) -> set[tuple[str, str]]:
    return set(re.findall(r'type="checkbox" name="(\w+)" value="([^"]*)">', page))


def events(house: House) -> list[Any]:
    with house.engine.connect() as connection:
        return list(connection.execute(select(consents).where(consents.c.source != "test").order_by(consents.c.id)))


def test_what_can_be_left_out(house: House, site: TestClient, reader: int) -> None:
    """The page has a box for each pick, each country of a picked region and each theme below a picked one, all open."""
    before = saved(house, reader), events(house)
    page = site.get(path(house, reader)).text
    expected = {
        ("country", "CO"),
        ("region", "013"),
        *(("theme", slug) for slug in ("trade", "protection", "children")),
    }
    assert offered(page) == expected | {("country", code) for code in countries_in("013")}
    assert "checked" not in page
    assert "Rutas &lt;b&gt;" in page
    assert (saved(house, reader), events(house)) == before


def test_leaving_out(house: House, site: TestClient, reader: int) -> None:
    """The button takes away what was ticked and nothing else; a region without one of its countries is the others."""
    answer = site.post(path(house, reader), data={"country": ["GT", "CO"], "theme": "trade"})
    assert answer.status_code == 200
    assert "Themes Left out: Trade" in words(answer.text)
    row = saved(house, reader)
    assert (set(row["countries"]), row["regions"]) == (countries_in("013") - {"GT", "CO"}, [])
    assert (row["themes"], row["languages"], row["frequency"]) == (["protection"], ["es"], "daily")
    event = events(house)[-1]
    assert (event.event, event.wording, event.picks["themes"]) == ("changed", "Stop following", ["protection"])
    assert re.fullmatch(r"mute [0-9a-f]{12}", event.page)
    again = site.post(path(house, reader), data={"country": ["GT", "CO"], "theme": "trade"})
    assert (again.status_code, "Nothing has changed" in again.text, len(events(house))) == (200, True, 1)


@pytest.mark.parametrize(
    "ticked",
    [
        {"country": "CO", "region": "013"},
        {"region": "013", "country": ["CO", "GT"]},
        {"country": ["CO", *countries_in("013")]},
        {"theme": ["trade", "protection"], "country": "CO"},
    ],
)
def test_nothing_left_is_not_everything(
    house: House, site: TestClient, reader: int, ticked: dict[str, str | list[str]]
) -> None:
    """With the last place or theme gone everything would come: nothing is saved, a break or leaving is offered."""
    answer = site.post(path(house, reader), data=ticked)
    assert (answer.status_code, "you would get everything" in answer.text) == (422, True)
    assert (path(house, reader).removesuffix("/mute") + "/pause") in answer.text
    assert 'href="/u/' in answer.text
    row = saved(house, reader)
    assert (row["countries"], row["regions"], row["themes"]) == (["CO"], ["013"], ["protection", "trade"])
    assert events(house) == []


def test_nothing_ticked(house: House, site: TestClient, reader: int) -> None:
    """Nothing ticked, or only what does not exist, is said, and nothing is saved."""
    for sent in ({}, {"country": ["QQ", "013"], "theme": "astrology", "region": "GT\u202e"}):
        answer = site.post(path(house, reader), data=sent)
        assert (answer.status_code, "Please tick at least one" in answer.text) == (422, True)
    assert events(house) == []


def test_who_follows_everything(house: House, site: TestClient) -> None:
    """Who has picked nothing in particular is told so, and where to pick."""
    for number, (picks, said) in enumerate(
        (
            (Picks(), "You follow everything"),
            (Picks(themes=frozenset({"trade"})), "You follow all countries"),
            (Picks(countries=frozenset({"GT"})), "You follow all themes"),
        )
    ):
        link = path(house, house.subscribe(f"reader{number}@example.org", picks))
        page = site.get(link).text
        assert said in page
        assert f'href="{link.removesuffix("/mute")}"' in page
        assert len(offered(page)) == len(picks.countries | picks.themes)


def test_where_there_is_nothing_to_leave_out(house: House, site: TestClient, reader: int) -> None:
    """Who left, and the readers of an archived list, come to the page that says so; no other token opens this one."""
    house.set(reader, state="unsubscribed", due_at=None)
    link = path(house, reader)
    for answer in (site.get(link, params={"lang": "es"}), site.post(link, data={"country": "CO"})):
        assert (answer.status_code, answer.headers["location"][:3]) == (303, "/p/")
    house.set(reader, state="active")
    with house.engine.begin() as connection:
        archive_list(connection, "rutas", house.now)
    assert site.get(link).status_code == 303
    assert events(house) == []
    wrong = "/p/" + make_token(house.settings.key, "unsubscribe", reader) + "/mute"
    assert (site.get(wrong).status_code, site.post(wrong).status_code) == (404, 404)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_links_of_a_digest(house: House, site: TestClient, language: str) -> None:
    """Each link at the end of a digest, in HTML and in text, opens its page, and opening it changes nothing."""
    number = house.subscribe("eva@example.org", PICKS, language=language)
    house.publish("one", countries=("GT",), themes=("trade",))
    before = saved(house, number)
    links = {"/p/" + make_token(house.settings.key, "preferences", number) + rest for rest in ("", "/mute")} | {
        "/u/" + make_token(house.settings.key, "unsubscribe", number) + rest for rest in ("", "/less")
    }
    for link in links:
        assert site.get(link).status_code == 200
    assert saved(house, number) == before


def places(picks: Picks) -> frozenset[str]:
    if not picks.countries and not picks.regions:
        return countries_in("001")
    return picks.countries.union(*(countries_in(region) for region in picks.regions))


@given(
    st.frozensets(st.sampled_from(COUNTRIES), min_size=1, max_size=5),
    st.frozensets(st.sampled_from(REGIONS), max_size=3),
    st.frozensets(st.sampled_from("abc"), min_size=1),
    st.data(),
)
def test_never_more(countries: frozenset[str], regions: frozenset[str], themes: frozenset[str], data: Any) -> None:
    """Whatever is ticked, what is followed afterwards was followed before, without the countries that were ticked."""
    tree = {slug: Theme(slug, {}, None) for slug in "abc"}
    before = Picks(countries, regions, themes)
    ticked = {
        "countries": data.draw(st.lists(st.sampled_from(sorted(places(before))), max_size=4)),
        "regions": data.draw(st.lists(st.sampled_from(sorted(regions)), max_size=3)) if regions else [],
        "themes": data.draw(st.lists(st.sampled_from(sorted(themes)), max_size=3)),
    }
    left = without(before, tree, **ticked)
    if left is None:
        return
    assert places(left) <= places(before) - set(ticked["countries"])
    assert left.themes == themes - set(ticked["themes"])
    assert left.themes
    assert not left.regions & set(ticked["regions"])
