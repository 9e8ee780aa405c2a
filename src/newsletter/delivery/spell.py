"""One spell of sending: claim deliveries, compose them, hand them to the relays, settle what they answer.

The connections are driven by asyncio on one thread. Now and then the spell takes its turn with the database, which
waits in another where the wire has time to go on meanwhile: some statements for hundreds of deliveries.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from newsletter.database import reading
from newsletter.delivery.demand import UNSETTLED, Demand
from newsletter.delivery.exchange import Brought, Errand, Exchange
from newsletter.delivery.journal import Journal
from newsletter.delivery.kept import Kept
from newsletter.delivery.ledger import content_hash
from newsletter.delivery.notices import Taken
from newsletter.delivery.outbox import Claimed
from newsletter.delivery.relays import Relay, relays_of
from newsletter.delivery.reporting import without_addresses
from newsletter.delivery.resting import State
from newsletter.delivery.routing import Routed, Suspected
from newsletter.delivery.settling import Outcome
from newsletter.delivery.sharing import Sharing
from newsletter.delivery.smtp.connections import ANSWERS_TO_A_MESSAGE, Outgoing
from newsletter.delivery.smtp.conversation import Answer, Verdict
from newsletter.delivery.smtp.pools import Pool, Pools
from newsletter.delivery.smtp.tokens import credentials_of, forget_token, safe_reason
from newsletter.delivery.suspects import Suspects
from newsletter.delivery.throttling import throttled
from newsletter.delivery.unsettled import Tally, Unsettled
from newsletter.delivery.waiting import Waiting
from newsletter.settings import Settings

log = structlog.get_logger("newsletter.delivery")

T = TypeVar("T")

SPELL_SECONDS = 50.0
PULSE_SECONDS = 0.5
PATIENCE_WITH_DATABASE = 60.0


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
        self.usable: tuple[Relay, ...] = ()  # relays, as the last turn knew them
        self.is_certain = True  # of what was claimed
        self._engine = engine
        self._letters = kept.letters
        self._journal = journal
        self._clock = clock
        self._stopping = stopping
        # A message is begun only if the claim outlasts every answer that it may have to wait for.
        self._reserve = timedelta(seconds=settings.smtp_timeout) * ANSWERS_TO_A_MESSAGE
        self._relays = relays_of(settings)
        self._exchange = Exchange(engine, settings, self._relays, journal.owner, clock, kept.served_at)
        self._kept = kept
        self._known: Mapping[str, State] = {relay.name: State() for relay in self._relays}
        timeout, records = settings.smtp_timeout, kept.records
        self._pools = Pools(lambda one: Pool(one, self, timeout, partial(credentials_of, one), records[one.name]))
        self._waiting = Waiting(self._relays)
        self._suspects = Suspects()
        self._sharing = Sharing(self._relays, self._waiting, self._suspects, self._pools, self._route, kept.full_until)
        self._unsettled = Unsettled()
        self._hashes: dict[int, str] = {}
        self._handed: set[int] = set()
        self._failed: dict[Relay, str] = {}
        self._demand = Demand()
        self._wake = asyncio.Event()
        self._in_turn = self._stop = self._closing = False

    async def run(self) -> None:
        """Until nothing is ready, the spell is over, or somebody asks to stop; then everything is settled.

        Raises:
            DBAPIError: the database was away for a minute. What it could not be told is in the journal.
        """
        over = _at() + SPELL_SECONDS
        try:
            while not self._stop and not self._stopping() and (_at() < over or self._sharing.are_late(self.usable)):
                # What comes from here on is for the turn after this one.
                self._wake.clear()
                await self._try_turn()
                if self._finished():
                    break
                for relay in self.usable:
                    self._kick(relay)
                await self._woken()
        finally:
            self._closing = True
            for relay in self._relays:
                self._give_back(self._waiting.emptied(relay))
            self._give_back(self._waiting.take_passed_on())
            self._unsettled.unasked += self._waiting.take_notices()
            await self._pools.close(lambda: self._stop or self._stopping(), self._tell)
        await self._settle_the_rest()

    def able_soon(self) -> list[Relay]:
        """Relays that can be used and may carry something now or soon."""
        return self._sharing.able_soon(self.usable)

    def stop(self) -> None:
        """End it in good order."""
        self._stop = True
        self._wake.set()

    def _kick(self, relay: Relay) -> None:
        if relay not in self._sharing.late:
            self._pools.kick(relay, self._waiting.count_for(relay, self._sharing.yields))

    async def _woken(self) -> None:
        # An event that is set already gives the connections no time.
        await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            held = self._demand.held_until - _at()
            async with asyncio.timeout(min(PULSE_SECONDS, held) if held > 0 else PULSE_SECONDS):
                await self._wake.wait()

    async def _tell(self) -> None:
        with contextlib.suppress(DBAPIError):
            if self._unsettled:
                await self._told()

    def _finished(self) -> bool:
        if self._waiting or self._unsettled or self._failed or self._pools.at_work:
            return False
        if self._demand.held_until > _at():
            return not self._sharing.have_leave_soon(self.usable)
        return not self.usable or self._demand.dry

    # The office: what the pools ask and tell.

    def next_message(self, relay: Relay) -> Outgoing | None:
        """Notices before any digest; nothing once a turn has seen that the relay is paused or rests."""
        if self._stop or relay not in self.usable or relay in self._sharing.late:
            return None
        notice = self._waiting.next_notice(relay, self._sharing.yields) if self._waiting.notices else None
        if notice is not None:
            message = notice.message
            return Outgoing(notice, message.return_path, notice.email, message.content)
        while (delivery := self._waiting.next_delivery(relay, self._sharing.yields)) is not None:
            outgoing = self._compose(delivery)
            if outgoing is None:
                self._waiting.give_up(relay, delivery)
                continue
            # Asked after composing: the first digest of a process can take seconds on a busy machine.
            if self._clock() > delivery.expires - self._reserve:
                self._hashes.pop(delivery.id)
                self._waiting.put_back(relay, delivery)
                self._give_back(self._waiting.emptied(relay))
                break
            self._journal.hold(delivery.id)
            self._claim_if_urgent()
            return outgoing
        self._claim_if_urgent()
        return None

    def handing(self, tag: object) -> None:
        """From here on a digest may have been accepted, whatever becomes of this process."""
        if isinstance(tag, Claimed):
            self._journal.note_handed(tag.id, bytes.fromhex(self._hashes[tag.id]))
            self._handed.add(tag.id)

    def answered(self, tag: object, answer: Answer, relay: Relay) -> None:
        """Noted at once, settled with the next turn; but what another relay may take, that tries at once."""
        assert isinstance(tag, (Taken, Claimed))
        noted = self._sharing.noted(tag, answer, relay, is_over=self._closing)
        if noted is None:
            self._put_back(relay, tag, self._waiting.pass_on)
            return
        if isinstance(tag, Claimed) and tag.id in self._handed:
            self._journal.note_answer(tag.id, noted)
        elif noted.verdict is Verdict.ACCEPTED and isinstance(tag, Taken):
            self._unsettled.thanks.append((relay.name, tag.claimed_at))
        self._note(tag, noted, relay)
        is_last = self._demand.dry and not self._waiting and not self._pools.at_work
        if is_last or len(self._unsettled.outcomes) >= UNSETTLED:
            self._wake.set()

    def unsent(self, tag: object, relay: Relay, *, is_to_blame: bool) -> bool:
        """Another relay, or another connection, after the next turn. What a relay hangs up over twice is deferred."""
        assert isinstance(tag, (Taken, Claimed))
        was_suspected = self._suspects.has(relay, tag)
        blamed = is_to_blame and not self._closing
        if blamed and (refusal := self._suspects.blame(relay, tag)):
            self._note(tag, refusal, relay)
            self._wake.set()
        else:
            self._put_back(relay, tag, self._waiting.suspect if blamed else self._waiting.put_back)
        return was_suspected

    def ended(self, relay: Relay) -> None:
        """Another may be needed at once."""
        if relay in self.usable and not self._stop:
            self._kick(relay)

    def relay_down(self, relay: Relay, reason: str) -> None:
        """What it had in hand is for others, or for later."""
        # Relays like to repeat to whom it was to go.
        reason = without_addresses(safe_reason(relay, reason))
        log.warning("the relay cannot be used", relay=relay.name, reason=reason)
        forget_token(relay)
        for message, answer in self._sharing.forsaken(relay):
            self._note(message, answer, relay)
        self._failed[relay] = reason
        self._wake.set()

    def _compose(self, delivery: Claimed) -> Outgoing | None:
        try:
            message = self._letters.compose(delivery)
        except DBAPIError:
            # It was not prepared, and cannot be now.
            self._give_back([delivery])
            return None
        except Exception as error:  # noqa: BLE001 - the connection that asks has others to carry
            log.warning("a digest could not be composed", delivery=delivery.id, error=type(error).__name__)
            answer = Answer(Verdict.DEFERRED, 0, f"It could not be composed: {type(error).__name__}: {error}"[:500])
            self._unsettled.outcomes.append(Outcome(delivery, answer))
            return None
        if message is None:
            self._unsettled.withdrawn.append(delivery)
            return None
        content = message.content
        self._hashes[delivery.id] = content_hash(content)
        return Outgoing(delivery, message.return_path, delivery.email, content)

    def _note(self, message: Taken | Claimed, answer: Answer, relay: Relay) -> None:
        """What the next turn will settle."""
        if isinstance(message, Taken):
            self._unsettled.told.append((message, answer))
        else:
            self._unsettled.outcomes.append(Outcome(message, answer, relay.name, self._hashes.pop(message.id, "")))

    def _put_back(self, relay: Relay, message: Taken | Claimed, place: Callable[[Relay, Claimed], None]) -> None:
        """It was certainly not accepted, and waits in its place."""
        if isinstance(message, Claimed):
            self._forget(message.id)
            self._hashes.pop(message.id)
            place(relay, message)
            if self._closing:
                self._give_back(self._waiting.emptied(relay))
        else:
            (self._unsettled.unasked if self._closing else self._waiting.notices).append(message)
        self._wake.set()

    def _give_back(self, claimed: list[Claimed], pause: timedelta = timedelta(0), reason: str = "") -> None:
        if claimed:
            self._unsettled.returned.append((pause, reason, claimed))

    def _forget(self, delivery_id: int) -> None:
        self._journal.forget(delivery_id)
        self._handed.discard(delivery_id)

    def _claim_if_urgent(self) -> None:
        if not self._in_turn and self._demand.is_urgent(*self._places()):
            self._wake.set()

    # Turns with the database.

    async def _try_turn(self) -> None:
        """A turn; a database that is away is asked again at the next one, and the journal holds what it missed."""
        self._in_turn = True
        try:
            await self._turn()
        except DBAPIError as error:
            log.warning("the database does not answer; what was sent is noted", reason=type(error.orig).__name__)
            self._engine.dispose()
            self._demand.failed()
            # It may have done what it was asked for, and only its answer was lost.
            self.is_certain = False
        finally:
            self._in_turn = False
        self._claim_if_urgent()

    async def _turn(self) -> None:
        relays = self.usable or self._relays
        self._demand.held_until = self._sharing.full_until(relays)
        self._sharing.recount(relays)
        room = self._demand.room(*self._places())
        # Asked before the claim, which leaves out what is for these.
        soon = self._sharing.have_leave_soon(relays)
        late = self._sharing.late
        unnoticed = frozenset(one for one in self._relays if not (one in late or self._waiting.notices_for([one])))
        supplied, hungry = self._sharing.supplied(relays), self._sharing.hungry(relays) if room else frozenset()
        brought = await self._told(room, supplied=supplied, hungry=hungry, unnoticed=unnoticed)
        if room and brought.usable:
            self._demand.claimed(len(brought.claimed), more=brought.more, dry=brought.dry and not soon)
        elif room:
            self._demand.failed()
        self._known = brought.known
        # One that has failed meanwhile rests from the next turn on.
        self.usable = tuple(relay for relay in brought.usable if relay not in self._failed)
        self._pools.open(self.usable)
        self._waiting.notices += brought.taken
        # Where others are served, they can send them at once.
        unsettled = self._unsettled.unasked if brought.no_room else self._unsettled.unroutable
        unsettled += self._waiting.take_notices(unless_for=self.usable)
        if brought.claimed:
            self._prepare(brought.claimed)
        routed = await self._sharing.share_out(brought.claimed, self.usable)
        for seconds, deliveries in routed.later.items():
            self._give_back(deliveries, timedelta(seconds=seconds))
        later = sum(map(len, routed.later.values()))
        self._demand.put_off(later, len(brought.claimed), full=bool(routed.full))
        # Whoever can send it finds it due.
        self._give_back(routed.left, reason="No relay for this list can be used now.")
        self._demand.held_until = self._sharing.full_until(self.usable)

    async def _told(self, room: int = 0, **relays: frozenset[Relay]) -> Brought:
        """Tell the database all there is to tell, then forget it; and claim so much, for ``relays`` as errands have."""
        told, failed = self._unsettled.copy(), dict(self._failed)
        errand = Errand(told, failed, self._known, room, **relays)
        unused = self._waiting.take_unused()
        brought = await self._aside(lambda: self._run(errand, unused))
        for outcome in told.outcomes:
            self._forget(outcome.delivery.id)
        self._unsettled.drop(told)
        for relay in failed:
            del self._failed[relay]
        self.tally.counts += brought.counts + Counter({"relay down": len(failed.keys() - brought.no_room)})
        self._demand.settled(len(told.outcomes), _at())
        return brought

    async def _aside(self, work: Callable[[], T]) -> T:
        """Do what waits for others while the connections go on; but at once where there is no time to spare."""
        return work() if self._demand.dense else await asyncio.to_thread(work)

    def _run(self, errand: Errand, unused: list[tuple[Relay, Counter[str]]]) -> Brought:
        self._refund(unused)
        brought = self._exchange.run(errand)
        answers = [(outcome.delivery.domain, outcome.answer) for outcome in errand.told.outcomes]
        for domain in throttled(answers):
            self._kept.pace.slow_down(domain)
        return brought

    async def _route(self, claimed: Sequence[Claimed], relays: Sequence[Relay], is_suspect: Suspected | None) -> Routed:
        """What moves must not find its own leave taken."""
        unused = self._waiting.take_unused()

        def work() -> Routed:
            self._refund(unused)
            return self._kept.routing.route(claimed, relays, is_suspect)

        return await self._aside(work)

    def _refund(self, unused: list[tuple[Relay, Counter[str]]]) -> None:
        for relay, domains in unused:
            self._kept.pace.refund(relay, domains)
            self._kept.full_until.pop(relay, None)

    def _prepare(self, claimed: list[Claimed]) -> None:
        try:
            with reading(self._engine) as connection:
                self._letters.prepare(connection, [*self._waiting.deliveries(), *claimed])
        except DBAPIError:
            self._give_back(claimed)
            raise
        except Exception as error:  # noqa: BLE001 - read one by one, only those with the defect wait
            log.warning("a batch could not be prepared at once", error=type(error).__name__)

    def _places(self) -> tuple[int, int, float]:
        """What the demand depends on: what waits, but for what stands still; room in the journal; the moment."""
        return len(self._waiting) - self._sharing.stuck, self._journal.room - self._sharing.stuck, _at()

    async def _settle_the_rest(self) -> None:
        limit = _at() + PATIENCE_WITH_DATABASE
        while self._unsettled or self._failed:
            try:
                await self._told()
            except DBAPIError:
                if _at() > limit:
                    raise
                await asyncio.sleep(PULSE_SECONDS)


def _at() -> float:
    """Seconds by the clock that what is kept from spell to spell is timed by; the loop's own stands while it works."""
    return time.monotonic()
