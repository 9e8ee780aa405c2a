"""A connection to a relay, driven by asyncio: an SMTP conversation and its socket, TLS and time limits.

The conversation decides what is said (``conversation.py``); how many connections there are, their pool (``pools.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from dataclasses import dataclass
from functools import cache
from typing import Protocol, cast

from newsletter.delivery.relays import Relay
from newsletter.delivery.smtp.conversation import Answer, Conversation, Credentials, Verdict
from newsletter.delivery.smtp.outcomes import Answered, Closed, Down, Event, Ready, Step, Unsent, UpgradeToTls
from newsletter.errors import NewsletterError

# RFC 5321, 4.5.3.2: a relay may think far longer about a message it holds than about a command, and who does not
# wait sends it twice.
DOT_PATIENCE = 6
# The longest exchange over one message: the final dot of the one before it, three answers, and its own dot.
ANSWERS_TO_A_MESSAGE = 2 * DOT_PATIENCE + 3
QUIT_SECONDS = 2.0
DOT = b".\r\n"


@cache
def local_name() -> str:
    """What we call ourselves in EHLO: this host's full name, else an address literal (RFC 5321, 4.1.3)."""
    name = socket.getfqdn()
    return name if "." in name and name.isascii() else "[127.0.0.1]"


@dataclass(slots=True)  # not frozen: that would take thrice the time, for each message
class Outgoing:
    """A message on its way; ``tag`` is handed back with what becomes of it."""

    tag: object
    sender: str
    recipient: str
    content: bytes


class Office(Protocol):
    """Where messages come from, and where it is told what became of them."""

    def next_message(self, relay: Relay) -> Outgoing | None:
        """The next message for this relay; None if there is none now."""

    def handing(self, tag: object) -> None:
        """The end of this message is about to be written: from here on it may be accepted."""

    def answered(self, tag: object, answer: Answer, relay: Relay) -> None:
        """The relay's answer."""

    def unsent(self, tag: object, relay: Relay, *, is_to_blame: bool) -> bool:
        """It was certainly not accepted; ``is_to_blame``: as far as is seen. Gives whether it was suspected before."""

    def ended(self, relay: Relay) -> None:
        """A connection that was of use has ended: there may be need of another."""

    def relay_down(self, relay: Relay, reason: str) -> None:
        """The relay cannot be used at all now."""


class Owner(Protocol):
    """The pool that a connection belongs to."""

    relay: Relay
    office: Office
    timeout: float
    stopping: bool
    moved_at: float

    def tls(self) -> ssl.SSLContext:
        """For STARTTLS."""

    def joined(self, line: Line) -> None:
        """The connection stands."""

    def heard(self, answer: Answer) -> None:
        """The relay answered a message."""

    def is_alone(self, line: Line) -> bool:
        """Whether no other connection stands or is about to."""

    def left(self, line: Line, reason: str) -> None:
        """It has ended."""


