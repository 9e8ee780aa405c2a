"""One spell of sending: claim deliveries, compose them, hand them to the relays, settle what they answer.

Everything happens on one thread: the connections are driven by asyncio, and between two packets the spell takes
its turn with the database. Turns are short and few: some statements for hundreds of deliveries.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog
from jinja2 import TemplateError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from newsletter.delivery import notices, outbox, resting, settling
from newsletter.delivery.connections import Outgoing, Pool
from newsletter.delivery.conversation import Answer, Verdict
from newsletter.delivery.journal import Journal, journals, living_owners
from newsletter.delivery.ledger import content_hash
from newsletter.delivery.letters import Letters
from newsletter.delivery.notices import Taken
from newsletter.delivery.outbox import Claimed
from newsletter.delivery.pace import Pace
from newsletter.delivery.relays import Relay, relays_of
from newsletter.delivery.settling import Outcome
from newsletter.delivery.shares import Shares, usable_for
from newsletter.delivery.throttling import is_throttle
from newsletter.delivery.tokens import credentials_of, forget_token, safe_reason
from newsletter.delivery.unsettled import Tally, Unsettled
from newsletter.errors import NewsletterError
from newsletter.settings import Settings

log = structlog.get_logger("newsletter.delivery")

SPELL_SECONDS = 50.0
GRACE_SECONDS = 15.0
PULSE_SECONDS = 0.5
BATCH = (50, 1000)
UNSETTLED = 500
RELAY_PAUSE = timedelta(seconds=20)
PATIENCE_WITH_DATABASE = 60.0
# A worker that may send nothing for longer than this has better things to do.
LONGEST_HOLD = 5.0
# The longest exchange over one message: three answers to the envelope, and a long one to the final dot.
ANSWERS_TO_A_MESSAGE = 9


class Kept:
    """What a worker process keeps from spell to spell. Made after the fork: it holds connections."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.letters = Letters(engine, settings)
        self.shares = Shares()
        self.pace = Pace(settings.redis_url, settings.workers)


