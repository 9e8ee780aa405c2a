"""A relay as a model: pure, driven by bytes, answering from a script, and checking what a client may do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

TROUBLE = ("4xx", "5xx", "354") * 3 + ("421", "530", "garbage", "silence")
REPLIES = {
    "4xx": b"450 4.2.1 later\r\n",
    "5xx": b"550-5.1.1 no\r\n550 5.1.1 never\r\n",
    "421": b"421 4.3.2 closing\r\n",
    "530": b"530 5.7.0 who are you?\r\n",
    "garbage": b"what?\r\n",
    "silence": b"",
}


@dataclass
class RelayModel:
    """Answers each command and dot with the script's next outcome (``ok`` once it has run out).

    ``354`` means ok, but to DATA without a recipient it says 354 all the same. ``received``: recipient → content whose
    final dot came; ``accepted``: what it took over.
    """

    offers: list[str]
    script: Iterator[str]
    received: dict[str, bytes] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    unheard: bytearray = field(default_factory=lambda: bytearray(b"220-relay.test\r\n220 hello\r\n"))
    """What it has said and the client has not heard yet."""
    closed: bool = False
    _input: bytes = b""
    _sender: bool = False
    _recipient: str = ""
    _in_data: bool = False
    _said: int = 0
    _dot_answered: int = 0

    def hear(self, data: bytes) -> None:
        """Take bytes from the client; the words of each command are the client's own duty to get right."""
        self._input += data
        while not self.closed:
            if self._in_data and self._input.startswith(b".\r\n"):
                stuffed, self._input = b"", self._input[3:]
                self._end_of_content(stuffed)
            elif self._in_data:
                stuffed, dot, rest = self._input.partition(b"\r\n.\r\n")
                if not dot:
                    return
                self._input = rest
                self._end_of_content(stuffed + b"\r\n")
            else:
                line, end, rest = self._input.partition(b"\r\n")
                if not end:
                    return
                self._input = rest
                self._command(line)

    def say(self, count: int) -> bytes:
        """Let the client hear so many bytes."""
        data = bytes(self.unheard[:count])
        del self.unheard[:count]
        return data

    def hang_up(self) -> None:
        """Close as an idle relay does, at any time."""
        if not self.closed:
            self._answer(REPLIES["421"])
            self.closed = True

    def _answer(self, reply: bytes) -> None:
        self.unheard += reply
        self._said += len(reply)

    def _outcome(self, accepting: bytes) -> bool:
        """Whether the script wants a step to succeed; answers in either case."""
        outcome = next(self.script, "ok")
        good = outcome in ("ok", "354")
        self._answer(accepting if good else REPLIES[outcome])
        self.closed = outcome in ("421", "garbage", "silence")
        return good

    def _command(self, line: bytes) -> None:
        assert "PIPELINING" in self.offers or not self.unheard, "sent ahead although PIPELINING is not offered"
        verb = line[:4]
        path = line.partition(b"<")[2].partition(b">")[0].decode()
        if verb == b"EHLO":
            self._answer(b"".join(b"250-" + offer.encode() + b"\r\n" for offer in ("relay.test", *self.offers)))
            self._answer(b"250 HELP\r\n")
        elif verb == b"QUIT":
            self._answer(b"221 bye\r\n")
            self.closed = True
        elif verb == b"RSET":
            # One that refuses has the client go away; what was pipelined with it may still come.
            self.closed = not self._outcome(b"250 forgotten\r\n")
            self._sender, self._recipient = False, ""
        elif verb == b"MAIL":
            assert not self._sender, "MAIL within a transaction"
            self._sender = self._outcome(b"250 2.1.0 ok\r\n")
        elif verb == b"RCPT" and self._sender:
            self._recipient = path if self._outcome(b"250 2.1.5 ok\r\n") else ""
        elif verb == b"DATA" and self._recipient:
            self._in_data = self._outcome(b"354 go on\r\n")
        elif verb == b"DATA" and self._sender and next(self.script, "ok") == "354":
            self._answer(b"354 go on, there is nobody to get it\r\n")
            self._in_data = True
        else:
            assert verb in (b"RCPT", b"DATA"), line
            self._answer(b"503 5.5.1 not now\r\n")

    def _end_of_content(self, stuffed: bytes) -> None:
        assert self._said - len(self.unheard) >= self._dot_answered, "a dot before the last one's answer was heard"
        recipient, self._recipient = self._recipient, ""
        self._sender = self._in_data = False
        if not recipient:
            assert stuffed == b"", "a content for nobody"
            self._answer(b"554 5.5.1 nobody was to get it\r\n")
        else:
            lines = stuffed.split(b"\r\n")
            self.received[recipient] = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)
            outcome = next(self.script, "ok")
            if outcome in ("ok", "354", "silence"):
                self.accepted.add(recipient)
            self._answer(b"250 2.0.0 taken\r\n" if outcome in ("ok", "354") else REPLIES[outcome])
            self.closed = outcome in ("421", "garbage", "silence")
        self._dot_answered = self._said
