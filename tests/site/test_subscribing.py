"""Subscribing at the site: the page, what is sent, what nobody outside can tell, the preview, the welcome."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import sleep
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from commanding import KEY
from fastapi.testclient import TestClient
from house import House
from sqlalchemy import Engine, event, func, insert, select, update

from newsletter.audience.erasing import erase_subscriber
from newsletter.audience.forgetting import forget_sign_ups
from newsletter.audience.links import make_expiring
from newsletter.audience.lists import archive_list
from newsletter.audience.picks import Picks
from newsletter.catalogue.items import withdraw
from newsletter.catalogue.themes import Theme, add_themes
from newsletter.settings import Settings
from newsletter.tables import consents, lists, notices, profiles, subscribers, subscriptions
from subscribers.app import site_app

page_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what does not depend on the kind of database."""

PICKS = {
    "country": ["GT", "HN"],
    "region": "013",
    "theme": "protection",
    "language": "es",
    "frequency": "weekly",
    "weekday": "thu",
    "hour": "6",
    "timezone": "America/Guatemala",
}


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    return House(engine, settings).create(name="Rutas <b>", description="On the move")


@pytest.fixture
def site(house: House) -> Iterator[TestClient]:
    app = site_app(house.engine, house.settings, house.clock)
    with TestClient(app, base_url="https://news.example.org", follow_redirects=False) as client:
        yield client


def rows(house: House, table: Any) -> list[Any]:
    with house.engine.connect() as connection:
        return list(connection.execute(select(table).order_by(table.c.id)))


def apply(site: TestClient, email: str = "ana@example.org", **fields: Any) -> Any:
    return site.post("/rutas", data={"email": email, "lang": "en", **PICKS, **fields})


def test_subscribing(house: House, site: TestClient) -> None:
    """A form that was filled in makes a pending subscription with its picks; the answer leads to the inbox page."""
    answer = apply(site, name="Ana", lang="es")
    assert answer.status_code == 303
    assert "example" not in answer.headers["location"]
    (row,) = rows(house, subscriptions)
    (person,) = rows(house, subscribers)
    (profile,) = rows(house, profiles)
    assert (row.state, row.frequency, row.hour, row.weekday) == ("pending", "weekly", 6, 3)
    assert (person.email, person.name, person.language) == ("ana@example.org", "Ana", "es")
    assert person.timezone == "America/Guatemala"
    assert (profile.countries, profile.regions, profile.themes, profile.languages) == (
        *(["GT", "HN"], ["013"], ["protection"], ["es"]),
    )
    page = site.get(answer.headers["location"])
    assert "ana@example.org" in page.text
    assert 'lang="es"' in page.text
    assert "set-cookie" not in {*page.headers, *answer.headers}
    back = re.search(r'href="(/rutas\?country[^"]+)"', page.text)
    assert back
    query = parse_qs(urlsplit(back[1].replace("&amp;", "&")).query)
    assert query["country"] == ["GT", "HN"]
    (consent,) = rows(house, consents)
    assert consent.wording.startswith("Al suscribirse, acepta que Rutas le envíe Rutas <b>")
    assert consent.page.startswith("subscribe-es-")
    assert consent.picks["countries"] == ["GT", "HN"]
    assert consent.address_hash


@page_only
def test_a_list_that_lacks_the_language(house: House, site: TestClient) -> None:
    """A form in a language that the list does not come in says so, and which one its digests come in; the language of
    the form is kept as the reader's. One in a language of the list says nothing of it."""
    with house.engine.begin() as connection:
        connection.execute(update(lists).values(languages=["es", "en"]))
    for path in ("/rutas", "/rutas/embed"):
        told = site.get(path, params={"lang": "fr"}).text
        assert "Rutas &lt;b&gt; ne paraît pas en français" in told
        assert "en espagnol" in told
        for language in ("es", "en"):
            assert 'id="other-language"' not in site.get(path, params={"lang": language}).text
    apply(site, lang="fr")
    (person,) = rows(house, subscribers)
    assert person.language == "fr"


@page_only
def test_consent_to_a_list_of_its_own_name(house: House, site: TestClient) -> None:
    """A list that is called as its sender is named once; what the form says is what the consent keeps."""
    with house.engine.begin() as connection:
        connection.execute(update(lists).values(name="Rutas", sender_name="Rutas"))
    apply(site)
    (consent,) = rows(house, consents)
    assert consent.wording.startswith("By subscribing you agree to receive Rutas by mail, ")
    assert consent.wording in html.unescape(site.get("/rutas?lang=en").text)


