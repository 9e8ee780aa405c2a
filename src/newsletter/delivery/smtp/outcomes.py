"""What a conversation with a relay has to tell: verdicts, answers, events, and what it waits for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What became of one message."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"  # 4xx: try again
    REFUSED = "refused"  # 5xx: do not
    UNKNOWN = "unknown"  # the answer to the final dot was lost: it may or may not have been accepted
    DECLINED = "declined"  # for the relay's or the sender's sake: another may take it, or this one later


class Step(StrEnum):
    """Which answer is awaited; each has a time limit of its own (RFC 5321, 4.5.3.2)."""

    GREETING = "greeting"
    EHLO = "ehlo"
    TLS = "tls"
    AUTH = "auth"
    ENVELOPE = "envelope"
    DATA = "data"
    DOT = "dot"
    QUIT = "quit"
    NOTHING = "nothing"


@dataclass(slots=True)  # not frozen: that would take thrice the time, for each message
class Answer:
    """The answer to one message: verdict, reply code (0 if none came), one readable line, RFC 3463 code or empty."""

    verdict: Verdict
    code: int
    text: str
    status: str = ""


HUNG_UP = Answer(Verdict.DEFERRED, 0, "The relay ended the connection each time that it was offered this.")
"""What is noted of a message over which a relay hangs up."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The session stands: messages are welcome."""


@dataclass(frozen=True, slots=True)
class UpgradeToTls:
    """The driver shall make the TLS handshake now, and then call ``encrypted``."""


@dataclass(slots=True)  # not frozen, like the answer
class Answered:
    """The relay, or we in its place, have decided about a message."""

    tag: object
    answer: Answer


@dataclass(frozen=True, slots=True)
class Unsent:
    """The connection ended before anything was decided: this message was certainly not accepted."""

    tag: object


@dataclass(frozen=True, slots=True)
class Down:
    """The relay cannot be used as it is; no message is to blame. The reason is a sentence without secrets."""

    reason: str


@dataclass(frozen=True, slots=True)
class Closed:
    """This connection is over, another may be opened; no message is to blame."""

    reason: str


Event = Ready | UpgradeToTls | Answered | Unsent | Down | Closed
