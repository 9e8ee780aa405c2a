"""Pieces of quoted-printable text that can be joined (RFC 2045, 6.7). Pure.

Quoted-printable is made line by line: no line's encoding depends on another's. So text that was encoded before
may be joined as it is wherever pieces meet at the end of a line; only a line that two pieces share is encoded
when they meet. The result is, byte for byte, the encoding of the whole text.
"""

from __future__ import annotations

from binascii import a2b_qp, b2a_qp
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from operator import itemgetter
from string import ascii_letters, digits
from typing import Any, NamedTuple

_LINE = 75
PATTERNS_KEPT = 200
"""Of the lengths that the links of a reader have: with their numbers they grow by a digit at a time."""
# What our own sentences put between plain letters.
_OURS = (("·", "=C2=B7"), ("…", "=E2=80=A6"))
_IN_LINKS = (ascii_letters + digits + ":/.?~_-").encode()


class Piece(NamedTuple):
    """Text, encoded as far as it can be: whole ``lines``, the first of which is ``head``, then the begin of one.

    Without a line end in it, all of the text is ``tail``.
    """

    head: str
    lines: tuple[bytes, ...]
    tail: str


NOTHING = Piece("", (), "")


def encoded(text: str) -> bytes:
    """``text`` as quoted-printable lines of at most 76 characters, CRLF between them.

    A carriage return in the text counts as the end of a line.
    """
    # b2a_qp takes 13 ns a byte, and most of what is left for the last moment is a short line of plain letters.
    if text.isprintable() and text[-1:] not in " .":
        line = text.replace("=", "=3D")
        if not line.isascii():
            for character, codes in _OURS:
                line = line.replace(character, codes)
        if line.isascii():
            data = line.encode()
            return data if len(data) <= _LINE else _cut(data)
    if "\r" in text:
        text = text.replace("\r", "\n")
    return b2a_qp(text.encode()).replace(b"\n", b"\r\n")


def _cut(line: bytes) -> bytes:
    """A line whose codes are written, cut by soft breaks where ``b2a_qp`` cuts it."""
    parts = []
    start, size = 0, len(line)
    # The last of a line may stand in the 76th place, unless it is of a code.
    while size - start > _LINE + 1 or (size - start > _LINE and b"=" in line[-3:]):
        end = start + _LINE
        codes = line.find(b"=", end - 2, end)
        end = end if codes < 0 else codes
        parts.append(line[start:end])
        start = end
    parts.append(line[start:])
    return b"=\r\n".join(parts)


def piece(text: str) -> Piece:
    """``text`` as a piece."""
    if "\r" in text:
        text = text.replace("\r", "\n")
    first = text.find("\n") + 1
    if not first:
        return Piece("", (), text)
    last = text.rfind("\n") + 1
    return Piece(text[:first], (encoded(text[:last]),), text[last:])


def after(carry: str, following: Piece) -> tuple[bytes, ...]:
    """The lines of a piece that goes on a line already begun with ``carry``."""
    rest = following.lines[0][len(encoded(following.head)) :]
    return (encoded(carry + following.head), *((rest,) if rest else ()), *following.lines[1:])


def head_of(data: bytes) -> str:
    """The text of the first of encoded lines, with its end."""
    end = data.index(b"\r\n")
    while data[end - 1 : end] == b"=":
        end = data.index(b"\r\n", end + 1)
    return a2b_qp(data[:end]).decode() + "\n"


def joined(parts: Iterable[Piece | str]) -> Piece:
    """One piece for several that follow each other; long encoded lines are shared and not copied."""
    head = carry = ""
    lines: list[bytes] = []
    for part in parts:
        if part.__class__ is str:
            if "\n" not in part and "\r" not in part:
                carry += part
                continue
            part = piece(part)
        assert isinstance(part, Piece)
        if not part.lines:
            carry += part.tail
            continue
        if not lines:
            head = carry + part.head
        lines += after(carry, part) if carry else part.lines
        carry = part.tail
    return Piece(head, tuple(lines), carry)


def compact(one: Piece) -> Piece:
    """The same piece with its lines in one."""
    return one if len(one.lines) < 2 else Piece(one.head, (b"".join(one.lines),), one.tail)