def test_known_unknown_and_blocked_look_the_same(house: House, site: TestClient) -> None:
    """Who is on the list, has left, must not be mailed or filled in the trap gets the same answer as anybody."""
    known = house.subscribe("known@example.org")
    gone = house.subscribe("gone@example.org")
    house.set(gone, state="unsubscribed")
    pages = set()
    for email, fields in (
        *(("new@example.org", {}), ("known@example.org", {}), ("gone@example.org", {})),
        *(("new@example.org", {}), ("bot@example.org", {"website": "https://spam.example"})),
    ):
        answer = apply(site, email, **fields)
        assert answer.status_code == 303
        page = site.get(answer.headers["location"])
        pages.add((page.status_code, re.sub(r"/rutas/sent/\S+", "", page.text).replace(email, "X")))
    assert len(pages) == 1
    states = {row.id: row.state for row in rows(house, subscriptions)}
    assert states[known] == "active"
    assert states[gone] == "pending"
    assert "bot@example.org" not in {row.email for row in rows(house, subscribers)}
    assert [row.kind for row in rows(house, notices) if row.subscriber_id == 1] == ["known"]


def test_asking_again_before_confirming(house: House, site: TestClient) -> None:
    """Who asks again before confirming is asked to confirm what they picked last."""
    apply(site)
    apply(site, frequency="daily", theme="trade", timezone="UTC")
    (row,) = rows(house, subscriptions)
    assert (row.state, row.frequency) == ("pending", "daily")
    with house.engine.connect() as connection:
        found = connection.scalar(select(profiles.c.themes).where(profiles.c.id == row.profile_id))
    assert found == ["trade"]
    assert rows(house, subscribers)[0].timezone == "UTC"


@page_only
def test_a_form_changes_nobodys_language(house: House, site: TestClient) -> None:
    """Somebody else's form changes neither language nor zone of a reader who is there."""
    house.subscribe("ana@example.org")
    with house.engine.begin() as connection:
        columns = connection.execute(select(lists)).one()._asdict()
        connection.execute(insert(lists).values({**columns, "id": 99, "slug": "puentes"}))
    for path in ("/rutas", "/puentes", "/puentes"):
        answer = site.post(path, data={"email": "ana@example.org", "lang": "fr", "timezone": "Asia/Tokyo"})
        assert answer.status_code == 303
    assert [row.state for row in rows(house, subscriptions)] == ["active", "pending"]
    (person,) = rows(house, subscribers)
    assert (person.language, person.timezone) == ("en", "UTC")


@page_only
def test_send_again(house: House, site: TestClient) -> None:
    """The button on the inbox page asks again, and says so calmly; a changed or old page address opens nothing."""
    path = apply(site).headers["location"]
    answer = site.post(path)
    assert answer.status_code == 303
    assert "more than an hour" in site.get(answer.headers["location"]).text
    assert len(rows(house, subscriptions)) == 1
    for broken in (path[:-2], path + "x", path.replace("/sent/", "/sent/é"), "/rutas/sent/x"):
        assert site.get(broken).status_code == 404
    house.pass_time(hours=25)
    assert site.get(path).status_code == 404


@page_only
def test_errors_keep_what_was_entered(house: House, site: TestClient) -> None:
    """A form with an error comes back whole, says what is wrong at the top and at the field, and changes nothing."""
    for language, field, fields in (
        ("en", "email", {"email": ""}),
        ("es", "email", {"email": "ana@"}),
        ("fr", "email", {"email": "a@" + "b" * 400 + ".example"}),
        ("ar", "name", {"name": "x\ny"}),
        ("es", "hour", {"hour": "99"}),
        ("ar", "country", {"country": ["GT", "XX"]}),
    ):
        answer = apply(site, **{"lang": language, **fields})
        assert answer.status_code == 422
        assert f'lang="{language}"' in answer.text
        assert f'href="#{field}"' in answer.text
        assert f'id="{field}-error"' in answer.text
        assert 'value="GT" checked' in answer.text
        assert 'value="protection" checked' in answer.text
        assert 'value="weekly" checked' in answer.text
    assert rows(house, subscriptions) == []


@page_only
def test_a_form_with_an_error_in_another_language(site: TestClient) -> None:
    """The links to the page's other languages keep what was picked on a form that came back, and name nobody."""
    answer = apply(site, "ana@", name="Ana", lang="ar")
    for language in ("en", "es", "fr"):
        found = re.search(rf'href="(/rutas[^"]+)" lang="{language}"', answer.text)
        assert found
        address = found[1].replace("&amp;", "&")
        assert "ana" not in address.lower()
        page = site.get(address).text
        assert f'<html lang="{language}"' in page
        for value in ("GT", "HN", "013", "protection", "es", "weekly"):
            assert f'value="{value}" checked' in page


