"""Random mixtures of relays over two lists, and what must hold whatever they are."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

from house import House
from misbehaving import Misbehaving, refusing
from spells import Mute, Silent, running, served, two_lists, until
from sqlalchemy import Engine, select
from stack import select_doubtful, wait_until
from valkeys import running_valkey

from newsletter.delivery import dispatch, resting
from newsletter.delivery.journal import journals
from newsletter.delivery.kept import Kept
from newsletter.delivery.pace import Pace
from newsletter.delivery.relays import relays_of
from newsletter.tables import deliveries

Kind = Callable[[random.Random], tuple[Misbehaving, str]]
LETTERS = {"rutas": "r", "mares": "m"}
"""Of the readers of each list."""
READERS = 120
LATE = {f"late{number}@example.org" for number in range(5)}
SECONDS, CONFIRMED_SECONDS = 12.0, 4.0
"""To send what a good relay may carry; to send a confirmation that it may carry. Half of that is the rule."""
PAUSED_SECONDS = 2.0
"""Until a relay that was paused gets nothing more. A turn is half a second old at most."""
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


KINDS: dict[str, Kind] = {
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
    "full": lambda _: (refusing(b"MAIL", b"452 4.3.1 Insufficient system storage\r\n"), ""),
    "unwilling": lambda _: (refusing(b"RCPT", b"554 5.7.1 Relay access denied\r\n"), ""),
    "busy": lambda _: (refusing(b"RCPT", b"450 4.2.0 busy\r\n"), ""),
    "full-boxes": lambda _: (Misbehaving(mood=lambda number, _: "452" if number % 3 == 0 else "ok"), "&rate=500/day"),
}
"""A server of each kind, and its options in the URL."""


class Mixture:
    """Relays over two lists, one of which is good, and what came of sending through them."""

    def __init__(self, dice: random.Random, good: Kind = _good) -> None:
        """One to three relays of any kind beside the ``good`` one, which is the first."""
        self.relays = {}
        for place, kind in enumerate(("good", *dice.choices(list(KINDS), k=dice.randint(1, 3)))):
            server, options = (KINDS[kind] if place else good)(dice)
            lists = dice.choice(("", "&lists=rutas", "&lists=mares"))
            self.relays[f"{kind}-{place}"] = server, f"{options}{lists}&weight={dice.choice((1, 5, 50))}"
        self.servers = [server for server, _ in self.relays.values()]
        self.refused: list[list[str]] = [[] for _ in self.servers]
        self.begun: list[list[tuple[float, str]]] = [[] for _ in self.servers]
        for server, noted, taken in zip(self.servers, self.refused, self.begun, strict=True):
            server.mood = _noting(server.mood, noted, taken)
        self.wanted = set(LATE)
        self.subscribed_at = 0.0

    def __str__(self) -> str:
        return str({name: options for name, (_, options) in self.relays.items()})

    def fill(self, house: House) -> None:
        """Digests of both lists; confirmations come later."""
        two_lists(house, READERS, READERS)
        slugs = self._slugs(house)
        self.wanted |= {f"{LETTERS[slug]}{number}@example.org" for slug in slugs for number in range(READERS)}

    def subscribe(self, house: House) -> None:
        """Some confirmations, which the good one may carry."""
        house.list_id = 1 if "rutas" in self._slugs(house) else 77
        for address in sorted(LATE):
            house.subscribe(address, due_at=None)
        self.subscribed_at = time.monotonic()

    def late(self) -> set[str]:
        """What the good one may carry, and nobody accepted."""
        return self.wanted.difference(self.accepted())

    def accepted(self) -> list[str]:
        """The recipients of all that was accepted, as often as it was."""
        return [recipient for server in self.servers for recipient, _ in server.accepted]

    def judge(self, house: House) -> None:
        """What must hold once nobody sends any more, see ``mixed``."""
        assert not self.late(), f"{self}: {len(self.late())} were not sent in {SECONDS} s"
        confirmed_at = max(at for taken in self.begun for at, recipient in taken if recipient in LATE)
        assert confirmed_at - self.subscribed_at < CONFIRMED_SECONDS, f"{self}: {confirmed_at - self.subscribed_at} s"
        accepted = self.accepted()
        assert max(Counter(accepted).values()) == 1, self
        with house.engine.connect() as connection:
            states = Counter(connection.scalars(select(deliveries.c.state)))
            assert not connection.scalars(select_doubtful()).all(), self
        assert not states["claimed"], self
        assert states["sent"] == len(set(accepted) - LATE), self
        assert not list(journals(house.settings).iterdir()), self
        self._judge_rates(house)

    def _judge_rates(self, house: House) -> None:
        pace = Pace(house.settings.redis_url)
        relays = relays_of(house.settings)
        for relay, server, noted, taken in zip(relays, self.servers, self.refused, self.begun, strict=True):
            (rate,) = relay.rates or (None,)
            moments = [at for at, recipient in taken if recipient not in LATE]
            if rate and rate.seconds < DAY:
                most = max((sum(at <= other < at + rate.seconds for other in moments) for at in moments), default=0)
                assert most <= 2 * rate.count, f"{self}: {most} for {relay.name} in {rate.seconds} s"
            elif rate:
                left = pace.grant(relay, {"example.org": rate.count}).by_domain["example.org"]
                used = sum(recipient not in LATE for recipient in (*(one for one, _ in server.accepted), *noted))
                assert left + used == rate.count, f"{self}: {left} left for {relay.name}, {used} used"
        pace.close()

    def _slugs(self, house: House) -> Collection[str]:
        return relays_of(house.settings)[0].lists or LETTERS


def mixed(seed: int, engine: Engine, folder: Path) -> None:
    """Send two lists through a random mixture of relays, one of which is good, and look what became of it.

    What the good one may carry is begun within seconds, a confirmation too, whatever the others do; nothing comes
    twice; nothing is left claimed, nor in a journal; and of each relay's rate nothing is used but for what it was asked
    to take. By the second or the minute it gets no more than twice its rate: half of that may have waited for a moment.
    """
    dice = random.Random(seed)
    mixture = Mixture(dice)
    with running_valkey(folder) as valkey, served(engine, folder, mixture.relays, valkey.url) as house:
        mixture.fill(house)
        settings = house.settings.model_copy(update={"smtp_timeout": 1})
        kept, clock = Kept(engine, settings), running(house)
        stopping = until(lambda: not mixture.late(), SECONDS)

        def send() -> None:
            while not stopping():
                dispatch.dispatch(engine, settings, clock, stopping, kept)
                time.sleep(0.1)

        with ThreadPoolExecutor(1) as worker:
            sending = worker.submit(send)
            time.sleep(dice.uniform(0.1, 4))
            mixture.subscribe(house)
            sending.result()
        mixture.judge(house)


class Worker:
    """A process that sends, see ``sending.py``."""

    def __init__(self, house: House, folder: Path) -> None:
        folder.mkdir()
        self._file, self._log = folder / "offset", folder / "log"
        self._file.write_text(str((running(house)() - datetime.now(UTC)).total_seconds()))
        settings = house.settings
        environment = {
            **os.environ,
            "NEWSLETTER_HOME": str(settings.home),
            "NEWSLETTER_DATABASE_URL": settings.database,
            "NEWSLETTER_REDIS_URL": settings.redis_url,
            "NEWSLETTER_SMTP_URL": settings.smtp_url,
            "NEWSLETTER_SMTP_TIMEOUT": "1",
            "NEWSLETTER_BASE_URL": settings.base_url,
            "NEWSLETTER_SECRET_KEY": settings.key,
        }
        script = str(Path(__file__).with_name("sending.py"))
        with self._log.open("w") as log:
            self._process = subprocess.Popen([sys.executable, script, str(self._file)], env=environment, stdout=log)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()

    def is_ready(self) -> bool:
        """Whether it has begun to send."""
        log = self._log.read_text()
        assert "ready" in log or self._process.poll() is None
        return "ready" in log

    def ask_to_stop(self) -> None:
        """In good order."""
        self._file.unlink(missing_ok=True)
        self._process.terminate()

    def stop(self) -> None:
        """Wait until it has; it leaves nothing to others, nor found anything that another had left."""
        wait_until(self.is_ready)
        self.ask_to_stop()
        assert self._process.wait(30) == 0, self._log.read_text()
        assert "died" not in self._log.read_text()


def mixed_by_several(seed: int, engine: Engine, folder: Path) -> None:
    """The same by two or three processes at once; meanwhile one is asked to stop by SIGTERM, another begins in its
    place, and a relay that is not the good one is paused and resumed.
    """
    dice = random.Random(seed)
    # It takes some seconds, so that there is a middle.
    mixture = Mixture(dice, lambda _: (Misbehaving(thinks=0.2), "&rate=1000/day"))
    with ExitStack() as all_:
        valkey = all_.enter_context(running_valkey(folder))
        house = all_.enter_context(served(engine, folder, mixture.relays, valkey.url))
        mixture.fill(house)
        workers = [
            all_.enter_context(Worker(house, folder / f"worker{number}")) for number in range(dice.randint(2, 3))
        ]
        for worker in workers:
            wait_until(worker.is_ready)
        stopping = until(lambda: not mixture.late(), SECONDS)
        paused = dice.choice(relays_of(house.settings)[1:])
        paused_at = dice.uniform(0, 1.5)
        pauses: list[float] = []

        def set_paused(change: Callable[..., bool]) -> None:
            with engine.begin() as connection:
                change(connection, paused, house.now)
            pauses.append(time.monotonic())

        def replace() -> None:
            workers.append(all_.enter_context(Worker(house, folder / "another")))
            workers[0].ask_to_stop()

        acts = [
            (dice.uniform(0.1, 4), lambda: mixture.subscribe(house)),
            (dice.uniform(0, 2), replace),
            (paused_at, lambda: set_paused(resting.pause)),
            (paused_at + dice.uniform(0.5, 3), lambda: set_paused(resting.resume)),
        ]
        began = time.monotonic()
        for at, act in sorted(acts, key=itemgetter(0)):
            time.sleep(max(0, began + at - time.monotonic()))
            act()
        wait_until(stopping)
        for worker in workers:
            worker.stop()
        meanwhile = [at for at, _ in mixture.begun[list(mixture.relays).index(paused.name)]]
        assert not [at for at in meanwhile if pauses[0] + PAUSED_SECONDS < at < pauses[1]], mixture
        mixture.judge(house)


def _noting(
    mood: Callable[[int, str], str], refused: list[str], begun: list[tuple[float, str]]
) -> Callable[[int, str], str]:
    def noted(number: int, recipient: str) -> str:
        begun.append((time.monotonic(), recipient))
        found = mood(number, recipient)
        if found not in ("ok", "leave"):
            refused.append(recipient)
        return found

    return noted