class Ready:
    """A piece for the last joining: what comes before and after it is a reader's value.

    The full output lines of its begun line are out already; and for each column at which the line that it ends
    may have arrived, what follows there is encoded once.
    """

    __slots__ = ("_at_column", "_begun", "_piece", "lines", "tail")

    def __init__(self, one: Piece) -> None:
        begun, self.tail = _begun(one.tail)
        self._piece = one
        self._begun = (begun,) if begun else ()
        self.lines = one.lines + self._begun
        self._at_column: dict[int, tuple[bytes, ...]] = {}

    def put(self, out: list[bytes], carry: str) -> str:
        """Put this out behind a line begun with ``carry``; gives the line begun after it."""
        if not self.lines:
            return carry + self.tail
        if not self._piece.lines:
            return carry + self._piece.tail
        begun = encoded(carry)
        column = len(begun) - begun.rfind(b"\n") - 1
        # At the end of a text these would be written in another way than before more of it.
        if column > 75 or carry[-1] in " \t.\n\r":
            out += after(carry, self._piece)
            out += self._begun
            return self.tail
        rest = self._at_column.get(column)
        if rest is None:
            first, *others = after("x" * column, self._piece)
            rest = self._at_column[column] = (first[column:], *others, *self._begun)
        out.append(begun)
        out += rest
        return self.tail


class Links(NamedTuple):
    """The links of a reader, put together; ``lengths``: of each."""

    lengths: tuple[int, ...]
    data: bytes


def links_of(*links: str) -> Links | None:
    """Links whose every character stands for itself in HTML and in quoted-printable; None if any does not."""
    data = "".join(links).encode()
    # A dot that is alone in a line is written as a code.
    if data.translate(None, _IN_LINKS) or ".\n" in "\n".join((*links, "")):
        return None
    return Links(tuple(map(len, links)), data)


class Stretch:
    """Pieces with a reader's links between them, for the last joining: encoded once for all of the same lengths.

    The last piece ends a line, and has ``tail`` behind it.
    """

    __slots__ = ("_parts", "_patterns", "tail")

    def __init__(self, parts: Sequence[Piece | int]) -> None:
        """``parts``: the place of a link where one stands."""
        last = parts[-1]
        assert isinstance(last, Piece)
        self._parts = (*parts[:-1], Piece(last.head, last.lines, ""))
        self.tail = last.tail
        self._patterns: dict[tuple[int, ...], tuple[bytes, Callable[[bytes], Any]]] = {}

    def put(self, out: list[bytes], links: Links) -> None:
        """Put this out at the begin of a line."""
        lengths, data = links
        pattern = self._patterns.get(lengths)
        if pattern is None:
            if len(self._patterns) >= PATTERNS_KEPT:
                del self._patterns[next(iter(self._patterns))]
            pattern = self._patterns[lengths] = self._pattern(lengths)
        text, cuts = pattern
        out.append(text % cuts(data))

    def _pattern(self, lengths: tuple[int, ...]) -> tuple[bytes, Callable[[bytes], Any]]:
        """The encoded text for links of these lengths, ``%b`` for each run of them; and what cuts those out."""
        some, other = (b"".join(self._encoded(lengths, filler)) for filler in "xy")
        # Where two encodings differ there stand links, in their order.
        places = [at for at, (one, two) in enumerate(zip(some, other, strict=True)) if one != two]
        begins = [0, *accumulate(lengths)]
        letters = [begins[part] + n for part in self._parts if isinstance(part, int) for n in range(lengths[part])]
        texts: list[bytes] = []
        cuts: list[slice] = []
        end = 0
        for place, letter in zip(places, letters, strict=True):
            if cuts and place == end and cuts[-1].stop == letter:
                cuts[-1] = slice(cuts[-1].start, letter + 1)
            else:
                texts.append(some[end:place])
                cuts.append(slice(letter, letter + 1))
            end = place + 1
        text = b"%b".join(part.replace(b"%", b"%%") for part in (*texts, some[end:]))
        return text, itemgetter(*cuts) if cuts else lambda _: ()

    def _encoded(self, lengths: tuple[int, ...], filler: str) -> tuple[bytes, ...]:
        return joined([filler * lengths[part] if isinstance(part, int) else part for part in self._parts]).lines


def _begun(text: str) -> tuple[bytes, str]:
    """The output lines that the begin of a line fills, whatever follows, and the text after them."""
    # Of these the last ones are written otherwise at the end of a text; no cut before them counts.
    certain = text.rstrip(" \t.")
    done, _, last = encoded(certain).rpartition(b"\r\n")
    while done:
        try:
            return done + b"\r\n", a2b_qp(last).decode() + text[len(certain) :]
        except UnicodeDecodeError:
            # The cut fell into a character.
            done, _, before = done.rpartition(b"\r\n")
            last = before + b"\r\n" + last
    return b"", text
