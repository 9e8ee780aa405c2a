"""Preferences: what a reader chooses is saved, said and proved; two tabs do not overwrite one another."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from commanding import KEY
from fastapi.testclient import TestClient
from house import House
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from newsletter.audience.erasing import erase
from newsletter.audience.links import make_token
from newsletter.audience.lists import archive_list
from newsletter.audience.picks import Picks
from newsletter.catalogue.geography import all_places, countries_in
from newsletter.catalogue.themes import Theme
from newsletter.settings import Settings, load_settings
from newsletter.tables import consents, profiles, subscribers, subscriptions
from subscribers.app import site_app
from subscribers.muting import without_country, without_theme

FIELDS = {
    "country": ["GT", "HN"],
    "theme": ["protection"],
    "language": ["en"],
    "frequency": "weekly",
    "weekday": "wed",
    "hour": "17",
    "timezone": "America/Guatemala",
    "page_language": "es",
    "name": "Ana María",
}


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    return House(engine, settings).create(name="Rutas <b>")


@pytest.fixture
def reader(house: House) -> int:
    return house.subscribe("ana@example.org", Picks(countries=frozenset({"GT"}), themes=frozenset({"trade"})))


def path(house: House, number: int) -> str:
    return "/p/" + make_token(house.settings.key, "preferences", number)


def saved(house: House, number: int) -> dict[str, Any]:
    with house.engine.connect() as connection:
        found = connection.execute(
            select(subscriptions, profiles, subscribers)
            .join(profiles, profiles.c.id == subscriptions.c.profile_id)
            .join(subscribers, subscribers.c.id == subscriptions.c.subscriber_id)
            .where(subscriptions.c.id == number)
        ).one()
    return dict(found._mapping)


def events(house: House) -> list[Any]:
    with house.engine.connect() as connection:
        return list(connection.execute(select(consents).order_by(consents.c.id)))


def version(page: str) -> str:
    (found,) = re.findall(r'name="version" value="([^"]*)"', page)
    return str(found)


def ticked(page: str, name: str) -> list[str]:
    return re.findall(rf'name="{name}" value="([^"]*)" checked', page)


def words(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_saving(house: House, site: TestClient, reader: int) -> None:
    """All that the form has is saved; the page says what is different, in the language that was chosen."""
    page = site.get(path(house, reader)).text
    assert (ticked(page, "country"), ticked(page, "theme")) == (["GT"], ["trade"])
    answer = site.post(path(house, reader), data={**FIELDS, "version": version(page)})
    assert answer.status_code == 200
    text = words(answer.text)
    assert '<html lang="es"' in answer.text
    for said in (
        "Sus preferencias están guardadas",
        "Añadido: Honduras",
        "Quitado: Trade",
        "Cada miércoles a las 17:00",
    ):
        assert said in text
    row = saved(house, reader)
    assert (row["countries"], row["themes"], row["languages"]) == (["GT", "HN"], ["protection"], ["en"])
    assert (row["frequency"], row["weekday"], row["hour"]) == ("weekly", 2, 17)
    assert (row["timezone"], row["language"], row["name"]) == ("America/Guatemala", "es", "Ana María")
    assert row["due_at"] == datetime(2026, 11, 25, 23, tzinfo=UTC)
    event = events(house)[-1]
    assert (event.event, event.wording, event.picks["countries"]) == ("changed", "Save", ["GT", "HN"])
    assert re.fullmatch(r"preferences [0-9a-f]{12}", event.page)
    assert event.address_hash


def test_saving_twice(house: House, site: TestClient, reader: int) -> None:
    """Sending the same again, as a reload does, changes nothing and is no conflict."""
    form = {**FIELDS, "version": version(site.get(path(house, reader)).text)}
    site.post(path(house, reader), data=form)
    count = len(events(house))
    answer = site.post(path(house, reader), data=form)
    assert (answer.status_code, "No ha cambiado nada" in answer.text) == (200, True)
    assert len(events(house)) == count


def test_two_tabs(house: House, site: TestClient, reader: int) -> None:
    """What was saved elsewhere is not overwritten unseen: both are shown, and only then the second can be saved."""
    first = second = version(site.get(path(house, reader)).text)
    form = {**FIELDS, "page_language": "en"}
    site.post(path(house, reader), data={**form, "version": first})
    other = {**form, "country": ["MX"], "version": second}
    answer = site.post(path(house, reader), data=other)
    assert answer.status_code == 409
    assert "Countries Saved now: Guatemala and Honduras Yours: Mexico" in words(answer.text)
    assert ticked(answer.text, "country") == ["MX"]
    assert saved(house, reader)["countries"] == ["GT", "HN"]
    assert site.post(path(house, reader), data={**other, "version": ""}).status_code == 409
    assert site.post(path(house, reader), data={**other, "version": version(answer.text)}).status_code == 200
    assert saved(house, reader)["countries"] == ["MX"]


def test_errors_beside_their_fields(house: House, site: TestClient, reader: int) -> None:
    """What cannot be used is said at its field, the rest is as it was sent, and nothing is saved."""
    page = site.get(path(house, reader)).text
    wrong = {"country": ["GT", "QQ"], "hour": "25", "timezone": "Mars/Olympus", "page_language": "xx", "name": "a\r\nb"}
    answer = site.post(path(house, reader), data={**FIELDS, **wrong, "version": version(page)})
    assert answer.status_code == 422
    for field in ("country", "hour", "timezone", "page_language", "name"):
        assert f'id="{field}-error"' in answer.text
    assert ticked(answer.text, "theme") == ["protection"]
    assert saved(house, reader)["frequency"] == "daily"


def test_counting_before_saving(house: House, site: TestClient, reader: int) -> None:
    """What waits is counted for the picks on the page, saved or not; looking saves nothing and settles no conflict."""
    house.publish("one", countries=("GT",), themes=("trade",))
    house.publish("two", "three", countries=("HN",), themes=("protection",))
    page = site.get(path(house, reader)).text
    assert "1 item waits for your next mail" in page
    form = {**FIELDS, "page_language": "en", "version": version(page), "do": "preview"}
    answer = site.post(path(house, reader), data=form)
    assert (answer.status_code, "2 items wait for your next mail" in answer.text) == (200, True)
    assert ticked(answer.text, "country") == ["GT", "HN"]
    assert version(answer.text) == version(page)
    assert saved(house, reader)["countries"] == ["GT"]


def test_muting(house: House, site: TestClient, reader: int) -> None:
    """A link that leaves a country or theme out opens the page with that change ready; only the button saves it."""
    house.set(reader, profile_id=_profile(house, Picks(regions=frozenset({"013"}))))
    page = site.get(path(house, reader), params={"mute_country": "gt", "mute_theme": "children"})
    assert "This is not saved yet" in page.text
    assert "GT" not in ticked(page.text, "country")
    assert set(ticked(page.text, "country")) == countries_in("013") - {"GT"}
    assert ticked(page.text, "theme") == ["trade"]
    assert saved(house, reader)["regions"] == ["013"]
    form = {**FIELDS, "country": ticked(page.text, "country"), "version": version(page.text)}
    assert site.post(path(house, reader), data=form).status_code == 200
    assert saved(house, reader)["countries"] == sorted(countries_in("013") - {"GT"})


def _profile(house: House, picks: Picks) -> int:
    return int(saved(house, house.subscribe("other@example.org", picks))["profile_id"])


def test_what_cannot_be_muted(house: House, site: TestClient, reader: int) -> None:
    """Nothing is offered that would turn into everything, or that is not followed; the page says why."""
    for query, said in (
        ({"mute_country": "GT"}, "Guatemala is the only one"),
        ({"mute_country": "HN"}, "You do not follow Honduras"),
        ({"mute_country": "013"}, "does not exist"),
        ({"mute_country": "<script>"}, "does not exist"),
        ({"mute_theme": "x" * 5000}, "does not exist"),
        ({"mute_theme": "protection"}, "You do not follow Protection"),
    ):
        answer = site.get(path(house, reader), params=query)
        assert (answer.status_code, said in answer.text) == (200, True)
        assert "This is not saved yet" not in answer.text


COUNTRIES = sorted(place for place in all_places() if not place.isdigit())
REGIONS = sorted(place for place in all_places() if place.isdigit())


@given(
    st.frozensets(st.sampled_from(COUNTRIES), max_size=5),
    st.frozensets(st.sampled_from(REGIONS), max_size=3),
    st.sampled_from(COUNTRIES),
)
def test_what_is_left_of_regions(countries: frozenset[str], regions: frozenset[str], country: str) -> None:
    """Without a country exactly the other countries are followed, whatever regions it was in."""

    def amount(places: frozenset[str], areas: frozenset[str]) -> frozenset[str]:
        return places.union(*(countries_in(area) for area in areas))

    before = amount(countries, regions or (frozenset() if countries else frozenset({"001"})))
    left = without_country(Picks(countries, regions), country)
    after = amount(left.countries, left.regions) if left else frozenset()
    assert after == before - {country}


def test_what_is_left_of_themes() -> None:
    """Without a theme, those above it become their other parts; without the last one nothing is offered."""
    tree = {s: Theme(s, {}, p) for s, p in (("a", None), ("b", "a"), ("c", "a"), ("d", "b"), ("e", "b"), ("f", None))}
    assert without_theme(Picks(), tree, "d") == Picks(themes=frozenset({"e", "c", "f"}))
    assert without_theme(Picks(themes=frozenset({"a"})), tree, "b") == Picks(themes=frozenset({"c"}))
    assert without_theme(Picks(themes=frozenset({"d"})), tree, "a") is None


def test_pausing_and_resuming(house: House, site: TestClient, reader: int) -> None:
    """A pause has an end, which the page names and can change; resuming ends it at once."""
    answer = site.post(path(house, reader) + "/pause", data={"until": "2026-12-24"})
    assert "Paused until December 24, 2026" in answer.text
    assert saved(house, reader)["paused_until"] == datetime(2026, 12, 24, tzinfo=UTC)
    assert site.post(path(house, reader) + "/pause", data={"until": "2026-01-01"}).status_code == 422
    for _ in range(2):
        assert "until" not in words(site.post(path(house, reader) + "/resume").text).partition("Next mail")[0]
    row = saved(house, reader)
    assert (row["state"], row["paused_until"]) == ("active", None)
    assert row["due_at"] > house.now
    assert [event.wording for event in events(house)[1:]] == [
        "Your subscription is paused. You will get no mail before December 24, 2026.",
        "Resume now",
    ]


def test_where_there_is_nothing_to_choose(house: House, site: TestClient, reader: int) -> None:
    """Who left, an archived list and an erased reader get a page without a form, and no button works."""
    link, form = path(house, reader), {**FIELDS, "version": version(site.get(path(house, reader)).text)}
    house.set(reader, state="unsubscribed", due_at=None)
    assert "You are not subscribed" in site.get(link).text
    house.set(reader, state="active")
    with house.engine.begin() as connection:
        archive_list(connection, "rutas", house.now)
    assert "has ended" in site.get(link, params={"mute_country": "GT"}).text
    assert (site.post(link, data=form).status_code, site.get(link).status_code) == (409, 200)
    with house.engine.begin() as connection:
        erase(connection, house.settings.keys, "ana@example.org", house.now)
    assert (site.post(link, data=form).status_code, site.get(link).status_code) == (404, 404)
    assert len(events(house)) == 0


def test_only_its_own_token(house: House, site: TestClient, reader: int, caplog: pytest.LogCaptureFixture) -> None:
    """No token of another purpose opens the page or its buttons, and no log line has a token or an address."""
    for purpose in ("unsubscribe", "confirm", "copy"):
        wrong = "/p/" + make_token(house.settings.key, purpose, reader)
        for method, rest in (("GET", ""), ("POST", ""), ("POST", "/pause"), ("POST", "/resume")):
            assert site.request(method, wrong + rest).status_code == 404
    with caplog.at_level("DEBUG"):
        site.post(path(house, reader), data=FIELDS)
    own = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "asyncio"))]
    assert not [line for line in own if "/p/" in line or "ana@" in line]


VALUES = st.text(max_size=12) | st.sampled_from(
    ["GT", "013", "001", "trade", "weekly", "sun", "23", "UTC", "en", "preview"]
)
NAMES = st.sampled_from([*FIELDS, "version", "do", "region", "x"])


@given(pairs=st.lists(st.tuples(NAMES, VALUES.map(lambda v: v.encode("utf-8", "replace").decode())), max_size=12))
@examples(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_form(hypothesis_site: tuple[TestClient, str], pairs: list[tuple[str, str]]) -> None:
    """Whatever a form holds, the answer is the page: saved, unchanged, or with what is wrong; NUL is turned away."""
    site, link = hypothesis_site
    sent: dict[str, list[str]] = {}
    for name, value in pairs:
        sent.setdefault(name, []).append(value)
    answer = site.post(link, data={"version": version(site.get(link).text), **sent})
    if any("\x00" in value for _, value in pairs):
        assert answer.status_code == 400
    else:
        assert answer.status_code in (200, 409, 422)
        assert 'name="version"' in answer.text


@pytest.fixture
def hypothesis_site(sqlite_engine: Engine, tmp_path: Path) -> tuple[TestClient, str]:
    house = House(sqlite_engine, load_settings(home=tmp_path, secret_key=KEY)).create()
    reader = house.subscribe("ana@example.org")
    return TestClient(site_app(house.engine, house.settings, house.clock), base_url="http://127.0.0.1"), path(
        house, reader
    )
