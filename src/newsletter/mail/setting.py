"""Items set as cards: encoded once for all readers but for the lines that their picks decide."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from newsletter.mail.cards import Shown, meta_line, shown_card, themes_shown, why_line
from newsletter.mail.joining import Late, Setting
from newsletter.mail.letter import Card
from newsletter.mail.pieces import NOTHING, Piece, compact
from newsletter.mail.program import (
    CARDS,
    GROUP_CARDS,
    Branch,
    Known,
    Loop,
    Program,
    Value,
    Values,
    encoded_program,
    filled,
    rendered,
)
from newsletter.mail.words import Words

# What is known when: of the list, of an item, of an item under a heading, of the reader's picks.
OF_LIST: Known = frozenset(
    {"language", "direction", "list_name", "postal_address", "say", "dot", "compact", "more_note_text"}
)
OF_ITEM: Known = OF_LIST | {
    f"card.{name}" for name in ("title", "url", "language", "direction", "short", "long", "image", "image_alt")
}
OF_HEADED: Known = OF_ITEM | {"card.meta", "card.themes"}
OF_REASON: Known = OF_LIST | {"card.why"}
OF_CARD: Known = OF_HEADED | OF_REASON

REASONS_KEPT = 12_000
# What Python keeps of each besides its encoded text, in bytes, measured.
_ITEM, _HEADED, _REASON, _OWN = 3000, 1500, 400, 500


_Reasons = tuple[Value | Branch | None, ...]
"""What makes the reason in each loop over a group's cards, if there is one."""


class _Headed(NamedTuple):
    """An item under a heading, without a reason."""

    card: Shown
    around: list[tuple[bytes, bytes]] | None
    """What stands around the reason in each loop over a group's cards; None if that is not whole lines."""
    reasons: _Reasons


class SetItem:
    """An item before it is a card in some reader's digest; ``size``: bytes kept for it, roughly."""

    __slots__ = ("bodies", "card", "headed", "plain", "size")

    def __init__(self, card: Card, plain: Shown, bodies: dict[int, Program]) -> None:
        """``bodies``: of the loops over a group's cards, by number."""
        self.card = card
        self.plain = plain
        self.bodies = bodies
        self.headed: dict[str, _Headed] = {}
        """By heading."""
        self.size = _ITEM + 4 * len(card.summary) + sum(map(_length, bodies.values()))


def own_size(card: Shown) -> int:
    """Bytes kept for this card only, roughly: nothing where its reason is whole lines, as in our own templates."""
    return _OWN + sum(map(_size, card.set)) if card.set else 0


class Setter:
    """Sets cards for the loops over cards of a digest's templates, filled for one list and language already."""

    def __init__(self, loops: Sequence[Loop | None], fixed: Values, said: Words) -> None:
        """``loops``: by number."""
        self._loops = loops
        self._bodies = [encoded_program(loop.body) if loop else () for loop in loops]
        self._over_groups = [number for number, loop in enumerate(loops) if loop and loop.source == GROUP_CARDS]
        self._fixed = fixed
        self._said = said
        self._reasons = lru_cache(REASONS_KEPT)(self._lines_of_reason)

    @property
    def size(self) -> int:
        """Bytes kept, roughly."""
        return _REASON * self._reasons.cache_info().currsize

    def set_item(self, card: Card) -> SetItem:
        """An item with all rendered that no reader changes: ``because`` is not looked at."""
        plain = shown_card(card, "", self._said)
        if plain.named:
            plain.named.set = tuple(self._set(number, body, plain.named) for number, body in enumerate(self._bodies))
        bodies = {number: self._filled(number, self._bodies[number], OF_ITEM, plain) for number in self._over_groups}
        return SetItem(card, plain, bodies)

    def _filled(self, number: int, body: Program, known: Known, card: Shown) -> Program:
        loop = self._loops[number]
        assert loop
        return encoded_program(filled(body, known, self._fixed | {loop.target: card}))

    def reason(self, because: Sequence[str]) -> str:
        """What a card says of the picks that it met."""
        return why_line(because, self._said)

    def set_card(self, item: SetItem, heading: str, why: str) -> tuple[Any, ...]:
        """The item as a card under a heading (a place's or theme's name, or nothing) for this ``reason``.

        Gives of a ``cards.Placed`` what comes after its place.
        """
        headed = item.headed.get(heading) or self._headed(item, heading)
        if headed.around is not None:
            reasons = self._reasons(headed.reasons, why)
            if reasons is not None:
                lines: list[bytes] = []
                for (before, after), reason in zip(headed.around, reasons, strict=True):
                    lines += (before, reason, after)
                return headed.card, why, *lines
        card = replace(headed.card, why=why)
        card.set = tuple(self._set(number, body, card) for number, body in enumerate(self._bodies))
        made = [card.set[number] for number in self._over_groups]
        if any(type(one) is not tuple for one in made):
            return card, ""
        return card, "", *itertools.chain.from_iterable((b"".join(one), b"", b"") for one in made)

    def _set(self, number: int, body: Program, card: Shown) -> Setting:
        loop = self._loops[number]
        program = self._filled(number, body, OF_CARD, card) if loop and loop.source in (GROUP_CARDS, *CARDS) else ()
        if not program:
            return ()
        if len(program) == 1 and isinstance(program[0], Piece):
            piece = compact(program[0])
            return piece if piece.tail else piece.lines
        return Late(program)

    def _headed(self, item: SetItem, heading: str) -> _Headed:
        card = replace(
            item.plain,
            meta=meta_line(item.card, heading, self._said),
            themes=themes_shown(item.card, heading),
        )
        bodies = [self._filled(number, body, OF_HEADED, card) for number, body in item.bodies.items()]
        item.size += _HEADED + sum(map(_length, bodies))
        parts = [_parted(body) for body in bodies]
        found = item.headed[heading] = _Headed(
            card,
            [(before, after) for before, _, after in filter(None, parts)] if all(parts) else None,
            tuple(reason for _, reason, _ in filter(None, parts)),
        )
        return found

    def _lines_of_reason(self, reasons: _Reasons, why: str) -> tuple[bytes, ...] | None:
        """A reason as each loop has it, which many cards have in common; None if it is not whole lines."""
        # Nothing else of a card is asked for.
        card = Shown("", "", "", "", why=why)
        pieces = []
        for number, node in zip(self._over_groups, reasons, strict=True):
            loop = self._loops[number]
            assert loop
            pieces.append(rendered((node,), self._fixed | {loop.target: card}) if node else NOTHING)
        return None if any(piece.tail for piece in pieces) else tuple(b"".join(piece.lines) for piece in pieces)


def _parted(program: Program) -> tuple[bytes, Value | Branch | None, bytes] | None:
    """What stands before the reason, the reason, and what stands behind it, if it is whole lines but for that."""
    if not program:
        return b"", None, b""
    before, *others = program
    if not isinstance(before, Piece) or not before.lines or before.tail:
        return None
    if not others:
        return b"".join(before.lines), None, b""
    if len(others) != 2:
        return None
    reason, after = others
    if not (isinstance(reason, (Value, Branch)) and reason.needs <= OF_REASON and isinstance(after, Piece)):
        return None
    return (b"".join(before.lines), reason, b"".join(after.lines)) if after.lines and not after.tail else None


def _length(program: Program) -> int:
    return sum(len(line) for node in program if isinstance(node, Piece) for line in node.lines)


def _size(setting: Setting) -> int:
    if isinstance(setting, Late):
        return _length(setting.program)
    return sum(map(len, setting.lines if isinstance(setting, Piece) else setting))
