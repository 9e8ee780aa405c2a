"""All connections of a process to one relay: how many, when they are opened, and when the relay is said to be down."""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from newsletter.delivery.relays import Relay
from newsletter.delivery.smtp.connections import ANSWERS_TO_A_MESSAGE, QUIT_SECONDS, Line, Office, local_name
from newsletter.delivery.smtp.conversation import Answer, Credentials, Verdict
from newsletter.delivery.smtp.meaning import says_ill
from newsletter.delivery.smtp.probing import trusting
from newsletter.errors import NewsletterError

WATCH_SECONDS = 0.5
GRACE_SECONDS = 15.0
STANDSTILL_SECONDS = 2.0
"""After so long without an answer to what it has in hand, others carry what waits for a relay, as far as they may."""
BARREN, BARREN_FOR_SUSPECTS = 3, 30
"""Connections in a row that ended before they were of use: each over another message, or over whichever."""
ILL_IN_A_ROW = 3
"""Messages in a row that a relay took not, and said that it takes nothing now."""
# Of few messages each waits less for the one before it than for a new connection, unless answers take long.
PER_CONNECTION, WAIT_SECONDS = 10, 0.5


@dataclass(slots=True)
class Record:
    """What went wrong in a row: connections that ended before they were of use, messages that the relay took for no
    one. It outlives a spell: three may take longer."""

    barren: int = 0
    ended: int = 0
    ill: int = 0


