"""Lists of ids as few bytes: what an edition holds, hundreds of thousands of times over. Pure.

Equal lists are equal bytes, however they were packed, so that a hash of the bytes stands for the list::

    nothing                                            the empty list
    0x00, then zigzag varints                          each id's difference from the one before it
    0x01, varint of the first id, little-endian bits   bit n: id ``first + n``; for ascending, dense ids
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

DIFFERENCES, BITS = b"\x00", b"\x01"
SHORT = 2048
"""Bits that may be spent whatever the number of ids: they cost less time than space."""

MANY_STRETCHES = 64
"""From here on, shifting bits stretch by stretch is slower than packing id by id."""

_SET_BITS = tuple(tuple(n for n in range(8) if byte >> n & 1) for byte in range(256))


def pack(ids: Sequence[int]) -> bytes:
    """Pack ids of any order and size."""
    if not ids:
        return b""
    first, span = ids[0], ids[-1] - ids[0] + 1
    ascending = first >= 0 and all(ids[n] < ids[n + 1] for n in range(len(ids) - 1))
    if ascending and _dense(span, len(ids)):
        bits = 0
        for number in ids:
            bits |= 1 << number - first
        return _bits(first, bits)
    packed, before = bytearray(DIFFERENCES), 0
    for number in ids:
        difference = number - before
        packed += _varint(difference << 1 if difference >= 0 else ~(difference << 1))
        before = number
    return bytes(packed)


def unpack(packed: bytes) -> list[int]:
    """The ids again, in their order."""
    if not packed:
        return []
    if packed[:1] == BITS:
        first, start = _read_varint(packed, 1)
        return [first + 8 * place + bit for place, byte in enumerate(packed[start:]) if byte for bit in _SET_BITS[byte]]
    return list(_summed(packed))


def united(lists: Iterable[bytes]) -> set[int]:
    """The ids of many packed lists together: bits are joined before they become ids."""
    found: set[int] = set()
    bits: dict[int, int] = {}
    for packed in lists:
        if packed[:1] == BITS:
            first, start = _read_varint(packed, 1)
            bits[first] = bits.get(first, 0) | int.from_bytes(packed[start:], "little")
        else:
            found.update(unpack(packed))
    for first, joined in bits.items():
        found.update(unpack(_bits(first, joined)))
    return found


class Packer:
    """Packs selections out of one sequence of ids, given as masks: bit n is the n-th id.

    Where the ids ascend it shifts whole stretches of bits and does not look at single ids.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        """``ids`` are distinct."""
        self._ids = ids
        self._stretches = _stretches(ids)

    def __call__(self, mask: int) -> bytes:
        """The same bytes as ``pack`` of the selected ids."""
        if not mask:
            return b""
        if self._stretches is not None:
            bits = 0
            for stretch, shift in self._stretches:
                bits |= (mask & stretch) << shift
            low = (bits & -bits).bit_length() - 1
            bits >>= low
            if _dense(bits.bit_length(), mask.bit_count()):
                return _bits(self._ids[0] + low, bits)
        return pack(list(self._selected(mask)))

    def _selected(self, mask: int) -> Iterator[int]:
        while mask:
            lowest = mask & -mask
            yield self._ids[lowest.bit_length() - 1]
            mask ^= lowest


def _stretches(ids: Sequence[int]) -> list[tuple[int, int]] | None:
    """Masks of neighbours without a gap, and how far their bits move left; None if that would not pay."""
    if not ids or ids[0] < 0 or not _dense(ids[-1] - ids[0], len(ids)):
        return None
    found = [(0, 0)]
    for n, number in enumerate(ids):
        if n and number <= ids[n - 1]:
            return None
        shift = number - ids[0] - n
        if shift != found[-1][1]:
            found.append((0, shift))
        found[-1] = (found[-1][0] | 1 << n, shift)
    return found if len(found) < MANY_STRETCHES else None


def _dense(span: int, count: int) -> bool:
    return span <= max(SHORT, 16 * count)


def _bits(first: int, bits: int) -> bytes:
    return BITS + _varint(first) + bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    packed = bytearray()
    while number > 0x7F:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)
    return bytes(packed)


def _read_varint(packed: bytes, start: int) -> tuple[int, int]:
    """A number, and where the next one begins."""
    number = shift = 0
    while packed[start] & 0x80:
        number |= (packed[start] & 0x7F) << shift
        shift += 7
        start += 1
    return number | packed[start] << shift, start + 1


def _summed(packed: bytes) -> Iterator[int]:
    number, place = 0, 1
    while place < len(packed):
        zigzag, place = _read_varint(packed, place)
        number += ~(zigzag >> 1) if zigzag & 1 else zigzag >> 1
        yield number