@page_only
def test_a_link_carries_picks(site: TestClient) -> None:
    """A link ticks what it names; the page is no one reader's, so that a browser may keep it."""
    page = site.get("/rutas", params={**PICKS, "lang": "es"})
    for value in ("GT", "HN", "013", "protection", "es", "weekly"):
        assert f'value="{value}" checked' in page.text
    assert "Suscríbase a Rutas &lt;b&gt;" in page.text
    assert page.headers["cache-control"] == "no-cache"
    assert len(site.get("/rutas?lang=ar").content) < 75_000
    compressed = site.get("/rutas?lang=ar", headers={"accept-encoding": "gzip"})
    assert int(compressed.headers["content-length"]) < 20_000


@page_only
def test_who_sees_which_list(house: House, site: TestClient) -> None:
    """Public lists are on the first page; others have no page, and an archived one says that it has ended."""
    assert "/rutas?lang=es" in site.get("/", headers={"accept-language": "es"}).text
    with house.engine.begin() as connection:
        connection.execute(update(lists).values(archived_at=house.now))
    assert "no newsletter" in site.get("/").text
    assert site.get("/rutas").status_code == 410
    assert apply(site).status_code == 410
    with house.engine.begin() as connection:
        connection.execute(update(lists).values(archived_at=None, is_public=False))
    assert site.get("/rutas").status_code == 404
    assert apply(site).status_code == 404
    assert site.get("/other").status_code == 404
    assert rows(house, subscriptions) == []


@page_only
def test_the_form_for_other_sites(house: House, site: TestClient) -> None:
    """Only the embeddable form may be framed; it carries the picks of its address and subscribes."""
    page = site.get("/rutas/embed?country=GT&theme=trade&lang=fr")
    assert "frame-ancestors *" in page.headers["content-security-policy"]
    assert 'name="country" value="GT"' in page.text
    assert "frame-ancestors 'none'" in site.get("/rutas").headers["content-security-policy"]
    answer = site.post("/rutas/embed", data={"email": "ana@example.org", "country": "GT", "lang": "fr"})
    sent = site.get(answer.headers["location"])
    assert "frame-ancestors *" in sent.headers["content-security-policy"]
    assert [row.state for row in rows(house, subscriptions)] == ["pending"]


@page_only
@pytest.mark.parametrize("page", ["", "/embed", "/preview"])
def test_what_was_left_out_is_said(site: TestClient, page: str) -> None:
    """Of a link that carries picks each page says what it cannot use: without it a reader gets everything, unaware."""
    query = "theme=protecton&country=ZZ&frequency=never&timezone=Mars/X"
    shown = html.unescape(site.get(f"/rutas{page}?{query}&lang=en").text)
    for sentence in (
        "There is no country or region “ZZ”. It was left out.",
        "This newsletter has no theme “protecton”. It was left out.",
        "“never” is not a choice. Please choose how often.",
        "We do not know the time zone “Mars/X”. Please choose one from the list.",
    ):
        assert sentence in shown
    assert 'class="error"' not in site.get(f"/rutas{page}?theme=protection&lang=en").text


@page_only
def test_a_frame_that_carries_a_wrong_pick(house: House, site: TestClient) -> None:
    """What another site's frame sends is refused with what was wrong, and once that was read, taken without it."""
    sent = {"email": "ana@example.org", "theme": "protecton", "country": "GT", "lang": "en"}
    answer = site.post("/rutas/embed", data=sent)
    assert (answer.status_code, rows(house, subscriptions)) == (422, [])
    assert "no theme “protecton”" in html.unescape(answer.text)
    assert 'name="theme"' not in answer.text
    assert 'name="country" value="GT"' in answer.text


def test_a_preview(house: House, site: TestClient) -> None:
    """The preview counts last week's items that fit, shows the mail in a frame of its own rules, and writes nothing."""
    one, *_ = house.publish("one", "two", countries=("GT",), themes=("children",), published_at=house.now)
    house.publish("other", countries=("EG",), published_at=house.now)
    house.publish("older", countries=("HN",), published_at=house.now - timedelta(days=10))

    def said(query: str) -> str:
        return re.sub(r"<[^>]+>", "", site.get(f"/rutas/preview?{query}").text)

    assert "2 items last week" in said("country=GT&theme=protection")
    assert "3 items last week" in said("")
    assert "1 item last week" in said("region=002")
    assert "Nothing last week, and 1 item" in said("country=HN")
    assert "nothing in the last four weeks" in said("country=FR")
    digest = site.get("/rutas/preview/digest?region=013&country=GT")
    assert "one" in digest.text
    assert "Guatemala" in digest.text
    assert "sandbox" in digest.headers["content-security-policy"]
    assert "frame-ancestors 'self'" in digest.headers["content-security-policy"]
    assert site.get("/rutas/preview/digest?country=FR").status_code == 404
    assert rows(house, profiles) == []
    with house.engine.begin() as connection:
        withdraw(connection, one, house.now)
    house.pass_time(seconds=3)
    assert "1 item last week" in said("country=GT")
    house.publish("three", countries=("GT",), published_at=house.now)
    house.pass_time(seconds=3)
    assert "2 items last week" in said("country=GT")


