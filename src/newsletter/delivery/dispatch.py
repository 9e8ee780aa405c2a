"""Dispatch: claim deliveries, compose them, hand them to the relays, settle their answers. One spell at a time.

Everything of a spell happens on one thread: the connections are driven by asyncio, and between two packets the
spell takes its turn with the database. Turns are short and few (a few statements for hundreds of deliveries).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from jinja2 import TemplateError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from newsletter.database import reading
from newsletter.delivery import confirming, outbox, settling
from newsletter.delivery.confirming import Confirming
from newsletter.delivery.connections import Outgoing, Pool
from newsletter.delivery.conversation import Answer, Credentials, Verdict
from newsletter.delivery.journal import Journal, abandoned, living_owners
from newsletter.delivery.letters import Letters
from newsletter.delivery.outbox import Claimed
from newsletter.delivery.relays import Relay, parse_relay
from newsletter.delivery.settling import Outcome
from newsletter.digests import runs
from newsletter.errors import NewsletterError
from newsletter.mail.letter import Message
from newsletter.mail.templates import load_templates
from newsletter.settings import Settings

log = structlog.get_logger("newsletter.delivery")

SPELL = timedelta(seconds=50)
GRACE_SECONDS = 15.0
PULSE_SECONDS = 0.5
BATCH = (50, 500)
UNSETTLED = 250
RELAY_PAUSE = timedelta(seconds=20)
PATIENCE_WITH_DATABASE = timedelta(seconds=60)
# Of the longest exchange over one message: the envelope's three answers, and a long one to the final dot.
ANSWERS_TO_A_MESSAGE = 9


@dataclass
class Tally:
    """What one call did: deliveries by state, and whether more are ready."""

    counts: Counter[str] = field(default_factory=Counter)
    more: bool = False

    @property
    def total(self) -> int:
        """How many deliveries were handled."""
        return self.counts.total()


def relay_of(settings: Settings) -> Relay:
    """The configured relay, else the built-in inbox."""
    if settings.smtp_url:
        return parse_relay(settings.smtp_url)
    return Relay(settings.inbox_host, settings.inbox_smtp_port)


def warm_up(settings: Settings) -> None:
    """Load and inline the templates, and refuse unusable settings before work begins."""
    relay_of(settings)
    assert settings.key
    load_templates()


def assemblies(engine: Engine, workers: int) -> list[tuple[int, int]]:
    """Runs to assemble, each with how many workers are worth calling."""
    with reading(engine) as connection:
        return [
            (run_id, max(1, min(workers, runs.due_count(connection, run_id) // runs.SHARD)))
            for run_id in runs.unfinished(connection)
        ]


def journals(settings: Settings) -> Path:
    """Where worker processes keep their journals: those who share the folder help one another at once."""
    return settings.home / "journals"


def sweep(engine: Engine, settings: Settings, now: datetime) -> int:
    """Close what is over, settle what dead workers left, and say how many workers are worth calling."""
    recover(engine, settings, now)
    with engine.begin() as connection:
        outbox.sweep(connection, now)
    with reading(engine) as connection:
        ready = outbox.ready_count(connection, now, settings.workers * BATCH[0])
        return max(-(-ready // BATCH[0]), int(confirming.any_due(connection, now)))


def recover(engine: Engine, settings: Settings, now: datetime) -> None:
    """Settle what the journals of dead worker processes say, before anything is claimed anew (promise 5)."""
    with abandoned(journals(settings)) as left:
        for owner, entries in left.items():
            with engine.begin() as connection:
                states = settling.recover(connection, owner, entries, now)
            if states.total():
                log.warning("a worker process died; its journal was settled", **states)


def dispatch(
    engine: Engine, settings: Settings, clock: Callable[[], datetime], stopping: Callable[[], bool] = lambda: False
) -> Tally:
    """Send what is ready for about a minute; sooner if ``stopping`` says so, with nothing left in hand.

    Raises:
        DBAPIError: the database was away for a minute. What it could not be told is in the journal.
        StateError: no journal can be written, and nothing was sent.
    """
    recover(engine, settings, clock())
    journal = Journal(journals(settings))
    try:
        spell = _Spell(engine, settings, clock, stopping, journal)
        asyncio.run(spell.run())
    finally:
        journal.close()
    with engine.begin() as connection:
        outbox.sweep(connection, clock())
    with reading(engine) as connection:
        spell.tally.more = not spell.relays_down and outbox.ready_count(connection, clock(), 1) > 0
    return spell.tally


class _Spell:
    """One spell of sending. It is the office of its pools: they ask it for messages and tell it of answers."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        clock: Callable[[], datetime],
        stopping: Callable[[], bool],
        journal: Journal,
    ) -> None:
        self.tally = Tally()
        self.relays_down = False
        self._engine = engine
        self._settings = settings
        self._clock = clock
        self._stopping = stopping
        self._journal = journal
        self._letters = Letters(engine, settings)
        self._lease = timedelta(seconds=settings.lease_seconds)
        # A message is begun only if the claim outlasts every answer it may have to wait for.
        self._reserve = min(self._lease / 2, timedelta(seconds=settings.smtp_timeout) * ANSWERS_TO_A_MESSAGE)
        self._urgent: deque[Confirming] = deque()
        self._queue: deque[Claimed] = deque()
        self._outcomes: list[Outcome] = []
        self._told: list[tuple[Confirming, Answer]] = []
        self._withdrawn: list[Claimed] = []
        self._late: list[Claimed] = []
        self._hashes: dict[int, str] = {}
        self._handed: set[int] = set()
        self._reasons: list[str] = []
        self._dry = False
        self._batch = BATCH[0]
        self._turned = 0.0
        self._settled = 0
        self._wake = asyncio.Event()
        self._stop = False
        self._closing = False
        self._pool = Pool(relay_of(settings), self, settings.smtp_timeout, self._credentials)

    def _credentials(self) -> Credentials | None:
        relay = relay_of(self._settings)
        return Credentials(relay.user, relay.password, "password") if relay.user else None

    async def run(self) -> None:
        """Until nothing is ready, the spell is over, or somebody asks to stop."""
        loop = asyncio.get_running_loop()
        over = loop.time() + SPELL.total_seconds()
        with self._terminated(loop):
            try:
                while not self._stop and not self._stopping() and loop.time() < over:
                    self._try_turn(loop.time())
                    if self._finished:
                        break
                    self._pool.kick(len(self._queue) + len(self._urgent))
                    await self._woken()
            finally:
                self._closing = True
                self._late += self._queue
                self._queue.clear()
                await self._pool.close(GRACE_SECONDS)
            await self._settle_the_rest(loop)

    @contextlib.contextmanager
    def _terminated(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """SIGTERM ends the spell in good order; what was to happen at one before is put back."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop() -> None:
            self._stop = True
            self._wake.set()

        before = signal.getsignal(signal.SIGTERM)
        loop.add_signal_handler(signal.SIGTERM, stop)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, before)

    async def _woken(self) -> None:
        # An event that is set already gives the connections no time.
        await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PULSE_SECONDS):
                await self._wake.wait()
        self._wake.clear()

    @property
    def _finished(self) -> bool:
        waiting = self._queue or self._urgent or self._outcomes or self._told or self._withdrawn or self._late
        return self.relays_down or (self._dry and not waiting and not self._pool.busy)

    # The office: what the pools ask and tell.

    def next_message(self, relay: Relay) -> Outgoing | None:
        """Transactional mail before any digest."""
        if self._urgent:
            confirmation = self._urgent.popleft()
            message = confirmation.message
            return Outgoing(confirmation, message.return_path, confirmation.email, message.content)
        while self._queue:
            delivery = self._queue.popleft()
            # Asked after composing: the first digest of a process can take seconds on a busy machine.
            message = self._compose(delivery)
            if message is None:
                continue
            if self._clock() > delivery.expires - self._reserve:
                self._hashes.pop(delivery.id)
                self._late += [delivery, *self._queue]
                self._queue.clear()
                break
            if len(self._queue) < self._batch // 2 and not self._dry:
                self._wake.set()
            return Outgoing(delivery, message.return_path, delivery.email, message.content)
        if not self._dry:
            self._wake.set()
        return None

    def handing(self, tag: object) -> None:
        """From here on a digest may have been accepted, whatever becomes of this process."""
        if isinstance(tag, Claimed):
            self._journal.note_handed(tag.id, bytes.fromhex(self._hashes[tag.id]))
            self._handed.add(tag.id)

    def answered(self, tag: object, answer: Answer, relay: Relay) -> None:
        """Noted at once, settled with the next turn."""
        if isinstance(tag, Confirming):
            self._told.append((tag, answer))
        elif isinstance(tag, Claimed):
            if tag.id in self._handed:
                self._journal.note_answer(tag.id, answer)
            self._outcomes.append(Outcome(tag, answer, relay.name, self._hashes.pop(tag.id)))
        last = self._dry and not self._queue and not self._urgent and not self._pool.busy
        if last or len(self._outcomes) >= UNSETTLED:
            self._wake.set()

    def unsent(self, tag: object) -> None:
        """Another connection, or another time."""
        if isinstance(tag, Confirming):
            self._urgent.appendleft(tag)
        elif isinstance(tag, Claimed):
            self._forget(tag.id)
            self._hashes.pop(tag.id)
            (self._late if self._closing else self._queue).insert(0, tag)
        self._wake.set()

    def relay_down(self, relay: Relay, reason: str) -> None:
        """Everything in hand is given back with the next turn."""
        log.warning("the relay cannot be used", reason=reason)
        self._reasons.append(reason)
        self._wake.set()

    def _compose(self, delivery: Claimed) -> Message | None:
        try:
            message = self._letters.compose(delivery)
        except (NewsletterError, TemplateError, ValueError, LookupError) as error:
            answer = Answer(Verdict.DEFERRED, 0, f"It could not be composed: {type(error).__name__}: {error}"[:500])
            self._outcomes.append(Outcome(delivery, answer))
            return None
        if message is None:
            self._withdrawn.append(delivery)
            return None
        self._hashes[delivery.id] = hashlib.sha256(message.content).hexdigest()
        return message

    def _forget(self, delivery_id: int) -> None:
        self._journal.forget(delivery_id)
        self._handed.discard(delivery_id)

    # Turns with the database.

    def _try_turn(self, at: float) -> None:
        """A turn; a database that is away is asked again at the next one, and the journal holds what it missed."""
        try:
            self._turn(at)
        except DBAPIError as error:
            log.warning("the database does not answer; what was sent is noted", reason=type(error.orig).__name__)
            self._engine.dispose()

    def _turn(self, at: float) -> None:
        now = self._clock()
        claimed: list[Claimed] = []
        urgent: list[Confirming] = []
        if self._reasons:
            self.relays_down = True
            self.tally.counts["relay down"] += 1
        with self._settling() as connection:
            if self.relays_down:
                settling.give_back(connection, list(self._queue), RELAY_PAUSE, self._reasons[-1], now)
                confirming.give_back(connection, list(self._urgent), now + RELAY_PAUSE)
            else:
                claimed, urgent = self._claim(connection, now, at)
        if self.relays_down:
            self._queue.clear()
            self._urgent.clear()
        self._queue += claimed
        self._urgent += urgent

    @contextlib.contextmanager
    def _settling(self) -> Iterator[Connection]:
        """A transaction that settles all there is to settle; what stands in the database is then forgotten."""
        now = self._clock()
        outcomes, told, withdrawn, late = self._outcomes[:], self._told[:], self._withdrawn[:], self._late[:]
        self._settled += len(outcomes)
        with self._engine.begin() as connection:
            counts = settling.settle(connection, outcomes, now)
            for delivery in withdrawn:
                settling.settle_withdrawn(connection, delivery, now)
            settling.give_back(connection, late, timedelta(0), "", now)
            counts["confirmations"] += confirming.settle(connection, told, now)
            yield connection
        for outcome in outcomes:
            self._forget(outcome.delivery.id)
        del self._outcomes[: len(outcomes)], self._told[: len(told)]
        del self._withdrawn[: len(withdrawn)], self._late[: len(late)]
        self.tally.counts += counts + Counter({"withdrawn": len(withdrawn)})

    def _claim(self, connection: Connection, now: datetime, at: float) -> tuple[list[Claimed], list[Confirming]]:
        urgent = confirming.claim(connection, self._settings, now) if not self._urgent else []
        # About a second's worth, so that a slow relay does not hold what others could send.
        rate = self._settled / max(at - self._turned, 0.01)
        self._batch = int(min(max(rate, BATCH[0]), BATCH[1]))
        self._turned, self._settled = at, 0
        room = min(self._batch - len(self._queue), self._journal.room - len(self._queue) - UNSETTLED)
        if room < self._batch // 2:
            return [], urgent
        living = living_owners(journals(self._settings))
        claimed = outbox.claim(connection, self._journal.owner, now, self._lease, room, living)
        # Fewer may come back than were claimed, so that only none means none.
        self._dry = not claimed and outbox.ready_count(connection, now, 1) == 0
        self._letters.prepare(connection, claimed)
        return claimed, urgent

    async def _settle_the_rest(self, loop: asyncio.AbstractEventLoop) -> None:
        limit = loop.time() + PATIENCE_WITH_DATABASE.total_seconds()
        while True:
            try:
                with self._settling() as connection:
                    confirming.give_back(connection, list(self._urgent), self._clock())
                return
            except DBAPIError:
                if loop.time() > limit:
                    raise
            await asyncio.sleep(PULSE_SECONDS)
