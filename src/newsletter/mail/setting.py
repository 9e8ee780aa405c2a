"""Items set as cards: encoded once for all readers but for the lines that their picks decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from newsletter.mail.cards import Shown, meta_line, shown_card, themes_shown, why_line
from newsletter.mail.joining import Late, Setting
from newsletter.mail.letter import Card
from newsletter.mail.pieces import Piece, compact
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
_ITEM, _HEADED, _REASON = 3000, 1500, 670


class _Around(NamedTuple):
    """A body of whole lines but for what depends on the reason alone."""

    before: bytes
    reason: Value | Branch
    after: bytes


class SetItem:
    """An item before it is a card in some reader's digest; ``size``: bytes kept for it, roughly."""

    __slots__ = ("bodies", "card", "headed", "plain", "size")

    def __init__(self, card: Card, plain: Shown, bodies: dict[int, Program]) -> None:
        """``bodies``: of the loops over a group's cards, by number."""
        self.card = card
        self.plain = plain
        self.bodies = bodies
        self.headed: dict[str, tuple[Shown, dict[int, Program | _Around]]] = {}
        """It without a reason, and its bodies, by heading."""
        self.size = _ITEM + 4 * len(card.summary) + sum(map(_length, bodies.values()))


class Setter:
    """Sets cards for the loops over cards of a digest's templates, filled for one list and language already."""

    def __init__(self, loops: Sequence[Loop | None], fixed: Values, said: Words) -> None:
        """``loops``: by number."""
        self._loops = loops
        self._bodies = [encoded_program(loop.body) if loop else () for loop in loops]
        self._over_groups = [number for number, loop in enumerate(loops) if loop and loop.source == GROUP_CARDS]
        self._fixed = fixed
        self._said = said
        self._reasons: dict[tuple[Value | Branch, str], Piece] = {}

    @property
    def size(self) -> int:
        """Bytes kept, roughly."""
        return _REASON * len(self._reasons)

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

    def set_card(self, item: SetItem, heading: str, why: str) -> Shown:
        """The item as a card under a heading (a place's or theme's name, or nothing) for this ``reason``."""
        plain, bodies = item.headed.get(heading) or self._headed(item, heading)
        # By place: keywords would take half as long again, for each card of each mail.
        card = Shown(
            plain.title, plain.url, plain.language, plain.direction, (), plain.short, plain.long, plain.meta,
            plain.themes, why, plain.named, (), plain.image, plain.image_alt,
        )  # fmt: skip
        lines: list[bytes] = []
        for number, body in bodies.items():
            if isinstance(body, _Around):
                reason = self._reasons.get((body.reason, why)) or self._of_reason(number, body.reason, card)
                if reason.tail:
                    break
                lines += (body.before, *(reason.lines or (b"",)), body.after)
            else:
                made = self._set(number, body, card)
                if isinstance(made, (Piece, Late)):
                    break
                lines += (b"".join(made), b"", b"")
        else:
            card.lines = tuple(lines)
            return card
        card.set = tuple(self._set(number, body, card) for number, body in enumerate(self._bodies))
        return card

    def _set(self, number: int, body: Program, card: Shown) -> Setting:
        loop = self._loops[number]
        program = self._filled(number, body, OF_CARD, card) if loop and loop.source in (GROUP_CARDS, *CARDS) else ()
        if not program:
            return ()
        if len(program) == 1 and isinstance(program[0], Piece):
            piece = compact(program[0])
            return piece if piece.tail else piece.lines
        return Late(program)

    def _headed(self, item: SetItem, heading: str) -> tuple[Shown, dict[int, Program | _Around]]:
        card = replace(
            item.plain,
            meta=meta_line(item.card, heading, self._said),
            themes=themes_shown(item.card, heading),
        )
        bodies = {number: self._filled(number, body, OF_HEADED, card) for number, body in item.bodies.items()}
        item.size += _HEADED + sum(map(_length, bodies.values()))
        found = item.headed[heading] = card, {number: _around(body) for number, body in bodies.items()}
        return found

    def _of_reason(self, number: int, node: Value | Branch, card: Shown) -> Piece:
        """A reason, which many cards have in common."""
        loop = self._loops[number]
        assert loop
        piece = compact(rendered((node,), self._fixed | {loop.target: card}))
        if len(self._reasons) >= REASONS_KEPT:
            del self._reasons[next(iter(self._reasons))]
        self._reasons[node, card.why] = piece
        return piece


def _around(program: Program) -> Program | _Around:
    """The program as that, if it is so."""
    if len(program) == 3:
        before, reason, after = program
        if isinstance(before, Piece) and isinstance(reason, (Value, Branch)) and isinstance(after, Piece):
            whole = before.lines and after.lines and not before.tail and not after.tail
            if whole and reason.needs <= OF_REASON:
                return _Around(b"".join(before.lines), reason, b"".join(after.lines))
    return program


def _length(program: Program) -> int:
    return sum(len(line) for node in program if isinstance(node, Piece) for line in node.lines)
