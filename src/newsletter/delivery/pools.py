"""All connections of a process to one relay: how many, when they are opened, and when the relay is said to be down."""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from newsletter.delivery.connections import ANSWERS_TO_A_MESSAGE, QUIT_SECONDS, Line, Office
from newsletter.delivery.conversation import Credentials
from newsletter.delivery.probing import trusting
from newsletter.delivery.relays import Relay
from newsletter.errors import NewsletterError

WATCH_SECONDS = 0.5
BARREN, BARREN_FOR_SUSPECTS = 3, 30
"""Connections in a row that ended before they were of use: each over another message, or over whichever."""
# Of few messages each waits less for the one before it than for a new connection.
PER_CONNECTION = 10


class Pool:
    """All connections of this process to one relay."""

    def __init__(self, relay: Relay, office: Office, timeout: float, credentials: Callable[[], Credentials | None]):
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
        self._barren = self._ended = 0
        self._limit = math.inf

    @property
    def busy(self) -> bool:
        """Whether a message is in flight, or a connection is being opened for one."""
        return bool(self._opening) or any(line.carrying for line in self._lines)

    def kick(self, waiting: int) -> None:
        """There is work for ``waiting`` more messages: offer it to idle connections, open more as needed."""
        if self.down or self.stopping:
            return
        for line in list(self._lines):
            if line.idle:
                line.go_on([])
        if self._over_a_message and any(line.answers for line in self._lines):
            self._most, self._over_a_message = self.relay.connections, False
        open_now = len(self._lines) + len(self._opening)
        wanted = min(self._most, -(-waiting // PER_CONNECTION))
        for _ in range(wanted - open_now):
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
        relay, loop = self.relay, asyncio.get_running_loop()
        tls = self.tls() if relay.security == "tls" else None
        task = asyncio.current_task()
        assert task
        async with asyncio.timeout(self.timeout):
            if self._addresses is None:
                self._addresses = loop.run_in_executor(self._asking, self._look_up)
            try:
                addresses = await asyncio.shield(self._addresses)
            except (OSError, ValueError):
                self._addresses = None
                raise
            for address in addresses:
                try:
                    async with asyncio.timeout(self.timeout / len(addresses)):
                        await loop.create_connection(
                            lambda: Line(self, credentials, task),
                            address,
                            relay.port,
                            ssl=tls,
                            server_hostname=relay.host if tls else None,
                        )
                except OSError:
                    if address == addresses[-1]:
                        raise
                else:
                    return

    def _look_up(self) -> list[str]:
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

    def is_alone(self, line: Line) -> bool:
        """Whether no other connection stands or is about to."""
        return not self._others(line)

    def left(self, line: Line, reason: str) -> None:
        """A connection has ended. One that was of no use is a failure, and several in a row are the relay's."""
        others = self._others(line)
        self._lines.discard(line)
        if line.failed and not others:
            self._fail(reason)
        elif line.answers:
            self._barren = self._ended = 0
        elif others and not (line.failed and line.greeted):
            # While others stand, or are about to, it may be the relay's limit of connections, and no fault; nor is it
            # one if it was given nothing to do.
            if line.was_used or not line.greeted:
                self._most = others
        else:
            self._over_a_message = not others
            self._barren += not line.suspected
            self._ended += 1
            too_many = self._barren >= BARREN or self._ended >= BARREN_FOR_SUSPECTS
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
            self.office.relay_down(self.relay, reason)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for line in list(self._lines):
            line.look(now)
        self._watch = asyncio.get_running_loop().call_later(WATCH_SECONDS, self._look)
