"""The account: only a fresh mailed link opens it; another address, all of one's data, erasure."""

from __future__ import annotations

import json
import quopri
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import sleep
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from house import House
from sqlalchemy import Connection, delete, select

from newsletter.audience import moving
from newsletter.audience.addresses import parse_address
from newsletter.audience.erasing import erase_subscriber
from newsletter.audience.links import make_expiring, make_token
from newsletter.audience.picks import Picks
from newsletter.audience.schedule import Schedule
from newsletter.audience.subscribers import subscribe
from newsletter.audience.suppressions import suppress, suppressed
from newsletter.delivery.notices import claim
from newsletter.errors import StateError
from newsletter.tables import address_changes, consents, metadata, notices, subscribers, subscriptions, suppressions
from subscribers.app import site_app


@pytest.fixture
def site(house: House) -> TestClient:
    return TestClient(site_app(house.engine, house.settings, house.clock), "http://localhost", follow_redirects=False)


@pytest.fixture
def person(house: House) -> int:
    """The number of a subscriber (and that of her one subscription)."""
    return house.subscribe("ana@example.org", name="Ana")


def account(house: House, number: int) -> str:
    return "/a/" + make_expiring(house.settings.key, "account", number, house.now + timedelta(hours=24))


def end(house: House, number: int) -> str:
    return "/address/" + make_expiring(house.settings.key, "address", number, house.now + timedelta(hours=24))


def rows(house: House, table: Any) -> list[Any]:
    with house.engine.connect() as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key)))


def contents(house: House) -> dict[str, list[Any]]:
    return {table.name: list(map(tuple, rows(house, table))) for table in metadata.sorted_tables}


def test_looking_is_inert(house: House, site: TestClient, person: int) -> None:
    """GET and HEAD change nothing, also where they bring the whole of somebody's data."""
    link = account(house, person)
    before = contents(house)
    for method in ("GET", "HEAD"):
        for path in ("/account", link, f"{link}/data", f"{link}/erase"):
            assert site.request(method, path).status_code == 200
        for path in (f"{link}/address", f"{link}/again"):
            assert site.request(method, path).status_code == 405
    assert contents(house) == before


def test_asking_for_a_link(house: House, site: TestClient, person: int) -> None:
    """Known, unknown and pestered addresses get the same answer; one mail an hour goes to the one that is known."""
    answers = [
        site.post("/account", data={"email": email})
        for email in ("ana@example.org", "ANA@example.org", "nobody@example.org", "bea@example.org")
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, answers[0].text)}
    assert "set-cookie" not in answers[0].headers
    assert [(row.kind, row.subscriber_id) for row in rows(house, notices)] == [("account", person)]
    robot = site.post("/account", data={"email": "ana@example.org", "website": "https://spam.example"})
    assert robot.text == answers[0].text
    for email in ("", "x", "a\r\nBcc: b@example.org", "a" * 5000 + "@example.org"):
        assert site.post("/account", data={"email": email}).status_code == 422
    assert site.post("/account", data={"email": "a@b\x00.example"}).status_code == 400


