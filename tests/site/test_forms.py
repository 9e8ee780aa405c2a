"""Programs at the sign-up form: they are answered like everybody, and nothing is done."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest
from commanding import KEY
from house import House
from rawly import FORM, Raw, Wire
from sqlalchemy import Engine, select

from newsletter.settings import load_settings
from newsletter.tables import subscribers
from subscribers.forms import guard_token, is_marked, looks_automated, made_at

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
KEYS = ("new" * 20, "old" * 20)


@pytest.fixture
def house(sqlite_engine: Engine, tmp_path: Path) -> House:
    settings = load_settings(home=tmp_path / "home", base_url="https://news.example.org", secret_key=KEY)
    return House(sqlite_engine, settings).create()


def readers(house: House) -> list[str]:
    with house.engine.connect() as connection:
        return list(connection.scalars(select(subscribers.c.email)))


def test_a_mark_says_when_the_page_was_made() -> None:
    """Under any key that still verifies; what is changed, too old or from the future marks nothing."""
    marked = [("moment", guard_token(KEYS[1:], NOW))]
    assert made_at(KEYS, marked) == NOW
    assert is_marked(KEYS, marked, NOW + timedelta(hours=23))
    for pairs, now in (
        (marked, NOW + timedelta(hours=25)),
        (marked, NOW - timedelta(minutes=1)),
        ([("moment", guard_token(("x" * 40,), NOW))], NOW),
        ([("moment", marked[0][1].replace("1", "2", 1))], NOW),
        ([("moment", "\udcff")], NOW),
        ([("moment", "9" * 400)], NOW),
        ([("moment", object())], NOW),
        ([], NOW),
    ):
        assert not is_marked(KEYS, pairs, now)


def test_who_looks_automated() -> None:
    """Whoever fills in what nobody sees, or answers within a second; a form of another site is neither."""
    pairs = [("moment", guard_token(KEYS, NOW))]
    assert looks_automated(KEYS, pairs, NOW + timedelta(milliseconds=300))
    assert not looks_automated(KEYS, pairs, NOW + timedelta(seconds=2))
    assert not looks_automated(KEYS, [("email", "a@b.example")], NOW)
    assert not looks_automated(KEYS, [("website", "")], NOW)
    assert looks_automated(KEYS, [("website", "https://spam.example"), *pairs], NOW + timedelta(hours=1))


@pytest.mark.parametrize("page", ["/rutas", "/rutas/embed"])
def test_programs_are_answered_like_everybody(house: House, wire: Wire, page: str) -> None:
    """The same status, address and headers; only the person is signed up."""
    found = re.search(r'name="moment" value="([^"]+)"', wire("GET", page).text)
    assert found

    def send(email: str, **fields: str) -> Raw:
        body = urlencode({"email": email, "moment": found[1], "website": "", **fields}).encode()
        return wire("POST", page, [("content-type", FORM)], body)

    house.now += timedelta(milliseconds=200)
    fast = send("fast@example.org")
    house.pass_time(minutes=1)
    trapped, person = send("trap@example.org", website="x"), send("ana@example.org")
    assert readers(house) == ["ana@example.org"]
    for automated in (fast, trapped):
        assert automated.status == person.status == 303
        assert [name for name, _ in automated.headers] == [name for name, _ in person.headers]
        shown = [wire("GET", answer.header("location")).text for answer in (automated, person)]
        shown = [re.sub(r"\w+@example.org", "", text) for text in shown]
        assert shown[0] == shown[1]