@page_only
def test_the_preview_button(house: House, site: TestClient) -> None:
    """Without scripts the preview's button leads to the preview of these picks, whose address names nobody."""
    answer = apply(site, preview="1")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/rutas/preview?country=GT")
    assert "email" not in answer.headers["location"]
    assert rows(house, subscriptions) == []


def token(house: House, reader: int, **lasts: int) -> str:
    return make_expiring(KEY, "confirm", reader, house.now + timedelta(**(lasts or {"days": 7})))


def test_confirming(house: House, site: TestClient) -> None:
    """The link shows a button, the button confirms, asks for the welcome mail; doing it twice is calm."""
    reader = house.subscribe("ana@example.org", Picks(countries=frozenset({"GT"})), due_at=None)
    path = f"/c/{token(house, reader)}"
    page = site.get(path)
    assert "Yes, subscribe me" in page.text
    assert "Guatemala" in page.text
    assert rows(house, subscriptions)[0].state == "pending"
    assert "Welcome to Rutas" in site.post(path).text
    assert rows(house, subscriptions)[0].state == "active"
    for again in (site.post(path), site.get(path)):
        assert "is confirmed" in again.text
    assert [row.kind for row in rows(house, notices)].count("welcome") == 1


@page_only
def test_an_expired_link(house: House, site: TestClient) -> None:
    """An expired link offers a new one, by POST, to the same address; one whose request vanished leads to the lists."""
    reader = house.subscribe("ana@example.org", due_at=None)
    old = token(house, reader, days=-1)
    for answer in (site.get(f"/c/{old}"), site.post(f"/c/{old}")):
        assert answer.status_code == 410
        assert "has expired" in answer.text
    assert rows(house, subscriptions)[0].state == "pending"
    assert "inbox" in site.post(f"/c/{old}/again").text
    assert "confirm" in [row.kind for row in rows(house, notices)]
    house.set(reader, state="active")
    assert "is confirmed" in site.get(f"/c/{old}").text
    gone = site.get(f"/c/{token(house, 99, days=-1)}")
    assert gone.status_code == 410
    assert 'href="/"' in gone.text


def test_many_at_once(house: House, site: TestClient) -> None:
    """The same address sent twice at the same time is one subscription."""
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: apply(site).status_code, range(4)))
    assert answers == [303] * 4
    with house.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(subscriptions)) == 1


@pytest.mark.parametrize("how", ["cancelled", "erased"])
def test_who_is_forgotten_at_this_moment(house: House, site: TestClient, how: str) -> None:
    """A sign-up for an address that is cancelled, or erased, while it comes is a new one: nothing of before is left."""
    before = house.subscribe("ana@example.org", due_at=None)
    with ThreadPoolExecutor(1) as other, house.engine.begin() as connection:
        if how == "cancelled":
            assert forget_sign_ups(connection, [before]) == 1
        else:
            erase_subscriber(connection, house.settings.keys, before, house.now)
        answer = other.submit(apply, site)
        sleep(0.5)
        assert not answer.done()
        connection.commit()
        assert answer.result(20).status_code == 303
    *gone, present = rows(house, subscriptions)
    assert (len(gone), present.state) == (how == "erased", "pending")
    for table in (consents, notices):
        assert [row.subscriber_id for row in rows(house, table)] == [present.subscriber_id]


def test_what_was_offered_a_moment_ago(house: House, site: TestClient) -> None:
    """A theme that was added just now can be picked, and a list that was archived just now takes nobody."""
    assert apply(site).status_code == 303
    with house.engine.begin() as connection:
        add_themes(connection, house.list_id, [Theme("water", {"en": "Water"}, None)])
    assert apply(site, "ben@example.org", theme="water").status_code == 303
    assert ["water"] in [row.themes for row in rows(house, profiles)]
    with house.engine.begin() as connection:
        archive_list(connection, "rutas", house.now)
    assert apply(site, "eva@example.org").status_code == 410
    assert len(rows(house, subscribers)) == 2


def test_a_sign_up_is_three_statements(house: House, site: TestClient) -> None:
    """On PostgreSQL: one to see how the address stands, one to put it on the list, one to ask for its mail."""
    apply(site)
    seen: list[str] = []
    event.listen(house.engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    assert apply(site, "ben@example.org", country="HN").status_code == 303
    assert len(seen) <= (3 if house.engine.dialect.name == "postgresql" else 7)