class Spell:
    """See the module. It is the office of its pools: they ask it for messages and tell it of answers."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        kept: Kept,
        journal: Journal,
        clock: Callable[[], datetime],
        stopping: Callable[[], bool],
    ) -> None:
        self.tally = Tally()
        self.relays_down = False
        self._engine = engine
        self._settings = settings
        self._letters = kept.letters
        self._journal = journal
        self._clock = clock
        self._stopping = stopping
        self._lease = timedelta(seconds=settings.lease_seconds)
        # A message is begun only if the claim outlasts every answer that it may have to wait for.
        self._reserve = timedelta(seconds=settings.smtp_timeout) * ANSWERS_TO_A_MESSAGE
        self._relays = relays_of(settings)
        self._shares = kept.shares
        self._pace = kept.pace
        self._known = {relay.name: resting.State() for relay in self._relays}
        self._usable: tuple[Relay, ...] = ()
        self._pools: dict[str, Pool] = {}
        self._retired: list[Pool] = []
        self._queues: dict[str, deque[Claimed]] = {relay.name: deque() for relay in self._relays}
        self._urgent: deque[Taken] = deque()
        self._unused: defaultdict[Relay, Counter[str]] = defaultdict(Counter)
        """Leave that was granted for messages that did not go, by domain."""
        self._unsettled = Unsettled()
        self._hashes: dict[int, str] = {}
        self._handed: set[int] = set()
        self._failed: dict[str, tuple[Relay, str]] = {}
        self._dry = False
        self._held_until = 0.0
        self._batch = BATCH[0]
        self._turned = 0.0
        self._settled = 0
        self._wake = asyncio.Event()
        self._stop = False
        self._closing = False

    async def run(self) -> None:
        """Until nothing is ready, the spell is over, or somebody asks to stop; then everything is settled.

        Raises:
            DBAPIError: the database was away for a minute. What it could not be told is in the journal.
        """
        loop = asyncio.get_running_loop()
        over = loop.time() + SPELL_SECONDS
        try:
            while not self._stop and not self._stopping() and loop.time() < over:
                self._try_turn(loop.time())
                if self._finished(loop.time()):
                    break
                for relay in self._usable:
                    self._pools[relay.name].kick(len(self._queues[relay.name]) + len(self._urgent))
                await self._woken()
        finally:
            self._closing = True
            for relay in self._relays:
                self._give_back(self._emptied(relay))
            self._unsettled.unasked += self._urgent
            self._urgent.clear()
            await asyncio.gather(*(pool.close(GRACE_SECONDS) for pool in (*self._pools.values(), *self._retired)))
        await self._settle_the_rest(loop)

    def stop(self) -> None:
        """End the spell in good order."""
        self._stop = True
        self._wake.set()

    async def _woken(self) -> None:
        # An event that is set already gives the connections no time.
        await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PULSE_SECONDS):
                await self._wake.wait()
        self._wake.clear()

    @property
    def _waiting(self) -> int:
        return len(self._urgent) + sum(map(len, self._queues.values()))

    @property
    def _busy(self) -> bool:
        return any(pool.busy for pool in self._pools.values())

    def _finished(self, at: float) -> bool:
        if self._waiting or self._unsettled or self._failed or self._busy:
            return False
        return self.relays_down or self._dry or self._held_until > at + LONGEST_HOLD

    # The office: what the pools ask and tell.

    def next_message(self, relay: Relay) -> Outgoing | None:
        """Notices before any digest; nothing once a turn has seen that the relay is paused or rests."""
        if relay not in self._usable:
            return None
        notice = self._next_notice(relay)
        if notice is not None:
            message = notice.message
            return Outgoing(notice, message.return_path, notice.email, message.content)
        queue = self._queues[relay.name]
        while queue:
            delivery = queue.popleft()
            outgoing = self._compose(delivery)
            if outgoing is None:
                self._unused[relay][delivery.domain] += 1
                continue
            # Asked after composing: the first digest of a process can take seconds on a busy machine.
            if self._clock() > delivery.expires - self._reserve:
                self._hashes.pop(delivery.id)
                queue.appendleft(delivery)
                self._give_back(self._emptied(relay))
                break
            if len(queue) < self._batch // 2 and not self._dry:
                self._wake.set()
            return outgoing
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
        unsettled = self._unsettled
        if isinstance(tag, Taken):
            unsettled.told.append((tag, answer))
        elif isinstance(tag, Claimed):
            if tag.id in self._handed:
                self._journal.note_answer(tag.id, answer)
            unsettled.outcomes.append(Outcome(tag, answer, relay.name, self._hashes.pop(tag.id)))
        last = self._dry and not self._waiting and not self._busy
        if last or len(unsettled.outcomes) >= UNSETTLED:
            self._wake.set()

    def unsent(self, tag: object, relay: Relay) -> None:
        """Another connection; another relay if this one cannot be used any more, which the next turn sees."""
        if isinstance(tag, Taken):
            (self._unsettled.unasked if self._closing else self._urgent).append(tag)
        elif isinstance(tag, Claimed):
            self._forget(tag.id)
            self._hashes.pop(tag.id)
            self._queues[relay.name].appendleft(tag)
            if self._closing:
                self._give_back(self._emptied(relay))
        self._wake.set()

    def relay_down(self, relay: Relay, reason: str) -> None:
        """What it had in hand is for others, or for later."""
        reason = safe_reason(relay, reason)
        log.warning("the relay cannot be used", relay=relay.name, reason=reason)
        forget_token(relay)
        self._failed[relay.name] = (relay, reason)
        self._wake.set()

    def _next_notice(self, relay: Relay) -> Taken | None:
        for place, notice in enumerate(self._urgent):
            if usable_for([relay], notice.slug):
                del self._urgent[place]
                return notice
        return None

    def _compose(self, delivery: Claimed) -> Outgoing | None:
        try:
            message = self._letters.compose(delivery)
        except (NewsletterError, TemplateError, ValueError, LookupError) as error:
            answer = Answer(Verdict.DEFERRED, 0, f"It could not be composed: {type(error).__name__}: {error}"[:500])
            self._unsettled.outcomes.append(Outcome(delivery, answer))
            return None
        if message is None:
            self._unsettled.withdrawn.append(delivery)
            return None
        content = message.content
        self._hashes[delivery.id] = content_hash(content)
        return Outgoing(delivery, message.return_path, delivery.email, content)

    def _emptied(self, relay: Relay) -> list[Claimed]:
        """What waited for this relay, which does not need the leave for it any more."""
        queue = self._queues[relay.name]
        waiting = list(queue)
        queue.clear()
        self._unused[relay].update(delivery.domain for delivery in waiting)
        return waiting

    def _give_back(self, claimed: list[Claimed], pause: timedelta = timedelta(0), reason: str = "") -> None:
        if claimed:
            self._unsettled.returned.append((pause, reason, claimed))

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
        urgent: list[Taken] = []
        failed = dict(self._failed)
        with self._settling() as connection:
            for relay, reason in failed.values():
                resting.rest(connection, relay, reason, now)
            known = resting.states(connection, self._relays)
            usable = resting.usable(known, self._relays, now)
            if usable:
                claimed, urgent = self._claim(connection, now, at)
        for name in failed:
            del self._failed[name]
            self.tally.counts["relay down"] += 1
        self._known, self._usable, self.relays_down = known, usable, not usable
        self._share_out(usable, claimed, at)
        self._urgent += urgent
        if not usable:
            self._unsettled.unasked += self._urgent
            self._urgent.clear()

    @contextlib.contextmanager
    def _settling(self) -> Iterator[Connection]:
        """A transaction that settles all there is to settle; what stands in the database is then forgotten."""
        now = self._clock()
        batch = self._unsettled.copy()
        with self._engine.begin() as connection:
            counts = settling.settle(connection, batch.outcomes, now)
            for delivery in batch.withdrawn:
                settling.settle_withdrawn(connection, delivery, now)
            for pause, reason, claimed in batch.returned:
                settling.give_back(connection, claimed, pause, reason, now)
            counts["notices"] += notices.settle(connection, batch.told, now)
            notices.give_back(connection, batch.unasked, now + (RELAY_PAUSE if self.relays_down else timedelta(0)))
            thanks = {o.relay for o in batch.outcomes if o.answer.verdict is Verdict.ACCEPTED}
            for relay in self._relays:
                if relay.name in thanks and not self._known[relay.name].is_well(now):
                    resting.recovered(connection, relay, now)
            yield connection
        for outcome in batch.outcomes:
            self._forget(outcome.delivery.id)
        self._unsettled.drop(batch)
        while self._unused:
            self._pace.refund(*self._unused.popitem())
        self._settled += len(batch.outcomes)
        self.tally.counts += counts + Counter({"withdrawn": len(batch.withdrawn)})
        self._slow_down(batch.outcomes)

    def _slow_down(self, outcomes: Sequence[Outcome]) -> None:
        domains = {
            outcome.delivery.domain
            for outcome in outcomes
            if outcome.answer.verdict is Verdict.DEFERRED
            and is_throttle(outcome.answer.code, outcome.answer.status, outcome.answer.text)
        }
        for domain in domains:
            self._pace.slow_down(domain)

    def _claim(self, connection: Connection, now: datetime, at: float) -> tuple[list[Claimed], list[Taken]]:
        urgent = notices.claim(connection, self._settings, now) if not self._urgent else []
        # About a second's worth, so that a slow relay does not hold what others could send.
        rate = self._settled / max(at - self._turned, 0.01)
        self._batch = int(min(max(rate, BATCH[0]), BATCH[1]))
        self._turned, self._settled = at, 0
        waiting = self._waiting
        room = min(self._batch - waiting, self._journal.room - waiting - UNSETTLED)
        if room < self._batch // 2 or at < self._held_until:
            return [], urgent
        living = living_owners(journals(self._settings))
        claimed = outbox.claim(connection, self._journal.owner, now, self._lease, room, living)
        # Fewer may come back than were claimed, so that only none means none.
        self._dry = not claimed and outbox.ready_count(connection, now, 1) == 0
        if claimed:
            self._letters.prepare(connection, [*itertools.chain(*self._queues.values()), *claimed])
        return claimed, urgent

    def _share_out(self, usable: Sequence[Relay], claimed: list[Claimed], at: float) -> None:
        """To each relay its part of what was claimed, and of what lies in the queues of relays that cannot send it."""
        for relay in self._relays:
            if relay not in usable:
                claimed = [*self._emptied(relay), *claimed]
        parts, left = self._shares.allot(claimed, lambda delivery: delivery.slug, usable)
        self._give_back(left, RELAY_PAUSE, "No relay for this list can be used now.")
        for relay in usable:
            pool = self._pools.get(relay.name)
            if pool is None or pool.down:
                if pool is not None:
                    self._retired.append(pool)
                self._pools[relay.name] = Pool(relay, self, self._settings.smtp_timeout, partial(credentials_of, relay))
        for relay, deliveries in parts.items():
            self._queues[relay.name] += self._granted(relay, deliveries, at)

    def _granted(self, relay: Relay, deliveries: list[Claimed], at: float) -> list[Claimed]:
        """Those that may go now; the others are due when their time comes."""
        by_domain: dict[str, list[Claimed]] = defaultdict(list)
        for delivery in deliveries:
            by_domain[delivery.domain].append(delivery)
        granted = self._pace.grant(relay, {domain: len(found) for domain, found in by_domain.items()})
        if all(granted.by_domain[domain] == len(found) for domain, found in by_domain.items()):
            return deliveries
        if not any(granted.by_domain.values()):
            self._held_until = at + granted.wait
        now: list[Claimed] = []
        for domain, found in by_domain.items():
            count = granted.by_domain[domain]
            now += found[:count]
            rest = found[count:]
            for delivery, delay in zip(rest, granted.delays(domain, len(rest)), strict=True):
                self._give_back([delivery], timedelta(seconds=delay))
        return now

    async def _settle_the_rest(self, loop: asyncio.AbstractEventLoop) -> None:
        limit = loop.time() + PATIENCE_WITH_DATABASE
        while self._unsettled or self._failed:
            try:
                with self._settling() as connection:
                    for relay, reason in self._failed.values():
                        resting.rest(connection, relay, reason, self._clock())
                self._failed.clear()
            except DBAPIError:
                if loop.time() > limit:
                    raise
                await asyncio.sleep(PULSE_SECONDS)
