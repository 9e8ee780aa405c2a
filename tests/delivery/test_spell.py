"""A spell of sending over several relays: what a connection leaves unsent, and relays that are paused meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from commanding import KEY
from house import House
from misbehaving import Misbehaving, misbehaving
from sqlalchemy import Engine

from newsletter.delivery import resting
from newsletter.delivery.relays import relays_of
from newsletter.settings import load_settings


@contextmanager
def served(engine: Engine, home: Path, relays: dict[str, tuple[Misbehaving, str]]) -> Iterator[House]:
    """A list that is sent through these relays: name → server and its options in the URL."""
    with ExitStack() as running:
        urls = []
        for name, (server, options) in relays.items():
            running.enter_context(misbehaving(server))
            urls.append(f"smtp://127.0.0.1:{server.port}?name={name}{options}")
        settings = load_settings(
            home=home,
            database_url=str(engine.url),
            smtp_url=" ".join(urls),
            base_url="https://news.example.org",
            secret_key=KEY,
        )
        yield House(engine, settings).create()


def test_unsent_messages_keep_their_relay(sqlite_engine: Engine, tmp_path: Path) -> None:
    """A relay that hangs up on each message after its fifth sends those by its next connection: another relay, which
    may carry them too, still gets no more than its weight and its rate allow."""
    first, second = Misbehaving(), Misbehaving(closes_after=5)
    relays = {"first": (first, "&weight=1&rate=1/day"), "second": (second, "&weight=99")}
    with served(sqlite_engine, tmp_path, relays) as house:
        house.publish("one", countries=("GT",))
        for number in range(100):
            house.subscribe(f"r{number}@example.org")
        house.tick()
        tally = house.send()
    assert tally.counts["sent"] == 100
    assert (len(first.accepted), len(second.accepted)) == (1, 99)


def test_paused_in_the_middle(sqlite_engine: Engine, tmp_path: Path) -> None:
    """A relay that is paused while messages go out gets nothing more from then on, no confirmation mail either."""

    def pause(number: int, recipient: str) -> str:
        if number == 5:
            with house.engine.begin() as connection:
                assert resting.pause(connection, relays_of(house.settings)[0], house.now)
            house.subscribe("late@example.org", due_at=None)
        return "ok"

    first, second = Misbehaving(), Misbehaving(mood=pause)
    with served(sqlite_engine, tmp_path, {"first": (first, ""), "second": (second, "&connections=1")}) as house:
        house.publish("one", countries=("GT",))
        for number in range(100):
            house.subscribe(f"r{number}@example.org")
        house.tick()
        house.send()
        before = len(first.accepted)
        house.send()
    assert "late@example.org" in [recipient for recipient, _ in second.accepted]
    assert "late@example.org" not in [recipient for recipient, _ in first.accepted]
    assert len(first.accepted) == before