def _acknowledge(transport: asyncio.Transport) -> None:
    """Acknowledge at once what has come.

    A relay that writes each answer by itself has the next one held back until then (RFC 896), and the kernel puts it
    off for 40 ms, in the hope that we say something: hundreds of times what a message takes.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        with contextlib.suppress(OSError, ValueError):  # it may just have ended
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, pool: Owner, credentials: Credentials | None, task: asyncio.Task[None]) -> None:
        """``task``: which opens it."""
        relay = pool.relay
        self.task = task
        self._pool = pool
        self._conversation = Conversation(
            local_name=local_name(),
            starttls=relay.security == "starttls",
            credentials=credentials,
            # A password in clear is refused when the configuration is read, but for this machine.
            allow_clear_login=relay.security == "none",
        )
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._limit = 0.0
        self._step = Step.GREETING
        self._unwritten = False
        self._after_dot = 0
        self._sent = 0
        self._problem = ""
        self._upgrading: asyncio.Task[None] | None = None
        self._last_words = ""
        self._over = False
        self.overdue = False
        """Whether it was ended since an answer did not come in time."""
        self.greeted = False
        """Whether it ever was ready for messages."""
        self.suspected = False
        """Whether it ended over a message that other connections had ended over."""
        self.had_company = False
        """Whether it ended over its first message while others stood."""
        self.carrying = 0
        self.answers = 0
        self.ready = False
        self.failed = False

    @property
    def idle(self) -> bool:
        """Whether it waits for a message."""
        return self.ready and self.carrying == 0 and self._conversation.wants_message

    @property
    def was_used(self) -> bool:
        """Whether it was given a message."""
        return self._sent > 0

    @property
    def _unwritten_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._unwritten and self._transport else 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP stands, and TLS if the relay wants it from the start."""
        # uvloop's transports are of no class that says so.
        self._use(cast(asyncio.Transport, transport))
        if self._pool.relay.security == "tls":
            self._report(self._conversation.encrypted())
        self._pool.joined(self)
        self._restart_clock()

    def _use(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        # Told of any byte that the kernel has not taken: so we know whether a final dot has left us. A transport of TLS
        # tells when it holds as much, one of TCP when it holds more. What TLS has given on to TCP counts as taken.
        transport.set_write_buffer_limits(high=1 if transport.get_extra_info("sslcontext") else 0)

    def pause_writing(self) -> None:
        """The kernel did not take everything."""
        self._unwritten = True

    def resume_writing(self) -> None:
        """It has now."""
        self._unwritten = False
        self._restart_clock()

    def data_received(self, data: bytes) -> None:
        """Answers."""
        self.go_on(self._conversation.receive(data, dot_written=self._unwritten_bytes <= self._after_dot))

    def connection_lost(self, error: Exception | None) -> None:
        """The other side, or we, ended it."""
        if self._upgrading is not None:
            return
        reason = f"{self._pool.relay} closed the connection" + (f": {error}" if error else "")
        reason = self._last_words or reason
        # Where the next envelope followed the dot, nobody knows whether the kernel's rest was only that.
        self._report(self._conversation.lost(reason, dot_written=not self._unwritten or self._after_dot > 0))
        self.failed = bool(self._problem) or not self.greeted
        self.ready = False
        self._pool.left(self, self._problem or reason)

    def go_on(self, events: list[Event]) -> None:
        """Tell what happened, take more messages if the conversation can, write what it has to say."""
        self._report(events)
        conversation, pool = self._conversation, self._pool
        most = pool.relay.messages_per_connection
        while conversation.wants_message and not pool.stopping and not (most and self._sent >= most):
            outgoing = pool.office.next_message(pool.relay)
            if outgoing is None:
                break
            self.carrying += 1
            self._sent += 1
            self._report(conversation.submit(outgoing.tag, outgoing.sender, outgoing.recipient, outgoing.content))
        if most and self._sent >= most and self.carrying == 0 and self.ready:
            self.leave()
        self._write()

    def _write(self) -> None:
        buffers = self._conversation.outgoing()
        if DOT in buffers:
            self._after_dot = sum(map(len, buffers[buffers.index(DOT) + 1 :]))
            # A lone dot hands nothing over.
            if (handed := self._conversation.handed) is not None:
                self._pool.office.handing(handed)
        else:
            # An envelope may also follow its dot with a later write.
            self._after_dot += sum(map(len, buffers))
        if self._transport is not None:
            if buffers:
                self._transport.writelines(buffers)
            elif self._conversation.waiting_for is not Step.NOTHING:
                _acknowledge(self._transport)
        if buffers or self._step is not self._conversation.waiting_for:
            self._restart_clock()

    def _restart_clock(self) -> None:
        self._step = self._conversation.waiting_for
        patience = QUIT_SECONDS if self._step is Step.QUIT or self._over else self._pool.timeout
        self._limit = self._loop.time() + patience * (DOT_PATIENCE if self._step is Step.DOT else 1)

    def look(self, now: float) -> None:
        """End it if its answer is overdue, or what we write does not move. A handshake has a limit of its own."""
        if now < self._limit or self._upgrading is not None:
            return
        if self._over and self._transport is not None:
            # The end of TLS is a conversation, too.
            self._transport.abort()
        elif self._step is not Step.NOTHING:
            self.overdue = True
            self.abort("no answer in time")

    def _report(self, events: list[Event]) -> None:
        office = self._pool.office
        for event in events:
            match event:
                case Answered(tag=tag, answer=answer):
                    self.carrying -= 1
                    # An answer that was lost is none: a relay that always hangs up then must not get the whole queue.
                    self.answers += answer.verdict is not Verdict.UNKNOWN
                    self._pool.heard(answer)
                    office.answered(tag, answer, self._pool.relay)
                case Unsent(tag=tag):
                    self.carrying -= 1
                    # What was the first of the only connection had no other message before it, nor met a limit.
                    is_first, is_alone = self._sent == 1, self._pool.is_alone(self)
                    self.had_company = is_first and not is_alone
                    blamed = is_first and is_alone and not isinstance(events[-1], Down)
                    self.suspected = office.unsent(tag, self._pool.relay, is_to_blame=blamed)
                case Ready():
                    self.ready = self.greeted = True
                    self._pool.moved_at = self._loop.time()
                case UpgradeToTls():
                    self._upgrading = self._loop.create_task(self._upgrade())
                case Down(reason=reason):
                    self._problem = f"{self._pool.relay}: {reason}"
                    self._hang_up()
                case Closed(reason=reason):
                    self._last_words = f"{self._pool.relay}: {reason}"
                    self._hang_up()

    async def _upgrade(self) -> None:
        assert self._transport is not None
        relay = self._pool.relay
        self._write()
        try:
            made = await self._loop.start_tls(
                self._transport,
                self,
                self._pool.tls(),
                server_hostname=relay.host,
                ssl_handshake_timeout=self._pool.timeout,
            )
        except ssl.SSLCertVerificationError as error:
            self._problem = f"{relay} has a certificate that is not trusted: {error.verify_message}"
        except NewsletterError as error:
            self._problem = f"{relay}: {error}"
        # Each event loop has its own for a connection that ends in the middle of it.
        except (OSError, ValueError, RuntimeError, AssertionError) as error:
            self._problem = f"{relay} does not manage TLS: {error}"
        else:
            if made is None or made.is_closing():
                # The connection ended meanwhile.
                self._problem = f"{relay} does not manage TLS: it closed the connection"
                self._upgrading = None
                self.connection_lost(None)
                return
            self._upgrading = None
            self._use(made)
            self.go_on(self._conversation.encrypted())
            return
        self._upgrading = None
        self._transport.abort()
        self.connection_lost(None)

    def hurry(self) -> None:
        """Begin no content any more."""
        self._conversation.hurry()

    def leave(self) -> None:
        """Say goodbye; the relay's answer ends the connection."""
        self._conversation.quit()
        self.ready = False
        self._write()

    def abort(self, reason: str) -> None:
        """End it now, whatever is in flight."""
        # Nothing is left, too, once the transport has met an error and thrown away what the kernel did not take.
        dot_written = not self._unwritten or self._unwritten_bytes <= self._after_dot > 0
        self._report(self._conversation.lost(reason, dot_written=dot_written))
        self._last_words = self._last_words or f"{self._pool.relay}: {reason}"
        if not self.greeted and not self._problem:
            self._problem = self._last_words
        if self._transport is not None:
            self._transport.abort()

    def _hang_up(self) -> None:
        self.ready = False
        self._over = True
        self._restart_clock()
        if self._transport is not None:
            with contextlib.suppress(OSError):
                # What the relay does not read would keep a connection open that is over.
                (self._transport.abort if self._unwritten else self._transport.close)()
