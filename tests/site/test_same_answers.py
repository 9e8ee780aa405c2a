"""Nobody learns at a form, or by the interface for machines, whether an address is known."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from commanding import KEY
from house import House
from rawly import FORM, Raw, Wire
from sqlalchemy import Engine, event

from newsletter.audience.suppressions import suppress
from newsletter.machines.tokens import SCOPES, create_token
from newsletter.settings import load_settings
from subscribers import timing


class Clock:
    """Stands still but for what is done and slept."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


MOST = 14
"""Statements of the longest way: a few milliseconds, and the answer comes after 50 (``timing``) or 150."""
WHO = ("nobody", "waiting", "active", "gone", "barred")


@pytest.fixture
def house(sqlite_engine: Engine, tmp_path: Path) -> House:
    """With an address in each state, and one that must not be mailed."""
    settings = load_settings(home=tmp_path / "home", base_url="https://news.example.org", secret_key=KEY)
    made = House(sqlite_engine, settings).create()
    for who, state in (("waiting", "pending"), ("active", "active"), ("gone", "unsubscribed")):
        made.set(made.subscribe(f"{who}@example.org"), state=state, due_at=None)
    with sqlite_engine.begin() as connection:
        suppress(connection, settings.keys, "barred@example.org", "bounce", made.now)
    return made


@pytest.fixture
def statements(house: House) -> Iterator[list[str]]:
    """What was put to the database."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(house.engine, "before_cursor_execute", note)
    yield seen
    event.remove(house.engine, "before_cursor_execute", note)


def shape(answer: Raw, email: str) -> str:
    """An answer without what is sealed or signed, and without the address, which each of them repeats."""
    plain = re.sub(r"sent/[\w-]+", "sent/", repr((answer.status, answer.headers, answer.body)))
    plain = re.sub(r"('content-length', ')\d+|(name=\"moment\" value=\")[^\"]+", r"\1\2", plain)
    return plain.replace(email, "")


def alike(ask: Callable[[str], list[Raw]], statements: list[str]) -> dict[str, int]:
    """Ask for each address; every answer is the same. How many statements each took."""
    shapes, counts = set(), {}
    for who in WHO:
        email = f"{who}@example.org"
        statements.clear()
        answers = ask(email)
        counts[who] = len(statements)
        shapes.add("".join(shape(answer, email) for answer in answers))
    assert len(shapes) == 1
    return counts


@pytest.mark.parametrize("page", ["/rutas", "/rutas/embed"])
def test_signing_up(wire: Wire, statements: list[str], page: str) -> None:
    """Status, headers and the page that follows are the same, in every state."""

    def ask(email: str) -> list[Raw]:
        answer = wire("POST", page, [("content-type", FORM)], urlencode({"email": email}).encode())
        assert answer.status == 303
        return [answer, wire("GET", answer.header("location"))]

    assert max(alike(ask, statements).values()) <= MOST


def test_a_link_to_the_account(wire: Wire, statements: list[str]) -> None:
    """Status, headers and page are the same, and so, but for one, is the number of statements put to the database."""

    def ask(email: str) -> list[Raw]:
        return [wire("POST", "/account", [("content-type", FORM)], urlencode({"email": email}).encode())]

    counts = alike(ask, statements).values()
    assert max(counts) - min(counts) <= 1


def test_machines(house: House, wire: Wire, statements: list[str]) -> None:
    """So it is for the interface for machines."""
    with house.engine.begin() as connection:
        token = create_token(connection, "site", SCOPES, None, house.now)
    headers = [("authorization", f"Bearer {token}"), ("content-type", "application/json")]

    def ask(email: str) -> list[Raw]:
        body = {"email": email, "consent": {"wording": "I agree.", "source": "our site"}}
        answer = wire("POST", "/api/v1/lists/rutas/subscriptions", headers, json.dumps(body).encode())
        assert answer.status == 202
        return [answer]

    assert max(alike(ask, statements).values()) <= MOST


@pytest.mark.parametrize("milliseconds", [1, 5, 20, 49])
def test_the_time_tells_nothing(monkeypatch: pytest.MonkeyPatch, milliseconds: int) -> None:
    """However long the work took, the answer comes 50 ms after it began; whoever is known or not."""
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    monkeypatch.setattr(timing.asyncio, "sleep", clock.sleep)

    def work() -> str:
        clock.now += milliseconds / 1000
        return "done"

    assert asyncio.run(timing.evenly(work)) == "done"
    assert clock.now == pytest.approx(0.05)
