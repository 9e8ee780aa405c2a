"""Random mixtures of relays over two lists, and what must hold whatever they are."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from misbehaving import Misbehaving
from spells import Mute, Silent, running, served, two_lists
from sqlalchemy import Engine, select
from valkeys import running_valkey

from newsletter.delivery import dispatch
from newsletter.delivery.journal import journals
from newsletter.delivery.kept import Kept
from newsletter.delivery.relays import relays_of
from newsletter.tables import deliveries

LETTERS = {"rutas": "r", "mares": "m"}
"""Of the readers of each list."""
READERS = 120
LATE = {f"late{number}@example.org" for number in range(5)}
SECONDS, CONFIRMED_SECONDS = 12.0, 4.0
"""To send what a good relay may carry; to send a confirmation that it may carry. Half of that is the rule."""
DAY = 86_400


def _good(_dice: random.Random) -> tuple[Misbehaving, str]:
    return Misbehaving(), "&rate=1000/day"


class Tarpit(Misbehaving):
    """Takes its time over each command of an envelope, and over the first greeting."""

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        line = await reader.readline()
        if line[:4] in (b"EHLO", b"RCPT"):
            await asyncio.sleep(0.5)
        return line


class Recovering(Silent):
    """Is silent, but not for long."""

    good_from = 0.0

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.good_from = self.good_from or time.monotonic() + 2.5
        await (Misbehaving if time.monotonic() > self.good_from else Silent)._talk(self, reader, writer)


KINDS: dict[str, Callable[[random.Random], tuple[Misbehaving, str]]] = {
    "good": _good,
    "slow": lambda dice: (Misbehaving(thinks=dice.choice((0.15, 0.4))), f"&connections={dice.choice((1, 2))}"),
    "short": lambda dice: (Misbehaving(thinks=0.1), f"&connections=1&messages={dice.randint(1, 5)}"),
    "closing": lambda dice: (Misbehaving(closes_after=dice.randint(1, 10)), ""),
    "silent": lambda dice: (Silent(), f"&connections={dice.choice((1, 10))}"),
    "mute": lambda dice: (Mute(), f"&connections={dice.choice((1, 10))}"),
    "used-up": lambda dice: (Misbehaving(), f"&rate={dice.choice((5, 60))}/day"),
    "paced": lambda dice: (Misbehaving(), f"&rate={dice.choice((2, 10))}/s"),
    "narrow": lambda _: (Misbehaving(allows=1), ""),
    "by-the-minute": lambda dice: (Misbehaving(thinks=dice.choice((0, 0.1))), f"&rate={dice.choice((20, 60))}/min"),
    "tarpit": lambda dice: (Tarpit(), f"&connections={dice.choice((1, 8))}&messages={dice.choice((0, 1, 3))}"),
    "recovering": lambda dice: (Recovering(), f"&connections={dice.choice((1, 8))}"),
    "leaving": lambda dice: (Misbehaving(mood=lambda *_: "leave"), f"&connections={dice.choice((1, 8))}"),
    "full-boxes": lambda _: (Misbehaving(mood=lambda number, _: "452" if number % 3 == 0 else "ok"), "&rate=500/day"),
}
"""A server of each kind, and its options in the URL."""


def mixed(seed: int, engine: Engine, folder: Path) -> None:
    """Send two lists through a random mixture of relays, one of which is good, and look what became of it.

    What the good one may carry is begun within seconds, a confirmation too, whatever the others do; nothing comes
    twice; nothing is left claimed, nor in a journal; and of each relay's rate nothing is used but for what it was asked
    to take. By the second or the minute it gets no more than twice its rate: half of that may have waited for a moment.
    """
    dice = random.Random(seed)
    relays = {}
    for place, kind in enumerate(("good", *dice.choices(list(KINDS), k=dice.randint(1, 3)))):
        server, options = KINDS[kind](dice)
        lists = dice.choice(("", "&lists=rutas", "&lists=mares"))
        relays[f"{kind}-{place}"] = server, f"{options}{lists}&weight={dice.choice((1, 5, 50))}"
    servers = [server for server, _ in relays.values()]
    mixture = {name: options for name, (_, options) in relays.items()}
    refused: list[set[str]] = [set() for _ in servers]
    begun: list[list[tuple[float, str]]] = [[] for _ in servers]
    for server, noted, taken in zip(servers, refused, begun, strict=True):
        server.mood = _noting(server.mood, noted, taken)
    with running_valkey(folder) as valkey, served(engine, folder, relays, valkey.url) as house:
        two_lists(house, READERS, READERS)
        named = relays_of(house.settings)
        slugs = named[0].lists or LETTERS
        wanted = {f"{LETTERS[slug]}{number}@example.org" for slug in slugs for number in range(READERS)}
        settings = house.settings.model_copy(update={"smtp_timeout": 1})
        kept, clock = Kept(engine, settings), running(house)
        over = time.monotonic() + SECONDS

        def late() -> set[str]:
            accepted = {recipient for server in servers for recipient, _ in server.accepted}
            return (wanted | LATE).difference(accepted, *refused)

        def stopping() -> bool:
            return not late() or time.monotonic() > over

        def send() -> None:
            while not stopping():
                dispatch.dispatch(engine, settings, clock, stopping, kept)
                time.sleep(0.1)

        with ThreadPoolExecutor(1) as worker:
            sending = worker.submit(send)
            time.sleep(dice.uniform(0.1, 4))
            house.list_id = 1 if "rutas" in slugs else 77
            for address in sorted(LATE):
                house.subscribe(address, due_at=None)
            subscribed_at = time.monotonic()
            sending.result()
        assert not late(), f"{mixture}: {len(late())} were not sent in {SECONDS} s"
        confirmed_at = max(at for taken in begun for at, recipient in taken if recipient in LATE)
        assert confirmed_at - subscribed_at < CONFIRMED_SECONDS, f"{mixture}: {confirmed_at - subscribed_at} s"
        accepted = [recipient for server in servers for recipient, _ in server.accepted]
        assert max(Counter(accepted).values()) == 1, mixture
        with engine.connect() as connection:
            states = Counter(connection.scalars(select(deliveries.c.state)))
        assert not states["claimed"], mixture
        assert states["sent"] == len(set(accepted) - LATE), mixture
        assert not list(journals(settings).iterdir()), mixture
        for relay, server, noted, taken in zip(named, servers, refused, begun, strict=True):
            (rate,) = relay.rates or (None,)
            moments = [at for at, recipient in taken if recipient not in LATE]
            if rate and rate.seconds < DAY:
                most = max((sum(at <= other < at + rate.seconds for other in moments) for at in moments), default=0)
                assert most <= 2 * rate.count, f"{mixture}: {most} for {relay.name} in {rate.seconds} s"
            elif rate:
                left = kept.pace.grant(relay, {"example.org": rate.count}).by_domain["example.org"]
                used = len({recipient for recipient, _ in server.accepted}.union(noted) - LATE)
                assert left + used == rate.count, f"{mixture}: {left} left for {relay.name}, {used} used"


def _noting(
    mood: Callable[[int, str], str], refused: set[str], begun: list[tuple[float, str]]
) -> Callable[[int, str], str]:
    def noted(number: int, recipient: str) -> str:
        begun.append((time.monotonic(), recipient))
        found = mood(number, recipient)
        if found not in ("ok", "leave"):
            refused.add(recipient)
        return found

    return noted