class Pool:
    """All connections of this process to one relay."""

    def __init__(
        self,
        relay: Relay,
        office: Office,
        timeout: float,
        credentials: Callable[[], Credentials | None],
        record: Record | None = None,
    ) -> None:
        """``timeout`` in seconds holds for each answer; ``credentials`` may take its time (a token command)."""
        self.relay = relay
        self.office = office
        self.timeout = timeout
        self.down = False
        self.stopping = False
        self._credentials = credentials
        self._most = relay.connections
        """Fewer once the relay has refused one while others stood."""
        self._over_a_message = False
        """Whether the only connection ended over one: if another is of use then, that was to blame, and no limit."""
        self._addresses: asyncio.Future[list[str]] | None = None
        self._lines: set[Line] = set()
        self._opening: set[asyncio.Task[None]] = set()
        # A token command or a lookup that hangs is to hold up nothing but this relay.
        self._asking = ThreadPoolExecutor(1, "asking")
        self._tls: ssl.SSLContext | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._record = record or Record()
        self._limit = math.inf
        self.moved_at = 0.0
        """When it last answered, or began to have something in hand."""
        self.answers = 0
        """How many messages it answered."""
        self._answers_before: deque[int] = deque(maxlen=1 + round(STANDSTILL_SECONDS / WATCH_SECONDS))
        """As they were when it was looked at last, and the times before."""

    @property
    def busy(self) -> bool:
        """Whether a message is in flight, or a connection is being opened for one."""
        return bool(self._opening) or any(line.carrying for line in self._lines)

    @property
    def at_work(self) -> bool:
        """Whether it is busy, or the first greeting is still to come."""
        return self.busy or (bool(self._lines) and not any(line.greeted for line in self._lines))

    @property
    def stands_still(self) -> bool:
        """Whether it has long had no answer to what it has in hand, or no greeting."""
        return self.at_work and asyncio.get_running_loop().time() > self.moved_at + STANDSTILL_SECONDS

    @property
    def answered_lately(self) -> int | None:
        """How many messages it answered in the last two seconds; None if it was not at work for so long."""
        if self.stands_still:
            return 0
        before = self._answers_before
        return self.answers - before[0] if len(before) == before.maxlen else None

    def kick(self, waiting: int) -> None:
        """There is work for ``waiting`` more messages: offer it to idle connections, open more as needed."""
        if self.down or self.stopping:
            return
        if not self.at_work:
            self.moved_at = asyncio.get_running_loop().time()
        for line in list(self._lines):
            if line.idle:
                line.go_on([])
        if self._over_a_message and any(line.answers for line in self._lines):
            self._most, self._over_a_message = self.relay.connections, False
        lately = self.answered_lately
        is_long = lately and waiting / lately * STANDSTILL_SECONDS > WAIT_SECONDS
        wanted = len(self._lines) + waiting if is_long else -(-waiting // PER_CONNECTION)
        for _ in range(min(self._most, wanted) - self._others()):
            self._open()
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(WATCH_SECONDS, self._look)

    async def close(self) -> None:
        """No new messages; wait for the answers to those that are under way, then end all connections."""
        self.stopping = True
        for task in list(self._opening):
            task.cancel()
        self._asking.shutdown(wait=False, cancel_futures=True)
        loop = asyncio.get_running_loop()
        # Each answer has its own limit; this is for all of them to have come.
        self._limit = min(self._limit, loop.time() + ANSWERS_TO_A_MESSAGE * self.timeout)
        while self.busy and loop.time() < self._limit:
            await asyncio.sleep(0.01)
        for line in list(self._lines):
            line.leave()
        limit = loop.time() + QUIT_SECONDS
        while self._lines and loop.time() < limit:
            await asyncio.sleep(0.005)
        for line in list(self._lines):
            line.abort("the worker stopped before the answer came")
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def hurry(self, grace: float) -> None:
        """Once it is closing: wait for answers up to ``grace`` seconds from now on, and begin no content any more."""
        self._limit = min(self._limit, asyncio.get_running_loop().time() + grace)
        for line in self._lines:
            line.hurry()

    def _open(self) -> None:
        task = asyncio.get_running_loop().create_task(self._connect())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        relay, loop = self.relay, asyncio.get_running_loop()
        try:
            credentials = await loop.run_in_executor(self._asking, self._credentials)
            await self._reach(credentials)
        except ssl.SSLCertVerificationError as error:
            self._not_opened(f"{relay} has a certificate that is not trusted: {error.verify_message}")
        except TimeoutError:
            self._not_opened(f"{relay} does not answer within {self.timeout:.0f} s")
        except OSError as error:
            self._not_opened(f"{relay} cannot be reached: {error.strerror or error}")
        except NewsletterError as error:
            self._not_opened(f"{relay}: {error}")
        except ValueError as error:
            self._not_opened(f"{relay} cannot be looked up: {error}")

    async def _reach(self, credentials: Credentials | None) -> None:
        """Connect to one of its addresses, between which the time is shared (RFC 5321, 5)."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task
        async with asyncio.timeout(self.timeout):
            if self._addresses is None:
                self._addresses = loop.run_in_executor(self._asking, self._look_up)
            try:
                addresses = await asyncio.shield(self._addresses)
            except (OSError, ValueError):
                self._addresses = None
                raise
            for left, address in zip(range(len(addresses), 0, -1), list(addresses), strict=True):
                try:
                    async with asyncio.timeout(self.timeout / len(addresses)):
                        await self._connect_to(address, Line(self, credentials, task))
                except OSError:
                    if left == 1:
                        raise
                else:
                    # The next connection begins with the one that answers.
                    addresses.insert(0, addresses.pop(addresses.index(address)))
                    return

    async def _connect_to(self, address: str, line: Line) -> None:
        relay, loop = self.relay, asyncio.get_running_loop()
        tls = self.tls() if relay.security == "tls" else None
        host = relay.host if tls else None
        try:
            await loop.create_connection(lambda: line, address, relay.port, ssl=tls, server_hostname=host)
        except BaseException:
            if line in self._lines:
                # Its time was over just when it stood, and not every event loop tells it that it has ended.
                self._lines.discard(line)
                self._opening.add(line.task)
            raise

    def _look_up(self) -> list[str]:
        local_name()  # for the greeting: it may take as long
        found = socket.getaddrinfo(self.relay.host, self.relay.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def tls(self) -> ssl.SSLContext:
        """Certificates are verified; ``ca_file`` adds to those that the system trusts."""
        if self._tls is None:
            self._tls = trusting(self.relay)
        return self._tls

    def joined(self, line: Line) -> None:
        """A connection stands."""
        self._opening.discard(line.task)
        self._lines.add(line)

    def heard(self, answer: Answer) -> None:
        """It answered a message. Who says so often that it takes nothing now is asked no more."""
        self.moved_at = asyncio.get_running_loop().time()
        self.answers += 1
        if answer.verdict is Verdict.ACCEPTED:
            self._record.ill = 0
        elif says_ill(answer) and not self.down:
            # What it had in hand when it went down says nothing of the next time.
            self._record.ill += 1
            if self._record.ill >= ILL_IN_A_ROW:
                self._fail(f"{self.relay} takes nothing now: {answer.code} {answer.text}")
                for line in list(self._lines):
                    line.leave()

    def is_alone(self, line: Line) -> bool:
        """Whether no other connection stands or is about to."""
        return not self._others(line)

    def left(self, line: Line, reason: str) -> None:
        """A connection has ended. One that was of no use is a failure, and several in a row are the relay's."""
        if line not in self._lines:
            # Its time was over while it was opened.
            return
        others, record = self._others(line), self._record
        self._lines.discard(line)
        if self.down:
            # What it still had open then says nothing of the next time.
            return
        if line.failed and not others:
            self._fail(reason)
        elif line.answers:
            record.barren = record.ended = 0
            self.office.ended(self.relay)
        elif line.greeted and not line.was_used and not line.failed:
            # It was given nothing to do.
            pass
        elif (others or line.had_company) and not line.overdue and not (line.failed and line.greeted):
            # While others stand, or are about to, it may be the relay's limit of connections, and no fault.
            self._most = max(others, 1)
        else:
            self._over_a_message = not others
            record.barren += not line.suspected
            record.ended += 1
            too_many = record.barren >= BARREN or record.ended >= BARREN_FOR_SUSPECTS
            if too_many and not any(other.answers for other in self._lines):
                self._fail(reason)

    def _not_opened(self, reason: str) -> None:
        task = asyncio.current_task()
        assert task
        self._opening.discard(task)
        if others := self._others():
            self._most = others
        else:
            self._fail(reason)

    def _others(self, line: Line | None = None) -> int:
        return len(self._lines - {line}) + len(self._opening)

    def _fail(self, reason: str) -> None:
        if not self.down and not self.stopping:
            self.down = True
            self._record.barren = self._record.ended = self._record.ill = 0
            self.office.relay_down(self.relay, reason)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for line in list(self._lines):
            line.look(now)
        # Not as soon as its only connection has ended, since another follows at once; nor while that waits for the
        # answer to a goodbye.
        if self._opening or not all(line.idle for line in self._lines):
            self._answers_before.append(self.answers)
        else:
            self._answers_before.clear()
        self._watch = asyncio.get_running_loop().call_later(WATCH_SECONDS, self._look)


class Pools:
    """The pools of a spell, by relay. One that was down is followed by another when its relay can be used again."""

    def __init__(self, make: Callable[[Relay], Pool]) -> None:
        self._make = make
        self._pools: dict[Relay, Pool] = {}
        self.all: list[Pool] = []
        """Also those that were down."""

    @property
    def at_work(self) -> bool:
        """Whether a message is in flight, or a connection is being opened for one and not greeted yet."""
        return any(pool.at_work for pool in self._pools.values())

    async def close(self, is_hurried: Callable[[], bool], tell: Callable[[], Awaitable[None]]) -> None:
        """Wait for what relays still think about, and ``tell`` meanwhile what they answered.

        Who gives up sooner sends it twice. Who is hurried gives up.
        """
        closing = asyncio.gather(*(pool.close() for pool in self.all), return_exceptions=True)
        telling = asyncio.ensure_future(tell())
        while not closing.done():
            if is_hurried():
                for pool in self.all:
                    pool.hurry(GRACE_SECONDS)
            if telling.done():
                telling = asyncio.ensure_future(tell())
            await asyncio.wait([closing], timeout=WATCH_SECONDS)
        await telling
        for failure in filter(None, await closing):
            raise failure

    def open(self, relays: Iterable[Relay]) -> None:
        """Have one for each of these."""
        for relay in relays:
            pool = self._pools.get(relay)
            if pool is None or pool.down:
                self._pools[relay] = self._make(relay)
                self.all.append(self._pools[relay])

    def kick(self, relay: Relay, waiting: int) -> None:
        """There is work for ``waiting`` more messages."""
        self._pools[relay].kick(waiting)

    def is_down(self, relay: Relay) -> bool:
        """Whether it cannot be used."""
        return relay in self._pools and self._pools[relay].down

    def is_at_work(self, relay: Relay) -> bool:
        """Whether it has something in hand."""
        return relay in self._pools and self._pools[relay].at_work

    def stands_still(self, relay: Relay) -> bool:
        """Whether it has long had no answer to what it has in hand."""
        return relay in self._pools and self._pools[relay].stands_still

    def lagging(self, waiting: Mapping[Relay, int]) -> dict[Relay, int]:
        """Those of these relays for which as much waits as they answered lately; each with how much that is."""
        lately = {relay: self._pools[relay].answered_lately for relay in waiting if relay in self._pools}
        return {relay: count for relay, count in lately.items() if count is not None and count <= waiting[relay]}
