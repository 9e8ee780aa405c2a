"""One conversation with a relay, many messages long (RFC 5321), as a state machine without sockets or clock.

A driver carries bytes: what the relay sends into ``receive``, what ``outgoing`` gives to the relay. Where PIPELINING
is offered (RFC 2920), a content, its final dot and the next envelope travel together: one round trip a message.
The dot of the next content waits for the answer to the last one, so that at most one is ever unanswered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from newsletter.delivery.smtp.commands import Credentials, Login, dot_stuffed, envelope, is_path, login
from newsletter.delivery.smtp.meaning import verdict_of
from newsletter.delivery.smtp.outcomes import (
    Answer,
    Answered,
    Closed,
    Down,
    Event,
    Ready,
    Step,
    Unsent,
    UpgradeToTls,
    Verdict,
)
from newsletter.delivery.smtp.replies import Garbage, Replies, Reply, capabilities, readable

__all__ = ["Answer", "Conversation", "Credentials", "Verdict"]


@dataclass(slots=True)
class _Message:
    tag: object
    content: bytes
    answered: bool = False
    sender_refused: bool = False
    recipient_taken: bool = False


class _End(Exception):
    """The conversation is over, for this reason."""

    def __init__(self, last: Down | Closed) -> None:
        self.last = last


def _attack() -> _End:
    return _End(Down("Something was sent in clear after the answer to STARTTLS: this may be an attack."))


def _senseless(reply: Reply) -> _End:
    return _End(Down(f"The relay does not speak SMTP: it gave an answer that cannot be one, {reply.code}."))


class Conversation:
    """See the module. Once it is over (``Down``, ``Closed`` or ``lost``), nothing goes in or out any more."""

    def __init__(
        self, *, local_name: str, starttls: bool, credentials: Credentials | None, allow_clear_login: bool = False
    ) -> None:
        """``local_name`` is what we call ourselves in EHLO. With ``starttls``, nothing is sent in clear.

        Where TLS stands before the greeting (RFC 8314), call ``encrypted`` first.
        """
        if not local_name.isascii() or not is_path(f"x@{local_name}"):
            raise ValueError(f"{local_name!r} cannot be a host's name in EHLO")
        self._local_name = local_name
        self._starttls = starttls
        self._credentials = credentials
        self._may_log_in = allow_clear_login
        self._login: Login | None = None
        self._challenges: deque[bytes] = deque()
        self._replies = Replies()
        self._capabilities: dict[str, str] = {}
        self._pipelining = False
        self._expected: deque[_Expected] = deque([_GREETING])
        self._asked = 1  # how many of those belong to commands that have left through outgoing()
        self._out: list[bytes] = []
        self._later: deque[tuple[bytes, _Expected]] = deque()  # step by step: the rest of the envelope
        self._envelope: _Message | None = None
        self._sent: _Message | None = None  # its dot is on its way
        self._reset_first = False
        self._dot_out = False
        self._dot_written = True
        self._ready = self._upgrading = self._quitting = self._hasty = self._over = False

    @property
    def waiting_for(self) -> Step:
        """The answer that has to come next."""
        if self._expected:
            return self._expected[0][0]
        return Step.TLS if self._upgrading else Step.NOTHING

    @property
    def wants_message(self) -> bool:
        """Whether a message may be submitted: idle, or a content is under way and the next envelope can follow it."""
        return (
            self._ready and self._envelope is None and not self._quitting and (self._pipelining or not self._expected)
        )

    @property
    def handed(self) -> object:
        """The tag of the message whose dot has left through ``outgoing`` and is not answered; None if there is none."""
        return self._sent.tag if self._sent and self._dot_out else None

    def outgoing(self) -> list[bytes]:
        """The buffers to write now, in this order; each is given once."""
        out, self._out = self._out, []
        self._asked = len(self._expected)
        self._dot_out = self._sent is not None
        return out

    def receive(self, data: bytes, *, dot_written: bool = True) -> list[Event]:
        """Take bytes from the relay, in pieces of any size; ``dot_written`` as in ``lost``."""
        events: list[Event] = []
        self._dot_written = dot_written
        if self._over or not data:
            return events
        try:
            for reply in self._replies.feed(data):
                self._take(reply, events)
            if self._upgrading:
                if self._replies.rest:
                    raise _attack()
                events.append(UpgradeToTls())
        except Garbage as error:
            self._finish(events, Down(f"The relay does not speak SMTP: {error}."))
        except _End as end:
            self._finish(events, end.last)
        return events

    def encrypted(self) -> list[Event]:
        """Note that the TLS handshake is done; what was heard before it is forgotten (RFC 3207, 4.2)."""
        self._may_log_in = True
        if self._upgrading:
            self._upgrading = self._starttls = False
            self._ask(f"EHLO {self._local_name}\r\n".encode(), _EHLO)
        return []

    def submit(self, tag: object, sender: str, recipient: str, content: bytes) -> list[Event]:
        """Begin a message: ``content`` is all of it, lines ended by CRLF. ``sender`` may be empty (RFC 5321, 4.5.5).

        Gives its ``Answered`` at once if it cannot go to this relay; else its one event comes out of ``receive``
        or ``lost``.

        Raises:
            RuntimeError: if no message is wanted.
        """
        if not self.wants_message:
            raise RuntimeError("No message may be submitted now.")
        commands = envelope(sender, recipient, content, self._capabilities)
        if isinstance(commands, Answer):
            return [Answered(tag, commands)]
        self._envelope = _Message(tag, content)
        reset, self._reset_first = self._reset_first, False
        mail, rcpt = commands
        if self._pipelining:
            self._out.append((b"RSET\r\n" if reset else b"") + mail + rcpt + b"DATA\r\n")
            self._expected.extend((_RSET, _MAIL, _RCPT, _DATA) if reset else (_MAIL, _RCPT, _DATA))
        else:
            self._later.extend([(mail, _MAIL), (rcpt, _RCPT), (b"DATA\r\n", _DATA)])
            if reset:
                self._later.appendleft((b"RSET\r\n", _RSET))
            self._ask(*self._later.popleft())
        return []

    def quit(self) -> None:
        """Take no more messages, and say QUIT when what was submitted is settled."""
        self._quitting = True
        self._say_quit_if_idle()

    def hurry(self) -> None:
        """Begin no content any more: a message whose envelope was taken stays unsent."""
        self._hasty = True

    def lost(self, reason: str, *, dot_written: bool) -> list[Event]:
        """Settle what is under way, since the connection ended or an answer did not come in time.

        ``dot_written``: whether the last ``.`` CRLF that ``outgoing`` gave may have reached the relay, whatever came
        behind it; when in doubt, it may.
        """
        events: list[Event] = []
        if not self._over:
            self._settle(events, reason, dot_written)
        return events

    # What is written

    def _ask(self, command: bytes, expected: _Expected) -> None:
        self._out.append(command)
        self._expected.append(expected)

    def _say_quit_if_idle(self) -> None:
        if self._quitting and self._ready and self._envelope is None and not self._expected:
            self._ask(b"QUIT\r\n", _QUIT)

    # What is heard

    def _take(self, reply: Reply, events: list[Event]) -> None:
        if self._upgrading:
            raise _attack()
        asked = self._asked > 0
        # Some end an idle connection with another 4xx than 421.
        if reply.code == 421 or (400 <= reply.code < 500 and not asked):
            if asked and self._sent:
                self._answer(self._sent, reply, events)
            reason = f"The relay ended the connection: {self._said(reply)}."
            raise _End(Closed(reason) if self._ready else Down(reason))
        if not asked:
            raise _End(Down(f"The relay does not speak SMTP: it said {reply.code} and was asked nothing."))
        self._asked -= 1
        handle = self._expected.popleft()[1]
        handle(self, reply, events)
        if self._quitting:
            self._say_quit_if_idle()

    def _greeting(self, reply: Reply, events: list[Event]) -> None:
        if reply.code != 220:
            raise _End(Down(f"The relay does not want to talk: {self._said(reply)}."))
        self._ask(f"EHLO {self._local_name}\r\n".encode(), _EHLO)

    def _ehlo(self, reply: Reply, events: list[Event]) -> None:
        if reply.code in (500, 502):
            self._ask(f"HELO {self._local_name}\r\n".encode(), _HELO)
            return
        self._helo(reply, events)

    def _helo(self, reply: Reply, events: list[Event]) -> None:
        if reply.code // 100 != 2:
            raise _End(Down(f"The relay refused the greeting: {self._said(reply)}."))
        # The answer to HELO has one line and so offers nothing.
        self._capabilities = capabilities(reply)
        self._pipelining = "PIPELINING" in self._capabilities
        if self._starttls:
            if "STARTTLS" not in self._capabilities:
                raise _End(Down("The relay does not offer STARTTLS."))
            self._ask(b"STARTTLS\r\n", _STARTTLS)
        elif self._credentials:
            self._begin_login(self._credentials)
        else:
            self._welcome(events)

    def _starttls_taken(self, reply: Reply, events: list[Event]) -> None:
        if reply.code != 220:
            raise _End(Down(f"The relay refused STARTTLS: {self._said(reply)}."))
        self._upgrading = True
        self._capabilities = {}

    def _begin_login(self, credentials: Credentials) -> None:
        if not self._may_log_in:
            raise _End(Down("The connection is not encrypted, so that the login was not sent."))
        self._login = login(credentials, set(self._capabilities.get("AUTH", "").split()))
        if self._login is None:
            raise _End(Down(f"The relay offers no way to log in with a {credentials.kind}."))
        self._challenges.extend(self._login.answers)
        self._ask(self._login.command, _AUTH)

    def _auth(self, reply: Reply, events: list[Event]) -> None:
        if reply.code == 334 and self._challenges:
            self._ask(self._challenges.popleft(), _AUTH)
        elif reply.code // 100 == 2:
            self._welcome(events)
        else:
            raise _End(Down(f"The relay refused the login: {self._said(reply)}."))

    def _welcome(self, events: list[Event]) -> None:
        self._ready = True
        events.append(Ready())

    def _rset(self, reply: Reply, events: list[Event]) -> None:
        if reply.code // 100 != 2:
            # Whether it forgot the last recipient is unknown: a fresh connection has none.
            raise _End(Closed(f"The relay refused RSET: {self._said(reply)}."))
        self._go_on()

    def _mail(self, reply: Reply, events: list[Event]) -> None:
        if reply.code // 100 == 2:
            self._go_on()
        else:
            self._current.sender_refused = True
            self._refuse(reply, events)

    def _rcpt(self, reply: Reply, events: list[Event]) -> None:
        if reply.code // 100 == 2:
            self._current.recipient_taken = True
            self._go_on()
        else:
            self._refuse(reply, events)

    def _data(self, reply: Reply, events: list[Event]) -> None:
        message = self._current
        if reply.code == 354 and not message.answered:
            if self._hasty:
                raise _End(Closed("There was no time left for the next message."))
            self._sent, self._envelope, self._dot_out = message, None, False
            self._out += (dot_stuffed(message.content), b".\r\n")
            self._expected.append(_DOT)
        elif reply.code == 354:
            if message.sender_refused and message.recipient_taken:
                # A lone dot would send an empty mail to somebody.
                raise _senseless(reply)
            self._envelope, self._reset_first = None, True
            self._ask(b".\r\n", _LONE_DOT)
        else:
            self._refuse(reply, events)
            self._envelope, self._reset_first = None, True

    def _dot(self, reply: Reply, events: list[Event]) -> None:
        assert self._sent is not None
        # Nobody takes a message that has not left us yet; refusing it early is another thing.
        if reply.code // 100 == 3 or (reply.code < 300 and not self._dot_written):
            raise _senseless(reply)
        self._dot_out = False  # no longer in doubt
        self._blame_no_message_for_a_login(reply)
        self._answer(self._sent, reply, events)

    def _lone_dot(self, reply: Reply, events: list[Event]) -> None:
        """Whatever it is: nothing was in it, and nobody was to get it (RFC 2920, 3.1)."""

    def _goodbye(self, reply: Reply, events: list[Event]) -> None:
        raise _End(Closed("The relay said goodbye."))

    # What it means

    @property
    def _current(self) -> _Message:
        assert self._envelope is not None
        return self._envelope

    def _said(self, reply: Reply) -> str:
        return reply.said(self._login.secrets if self._login else ())

    def _go_on(self) -> None:
        if self._later:
            self._ask(*self._later.popleft())

    def _refuse(self, reply: Reply, events: list[Event]) -> None:
        """A step of the envelope was not taken; only the first refusal counts."""
        message = self._current
        if reply.code < 400:
            raise _senseless(reply)
        if not message.answered:
            self._blame_no_message_for_a_login(reply)
            self._answer(message, reply, events)
        if self._later:  # they are not said any more
            self._later.clear()
            self._envelope, self._reset_first = None, True

    def _blame_no_message_for_a_login(self, reply: Reply) -> None:
        if reply.code in (530, 535, 538):
            raise _End(Down(f"The relay asks for a login: {self._said(reply)}."))

    def _answer(self, message: _Message, reply: Reply, events: list[Event]) -> None:
        if message is self._sent:
            self._sent = None
        message.answered = True
        code, text = reply.code, reply.text
        status = reply.status(text)
        verdict = verdict_of(code, status, text, of_sender=message.sender_refused)
        events.append(Answered(message.tag, Answer(verdict, code, text, status)))

    def _finish(self, events: list[Event], last: Down | Closed) -> None:
        self._settle(events, last.reason, True)
        events.append(last)

    def _settle(self, events: list[Event], reason: str, dot_written: bool) -> None:
        if self._sent:
            if dot_written and self._dot_out:
                text = readable(f"The answer to the final dot was lost: {reason}")
                events.append(Answered(self._sent.tag, Answer(Verdict.UNKNOWN, 0, text)))
            else:
                events.append(Unsent(self._sent.tag))
        if self._envelope and not self._envelope.answered:
            events.append(Unsent(self._envelope.tag))
        self._sent = self._envelope = None
        self._over, self._ready, self._upgrading = True, False, False
        self._expected.clear()
        self._later.clear()
        self._out.clear()


_Expected = tuple[Step, Callable[[Conversation, Reply, list[Event]], None]]
_GREETING: _Expected = (Step.GREETING, Conversation._greeting)
_EHLO: _Expected = (Step.EHLO, Conversation._ehlo)
_HELO: _Expected = (Step.EHLO, Conversation._helo)
_STARTTLS: _Expected = (Step.TLS, Conversation._starttls_taken)
_AUTH: _Expected = (Step.AUTH, Conversation._auth)
_RSET: _Expected = (Step.ENVELOPE, Conversation._rset)
_MAIL: _Expected = (Step.ENVELOPE, Conversation._mail)
_RCPT: _Expected = (Step.ENVELOPE, Conversation._rcpt)
_DATA: _Expected = (Step.DATA, Conversation._data)
_DOT: _Expected = (Step.DOT, Conversation._dot)
_LONE_DOT: _Expected = (Step.DOT, Conversation._lone_dot)
_QUIT: _Expected = (Step.QUIT, Conversation._goodbye)