def test_asking_again_and_again(house: House, site: TestClient, person: int) -> None:
    """The fourth request for an address within an hour is refused calmly, known or not, and sends nothing."""
    for email in ("ana@example.org", "nobody@example.org"):
        answers = [site.post("/account", data={"email": email}) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert "retry-after" in answers[3].headers
    assert len(rows(house, notices)) == 1


def test_only_a_fresh_link_opens_it(house: House, site: TestClient, person: int) -> None:
    """Tokens of digests, and those that are older than a day, open nothing; the expired one brings a new mail."""
    link = account(house, person)
    for purpose in ("unsubscribe", "preferences", "confirm", "account"):
        token = make_token(house.settings.key, purpose, person)
        for path in (f"/a/{token}", f"/a/{token}/data", f"/a/{token}/erase"):
            assert site.get(path).status_code == 404
        assert site.post(f"/a/{token}/erase", data={"sure": "yes"}).status_code == 404
        assert site.post(f"/a/{token}/again").status_code == 404
    house.pass_time(hours=24, seconds=2)
    for method, path in (("GET", link), ("GET", f"{link}/data"), ("GET", f"{link}/erase"), ("POST", f"{link}/address")):
        answer = site.request(method, path, data={"email": "new@example.org"} if method == "POST" else None)
        assert (answer.status_code, "This link has expired" in answer.text) == (410, True)
        assert "ana@" not in answer.text
    assert site.post(f"{link}/erase", data={"sure": "yes"}).status_code == 410
    for _ in range(2):
        assert "on its way" in site.post(f"{link}/again").text
    assert [(row.kind, row.subscriber_id) for row in rows(house, notices)] == [("account", person)]


def test_all_of_ones_data(house: House, site: TestClient, person: int) -> None:
    """The download is a JSON file with what is kept, for nobody's cache."""
    answer = site.get(account(house, person) + "/data")
    data = json.loads(answer.text)
    assert data["subscriber"]["email"] == "ana@example.org"
    assert data["subscriptions"]
    assert data["consents"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-disposition"] == 'attachment; filename="newsletter-data.json"'
    assert answer.headers["cache-control"] == "no-store"


def test_another_address(house: House, site: TestClient, person: int) -> None:
    """Both ends confirm behind a button, in any order, again and again; then every list writes to the new address."""
    answer = site.post(account(house, person) + "/address", data={"email": "ana.new@example.org"})
    assert (answer.status_code, "ana.new@example.org" in answer.text) == (200, True)
    assert {row.kind for row in rows(house, notices)} == {"address_old", "address_new"}
    (change,) = rows(house, address_changes)
    old, new = end(house, 2 * change.id), end(house, 2 * change.id + 1)
    before = contents(house)
    assert "ana@example.org" not in site.get(new).text
    assert "ana.new@example.org" in site.get(old).text
    assert contents(house) == before
    for _ in range(2):
        assert "One more step" in site.post(new).text
    assert "One more step" in site.get(new).text
    assert rows(house, subscribers)[0].email == "ana@example.org"
    for _ in range(2):
        assert "Your address is changed" in site.post(old).text
    assert "Your address is changed" in site.get(new).text
    assert rows(house, subscribers)[0].email == "ana.new@example.org"
    event = rows(house, consents)[-1]
    assert (event.event, event.wording) == ("changed", "Yes, this is right")


def test_a_link_in_the_mailbox_that_was_left(house: House, site: TestClient, person: int) -> None:
    """Once the address has changed, a link that went to the old one opens nothing any more."""
    link = account(house, person)
    house.pass_time(minutes=1)
    site.post(f"{link}/address", data={"email": "ana.new@example.org"})
    change = rows(house, address_changes)[0].id
    assert [site.post(end(house, 2 * change + n)).status_code for n in (0, 1)] == [200, 200]
    house.pass_time(minutes=1)
    for path in (link, f"{link}/data", f"{link}/erase"):
        answer = site.get(path)
        assert (answer.status_code, "ana.new" in answer.text) == (410, False)
    assert site.post(f"{link}/erase", data={"sure": "yes"}).status_code == 410
    assert site.post(f"{link}/address", data={"email": "eve@example.org"}).status_code == 410
    assert rows(house, subscribers)[0].email == "ana.new@example.org"
    assert site.get(account(house, person)).status_code == 200


def test_ones_data_tell_nothing_of_others(house: House, site: TestClient, person: int) -> None:
    """Of an address that one asked for, one's data say the same, whoever it belongs to."""
    house.subscribe("ben@example.org")
    with house.engine.begin() as connection:
        suppress(connection, house.settings.keys, "cleo@example.org", "complaint", house.now)
    told = []
    for email in ("ben@example.org", "cleo@example.org", "free@example.org"):
        before = rows(house, notices)
        site.post(account(house, person) + "/address", data={"email": email})
        data = site.get(account(house, person) + "/data").json()
        told.append(
            ([notice["kind"] for notice in data["notices"][-1:]], data["address_changes"][-1]["email"] == email)
        )
        with house.engine.begin() as connection:
            connection.execute(delete(notices).where(notices.c.id.not_in([row.id for row in before])))
    assert told == [(["address_old"], True)] * 3


def test_what_is_no_new_address(house: House, site: TestClient, person: int) -> None:
    """Nonsense and one's own address are said at the field; the fourth change in an hour has to wait."""
    link = account(house, person) + "/address"
    for email, said in (("", "Enter your"), ("x y", "like name@"), ("ana@example.org", "already")):
        answer = site.post(link, data={"email": email})
        assert (answer.status_code, said in answer.text, 'id="email-error"' in answer.text) == (422, True, True)
    statuses = [site.post(link, data={"email": f"new{n}@example.org"}).status_code for n in range(4)]
    assert statuses == [200, 200, 200, 429]


def test_a_strangers_address(house: House, site: TestClient) -> None:
    """However many readers name it as their new one, it gets three mails an hour."""
    people = [house.subscribe(f"reader{n}@example.org") for n in range(3)]
    asked = [
        site.post(account(house, number) + "/address", data={"email": "Victim@example.net"}).status_code
        for number in people * 2
    ]
    assert asked == [200, 200, 200, 429, 429, 429]
    assert [row.email for row in rows(house, notices) if row.kind == "address_new"] == ["Victim@example.net"] * 3


def test_a_change_that_is_over(house: House, site: TestClient, person: int) -> None:
    """Links to a change that was replaced, is too old or never was say so, and nothing happens."""
    link = account(house, person) + "/address"
    site.post(link, data={"email": "one@example.org"})
    site.post(link, data={"email": "two@example.org"})
    first, second = rows(house, address_changes)
    for number in (2 * first.id, 2 * first.id + 1, 998, 999):
        assert site.post(end(house, number)).status_code == 410
    late = end(house, 2 * second.id + 1)
    site.post(end(house, 2 * second.id))
    house.pass_time(hours=24, seconds=2)
    assert [site.get(late).status_code, site.post(late).status_code] == [410, 410]
    for purpose in ("account", "confirm"):
        wrong = make_expiring(house.settings.key, purpose, 2 * second.id, house.now + timedelta(hours=1))
        assert site.post(f"/address/{wrong}").status_code == 404
    assert rows(house, subscribers)[0].email == "ana@example.org"


def test_erasing(house: House, site: TestClient, person: int) -> None:
    """The box has to be ticked; then nothing of the person is left but a hash, and the link says so ever after."""
    link = account(house, person)
    for sure in ({}, {"sure": ""}, {"sure": "no"}):
        answer = site.post(f"{link}/erase", data=sure)
        assert (answer.status_code, 'id="sure-error"' in answer.text) == (422, True)
    assert rows(house, subscribers)[0].erased_at is None
    for _ in range(2):
        answer = site.post(f"{link}/erase", data={"sure": "yes"})
        assert (answer.status_code, "Your data are erased" in answer.text) == (200, True)
    assert rows(house, consents) == []
    assert len(rows(house, suppressions)) == 1
    assert rows(house, subscriptions)[0].state == "unsubscribed"
    everything = repr(contents(house))
    assert not re.search("ana@|Ana", everything)
    for path in (link, f"{link}/data", f"{link}/erase"):
        assert "Your data are erased" in site.get(path).text
    assert "Your data are erased" in site.post(f"{link}/address", data={"email": "b@example.org"}).text
    site.post("/account", data={"email": "ana@example.org"})
    assert rows(house, notices) == []


@pytest.mark.parametrize("first", ["the change", "the erasure"])
def test_erasing_while_the_address_is_changed(house: House, site: TestClient, person: int, first: str) -> None:
    """Of a change of address that is asked for at the moment of erasure nothing is left, whichever comes first."""
    link = account(house, person)
    with ThreadPoolExecutor(1) as other, house.engine.begin() as connection:
        if first == "the change":
            moving.ask(connection, house.settings.keys, person, parse_address("ana.new@example.org"), house.now)
            waits = other.submit(site.post, f"{link}/erase", data={"sure": "yes"})
        else:
            erase_subscriber(connection, house.settings.keys, person, house.now)
            waits = other.submit(site.post, f"{link}/address", data={"email": "ana.new@example.org"})
        sleep(0.5)
        assert not waits.done()
        connection.commit()
        assert "Your data are erased" in waits.result(20).text
    assert [rows(house, table) for table in (address_changes, notices, consents)] == [[], [], []]


def test_back_after_erasure(house: House, site: TestClient, person: int) -> None:
    """Who was erased can sign up again: nothing but the mail that asks for it is sent until they confirm, nobody else
    can bring them back meanwhile, and after it they get digests as anybody does."""

    def barred() -> bool:
        with house.engine.connect() as connection:
            return bool(suppressed(connection, house.settings.keys, ["ana@example.org"]))

    site.post(f"{account(house, person)}/erase", data={"sure": "yes"})
    with house.engine.begin() as connection, pytest.raises(StateError):
        subscribe_at_once(connection, house)
    site.post("/rutas", data={"email": "ana@example.org", "lang": "en", "everything": "yes"})
    site.post("/account", data={"email": "ana@example.org"})
    again = rows(house, subscriptions)[-1]
    assert (again.state, barred()) == ("pending", True)
    with house.engine.begin() as connection:
        taken = claim(connection, house.settings, house.now)
    assert [(one.kind, one.email) for one in taken] == [("confirm", "ana@example.org")]
    link = re.search(r"/c/[\w.-]+", quopri.decodestring(taken[0].message.content).decode())
    assert link
    assert site.post(link[0]).status_code in (200, 303)
    assert (rows(house, subscriptions)[-1].state, barred()) == ("active", False)
    assert rows(house, subscribers)[-1].suppressed_at is None


def subscribe_at_once(connection: Connection, house: House) -> None:
    subscribe(
        connection,
        house.list_id,
        parse_address("ana@example.org"),
        Picks(),
        Schedule("daily", 8, 0),
        keys=house.settings.keys,
        name="",
        language="en",
        timezone="UTC",
        cursor=0,
        due_at=house.now,
        source="test",
        now=house.now,
    )


def test_every_state_in_every_language(house: House, site: TestClient) -> None:
    """Each page has its words in the language that its link names, and keeps to it."""
    for language in ("en", "es", "fr", "ar"):
        person = house.subscribe(f"{language}@example.org")
        for answer in every_state(house, site, person, f"?lang={language}"):
            assert f'<html lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}"' in answer.text
            actions = re.findall(r'<form[^>]+action="([^"]+)"', answer.text)
            assert all(action.endswith(f"?lang={language}") for action in actions)


def every_state(house: House, site: TestClient, person: int, lang: str) -> list[httpx.Response]:
    """The answers of every page and button of the account, of one person, in one language."""
    link = account(house, person)
    asked = site.post(f"{link}/address{lang}", data={"email": f"new{person}@example.org"})
    change = rows(house, address_changes)[-1].id
    answers = [
        site.get(f"/account{lang}"),
        site.post(f"/account{lang}", data={"email": "x"}),
        site.post(f"/account{lang}", data={"email": "who@example.org"}),
        site.get(link + lang),
        asked,
        *(site.get(end(house, number) + lang) for number in (2 * change, 2 * change + 1, 998)),
        site.post(end(house, 2 * change) + lang),
        site.post(end(house, 2 * change + 1) + lang),
        site.get(f"{link}/erase{lang}"),
        site.post(f"{link}/erase{lang}"),
    ]
    house.pass_time(hours=25)
    answers += [site.get(link + lang), site.post(f"{link}/again{lang}")]
    house.pass_time(hours=-25)
    answers.append(site.post(f"{link}/erase{lang}", data={"sure": "yes"}))
    return answers
