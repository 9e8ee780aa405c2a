"""Sign-up through another's form: double opt-in, proof kept, and one answer for every address."""

from __future__ import annotations

from typing import Any

import httpx
from house import House
from sqlalchemy import select

from newsletter.audience.addresses import parse_address
from newsletter.audience.suppressions import suppress
from newsletter.tables import consents, notices, profiles, subscribers, subscriptions

PATH = "/api/v1/lists/rutas/subscriptions"
CONSENT = {"wording": "Yes, send it.\nI can leave.", "source": "form", "page": "7", "ip": "203.0.113.7"}


def sign_up(api: httpx.Client, email: str = "ana@example.org", **values: Any) -> httpx.Response:
    return api.post(PATH, json={"email": email, "consent": CONSENT, **values})


def rows(house: House, table: Any) -> list[Any]:
    with house.engine.connect() as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key)))


def test_a_new_reader(both: House, api: httpx.Client) -> None:
    """Pending with what was picked; what they agreed to, where and for what is kept word for word."""
    answer = sign_up(
        api, name="Ana", language="es", timezone="America/Guatemala", countries=["Guatemala"], regions=["013"],
        themes=["children"], item_languages=["es"], frequency="weekly", weekday="tue", hour=0,
    )  # fmt: skip
    assert answer.status_code == 202
    (person,), (subscription,), (profile,) = rows(both, subscribers), rows(both, subscriptions), rows(both, profiles)
    assert (person.email, person.name, person.language, person.timezone) == (
        "ana@example.org",
        "Ana",
        "es",
        "America/Guatemala",
    )
    assert (subscription.state, subscription.frequency, subscription.weekday, subscription.hour) == (
        "pending",
        "weekly",
        1,
        0,
    )
    assert (profile.countries, profile.regions, profile.themes) == (["GT"], ["013"], ["children"])
    (consent,) = rows(both, consents)
    assert (consent.event, consent.source, consent.page) == ("asked", "form (token machine 0)", "7")
    assert (consent.wording, consent.network) == (CONSENT["wording"], "203.0.113.0/24")
    assert consent.picks["countries"] == ["GT"]
    assert len(consent.address_hash) == 64


def test_every_address_has_the_same_answer(house: House, api: httpx.Client) -> None:
    """New, pending, on the list, gone and suppressed addresses: not a byte differs. Only what is right is done."""
    active = house.subscribe("known@example.org")
    gone = house.subscribe("gone@example.org")
    house.set(gone, state="unsubscribed")
    with house.engine.begin() as connection:
        suppress(connection, house.settings.keys, parse_address("never@example.org").key, "complaint", house.now)
    answers = [
        sign_up(api, email)
        for email in (
            "new@example.org",
            "new@example.org",
            "Known@example.org",
            "gone@example.org",
            "never@example.org",
        )
    ]
    seen = {(answer.status_code, answer.content, *sorted({**answer.headers, "date": ""}.items())) for answer in answers}
    assert len(seen) == 1
    states = {row.subscriber_id: row.state for row in rows(house, subscriptions)}
    assert [*states.values()] == ["active", "pending", "pending"]
    assert len(rows(house, subscribers)) == 3
    asked = [(row.kind, row.subscriber_id) for row in rows(house, notices)]
    assert ("known", active) in asked
    sign_up(api, "known@example.org")
    assert [(row.kind, row.subscriber_id) for row in rows(house, notices)] == asked


def test_later_picks_hold(house: House, api: httpx.Client) -> None:
    """Who is not confirmed yet and signs up again with other picks gets those; who is confirmed keeps theirs."""
    sign_up(api, countries=["GT"])
    sign_up(api, countries=["HN"], hour=5)
    (row,) = rows(house, subscriptions)
    assert (row.state, row.hour) == ("pending", 5)
    house.set(row.id, state="active")
    sign_up(api, hour=6)
    assert rows(house, subscriptions)[0].hour == 5


def test_faults(house: House, api: httpx.Client) -> None:
    """Each field that is wrong is named; nobody is subscribed by it."""
    answer = sign_up(
        api, "no address", name="a\nb", language="xx", timezone="Guatemalla", countries=["Guatemalla"], regions=["?"],
        themes=["x"], item_languages=["1"], consent={"wording": "\x00", "source": "a\nb", "page": "\x01", "ip": "x"},
    )  # fmt: skip
    assert answer.status_code == 422
    assert {fault["pointer"] for fault in answer.json()["errors"]} == {
        *("/email", "/name", "/language", "/timezone", "/countries", "/regions", "/themes", "/item_languages"),
        *("/consent/wording", "/consent/source", "/consent/page", "/consent/ip"),
    }
    assert api.post(PATH, json={"email": "ana@example.org"}).json()["errors"] == [
        {"detail": "It is missing.", "pointer": "/consent"}
    ]
    for wrong in ({"hour": 24}, {"hour": True}, {"weekday": "lunes"}, {"frequency": "hourly"}, {"state": "active"}):
        assert sign_up(api, **wrong).status_code == 422
    assert sign_up(api, "x@" + "a" * 400).status_code == 422
    assert rows(house, subscribers) == []


def test_an_address_is_not_bombed(house: House, machine: Any) -> None:
    """By whatever tokens and our form together: five for an address in an hour, known or not; then 429 and when to
    come back, and nothing is written.
    """
    house.subscribe("known@example.org")
    first, second = machine(), machine()
    for email in ("known@example.org", "unknown@example.org"):
        assert first.post("/rutas", data={"email": email}).status_code == 303
        assert [sign_up(second, email.upper()).status_code for _ in range(4)] == [202] * 4
        before = len(rows(house, consents)), rows(house, notices)
        answer = sign_up(first, email)
        assert (answer.status_code, answer.headers["content-type"]) == (429, "application/problem+json")
        assert 0 < int(answer.headers["retry-after"]) <= 7200
        assert first.post("/rutas", data={"email": email}).status_code == 429
        assert (len(rows(house, consents)), rows(house, notices)) == before
    assert sign_up(first, "other@example.org").status_code == 202
