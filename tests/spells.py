"""Spells of sending over servers that misbehave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from commanding import KEY
from house import House
from misbehaving import Misbehaving, misbehaving
from sqlalchemy import Engine, insert, select, update

from newsletter.delivery import resting
from newsletter.delivery.relays import relays_of
from newsletter.settings import load_settings
from newsletter.tables import deliveries, lists, notices


@contextmanager
def served(
    engine: Engine, home: Path, relays: dict[str, tuple[Misbehaving, str]], redis_url: str = ""
) -> Iterator[House]:
    """A list that is sent through these relays: name → server and its options in the URL."""
    with ExitStack() as running:
        urls = []
        for name, (server, options) in relays.items():
            running.enter_context(misbehaving(server))
            urls.append(f"smtp://127.0.0.1:{server.port}?name={name}{options}")
        settings = load_settings(
            home=home,
            database_url=str(engine.url),
            redis_url=redis_url,
            smtp_url=" ".join(urls),
            base_url="https://news.example.org",
            secret_key=KEY,
        )
        yield House(engine, settings).create()


def fill(house: House, readers: int) -> None:
    """One item, and its delivery for each of these."""
    house.publish("one", countries=("GT",))
    for number in range(readers):
        house.subscribe(f"r{number}@example.org")
    house.tick()


def running(house: House) -> Callable[[], datetime]:
    """The house's clock, which does not stand still any more."""
    began, at = house.now, time.monotonic()
    return lambda: began + timedelta(seconds=time.monotonic() - at)


def state_of(house: House) -> resting.State:
    """What is known of the only relay."""
    with house.engine.connect() as connection:
        (known,) = resting.states(connection, relays_of(house.settings)).values()
    return known


def until(done: Callable[[], bool], seconds: float) -> Callable[[], bool]:
    """Tells a spell to stop as soon as this is so, or after so many seconds."""
    limit = time.monotonic() + seconds
    return lambda: done() or time.monotonic() > limit


class Silent(Misbehaving):
    """Greets, answers EHLO, and then never says anything."""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 silent ESMTP\r\n")
        while line := await reader.readline():
            if line[:4].upper() == b"EHLO":
                writer.write(b"250-silent\r\n250 PIPELINING\r\n")
                await writer.drain()


class Mute(Misbehaving):
    """Takes connections and never says anything."""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()


class Impatient(Misbehaving):
    """Ends connections that are idle for a moment, as Postfix under stress does after ten seconds."""

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        try:
            return await asyncio.wait_for(reader.readline(), 0.2)
        except TimeoutError:
            writer.write(b"421 4.4.2 idle for too long\r\n")
            await writer.drain()
            return b""


def second_list(house: House) -> None:
    """Another list, for the relays of which ``lists`` names it."""
    with house.engine.begin() as connection:
        row = dict(connection.execute(select(lists)).one()._mapping)
        connection.execute(insert(lists).values(row | {"id": 77, "slug": "mares", "last_position": 0}))


def two_lists(house: House, first: int, second: int) -> None:
    """So many digests of one list, which are due earlier, and so many of another; no notices."""
    second_list(house)
    fill(house, first)
    with house.engine.begin() as connection:
        connection.execute(update(deliveries).values(due_at=house.now - timedelta(seconds=10)))
    house.list_id = 77
    house.publish("two")
    for number in range(second):
        house.subscribe(f"m{number}@example.org")
    with house.engine.begin() as connection:
        connection.execute(update(notices).values(due_at=None))
    house.tick()


def unsent(house: House) -> list[Any]:
    with house.engine.connect() as connection:
        return list(connection.execute(select(deliveries).where(deliveries.c.state != "sent")))
