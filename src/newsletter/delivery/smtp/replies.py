"""What a relay says, read out of its bytes (RFC 5321, 4.2; enhanced codes: RFC 2034, 3463). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LINE_LIMIT = 4096
"""Bytes; RFC 5321 (4.5.3.1.5) grants 512."""

REPLY_LIMIT = 200
"""Lines."""

TEXT_LIMIT = 500
"""Characters of an answer that are kept."""

MEANINGFUL = 4
"""Characters; a shorter secret is part of many words, and to take it out of them would give it away."""

_CODES = {b"%d" % code: code for code in range(200, 600)}
_MARKS = (b" ", b"-", b"")
_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9.])")


class Garbage(Exception):
    """What came is no reply. Says why, as the end of a sentence."""


@dataclass(slots=True)  # not frozen: that would take thrice the time, four times a message
class Reply:
    """A whole reply: its code, and the text of each line without code and line end."""

    code: int
    lines: list[bytes]

    @property
    def text(self) -> str:
        """On one line, safe to store and show; an enhanced code that each line repeats is there once."""
        if len(self.lines) == 1:
            return readable(self.lines[0].decode("utf-8", "replace"))
        return readable(self._joined())

    def status(self, text: str) -> str:
        """The enhanced code, such as ``4.2.2``, that our ``text`` begins with; empty if there is none.

        One that contradicts the reply code is none (RFC 2034, 4).
        """
        found = _STATUS.match(text)
        return found[1] if found and int(text[0]) == self.code // 100 else ""

    def said(self, secrets: tuple[str, ...] = ()) -> str:
        """Code and text to end a sentence with; ``secrets`` are left out of it."""
        return f"{self.code} {readable(without(secrets, self._joined()))}".rstrip(" .")

    def _joined(self) -> str:
        lines = [line.decode("utf-8", "replace") for line in self.lines]
        if found := _STATUS.match(lines[0]):
            lines[1:] = [line.removeprefix(found[1]) for line in lines[1:]]
        return " ".join(lines)


def capabilities(reply: Reply) -> dict[str, str]:
    """What the answer to EHLO offers: keyword → parameters, both in capitals (RFC 5321, 4.1.1.1)."""
    found: dict[str, str] = {}
    for line in reply.lines[1:]:
        # Before RFC 2554, AUTH was written with an equals sign; some write it in both ways.
        keyword, _, parameters = line.decode("ascii", "replace").upper().replace("AUTH=", "AUTH ").partition(" ")
        found[keyword] = f"{found[keyword]} {parameters}" if keyword == "AUTH" and keyword in found else parameters
    return found


def without(secrets: Iterable[str], text: str) -> str:
    """``text`` with each secret taken out of it, also for one that is spread over lines or spaced otherwise.

    One of fewer than 4 characters only where it stands as a password does: in a URL, or in quotation marks.
    """
    for secret in secrets:
        if letters := "".join(secret.split()):
            form = r"\s*".join(map(re.escape, letters))
            if len(letters) < MEANINGFUL:
                form = rf"(?<=[:'\"]){form}(?=[@'\"])"
            text = re.sub(form, "[secret]", text)
    return text


def readable(text: str) -> str:
    """``text`` on one line, printable, of at most 500 characters."""
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(character for character in line if character.isprintable())
    return line[:TEXT_LIMIT]


class Replies:
    """Replies out of a stream that comes in pieces of any size."""

    def __init__(self) -> None:
        self.rest = b""
        """The beginning of a line whose end has not come yet."""
        self._code = 0
        self._lines: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[Reply]:
        """The replies that are complete with ``data``.

        Raises:
            Garbage: after the replies before it were given.
        """
        data = self.rest + data
        long = len(data) >= LINE_LIMIT
        lines = data.split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            if long and len(line) >= LINE_LIMIT:
                raise Garbage("a line is too long")
            line = line.removesuffix(b"\r")
            code, mark = _CODES.get(line[:3]), line[3:4]
            # Not ``in b" -"``: that asks first whether it is a number. A line may end behind the code.
            if code is None or mark not in _MARKS:
                raise Garbage("a line does not begin with a reply code")
            if mark != b"-" and not self._lines:
                yield Reply(code, [line[4:]])
                continue
            if self._lines and code != self._code:
                raise Garbage("one reply has two codes")
            self._code = code
            self._lines.append(line[4:])
            if len(self._lines) > REPLY_LIMIT:
                raise Garbage("a reply has too many lines")
            if mark != b"-":
                whole, self._lines = self._lines, []
                yield Reply(code, whole)
        if len(self.rest) >= LINE_LIMIT:
            raise Garbage("a line is too long")
