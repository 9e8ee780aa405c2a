"""The last step: programs, cards and a reader's values joined to the lines of a mail."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from newsletter.mail.cards import LINES, SHOWN, Section, Shown, ShownGroup
from newsletter.mail.pieces import Piece, Ready, after, encoded, head_of
from newsletter.mail.program import (
    GROUP_CARDS,
    GROUPS,
    Branch,
    Known,
    Linked,
    Loop,
    Program,
    Value,
    Values,
    encoded_program,
    filled,
    ready,
)

HEADINGS_KEPT = 2000
LINKS = " links"
"""Among the values, under a name that no template can write: the reader's links as ``links_of`` makes them."""


class Late:
    """What a loop makes of a card, if it depends on the reader."""

    __slots__ = ("program",)

    def __init__(self, program: Program) -> None:
        self.program = program


Setting = tuple[bytes, ...] | Piece | Late
"""What a loop makes of a card: whole lines (of the class ``tuple`` itself, which a piece is not), a piece, or late."""


class Joiner:
    """Joins digests of one list and language; headings are remembered, of which there are few."""

    def __init__(self, loops: list[Loop | None], fixed: Values, known: Known) -> None:
        """``loops``: by number, filled with ``fixed``, which are what is ``known``."""
        self._bodies = [encoded_program(_without_cards(loop.body)) if loop else () for loop in loops]
        self._fixed = fixed
        self._known: Known = known | {f"group.{name}" for name in Section._fields}
        self._headings: list[dict[Section, _Heading]] = [{} for _ in loops]
        self._parts = parts_of(loops)

    def join(self, program: Program, values: Values) -> list[bytes]:
        """The encoded text of a ready program, in parts."""
        out: list[bytes] = []
        carry = self._run(program, values, out, "")
        if carry:
            out.append(encoded(carry))
        return out

    def _run(self, program: Program, values: Values, out: list[bytes], carry: str) -> str:
        """Put out the lines of a program; ``carry`` is the line begun, before and after."""
        # To ask for the type itself takes a third of what ``isinstance`` does; some ninety times a mail.
        for node in program:
            if type(node) is Ready:
                if carry:
                    carry = node.put(out, carry)
                else:
                    out += node.lines
                    carry = node.tail
            elif type(node) is Value:
                carry += node.text(values)
            elif type(node) is Branch:
                chosen = node.then if node.test(values) else node.otherwise
                if chosen:
                    carry = self._run(chosen, values, out, carry)
            elif type(node) is Linked:
                links = values[LINKS]
                if links and not carry:
                    node.stretch.put(out, links)
                    carry = node.stretch.tail
                else:
                    carry = self._run(node.program, values, out, carry)
            elif type(node) is Loop:
                carry = (self._run_groups if node.source == GROUPS else self._run_cards)(node, values, out, carry)
            elif type(node) is Piece:
                carry = _put(node, out, carry)
            else:
                assert isinstance(node, str)
                carry += node
        return carry

    def _run_groups(self, loop: Loop, values: Values, out: list[bytes], carry: str) -> str:
        headings = self._headings[loop.number]
        for group in values[GROUPS]:
            joined = group.joined
            if joined and not carry and loop.number in joined:
                out.append(joined[loop.number])
                continue
            body = headings.get(group.section) or self._heading(loop, group)
            if body.simple and not carry:
                begun = len(out)
                out += body.before
                part = body.part
                for card in group.placed if part else ():
                    lines = card[part]
                    if not lines:
                        break
                    out += lines
                else:
                    out += body.after
                    if joined is not None:
                        joined[loop.number] = b"".join(out[begun:])
                    continue
                del out[begun:]
            values[loop.target] = group
            values[GROUP_CARDS] = group.placed
            carry = self._run(body.program, values, out, carry)
        values.pop(loop.target, None)
        return carry

    def _heading(self, loop: Loop, group: ShownGroup) -> _Heading:
        # From the list's own loop: the one at hand may hold the day already.
        own = filled(self._bodies[loop.number], self._known, self._fixed | {loop.target: group})
        headings = self._headings[loop.number]
        if len(headings) >= HEADINGS_KEPT:
            del headings[next(iter(headings))]
        body = headings[group.section] = _Heading(ready(own), self._parts)
        return body

    def _run_cards(self, loop: Loop, values: Values, out: list[bytes], carry: str) -> str:
        part = self._parts[loop.number]
        for card in values[loop.source]:
            if part:
                lines = card[part] or card[SHOWN].set[loop.number]
                card = card[SHOWN]
            else:
                lines = card.set[loop.number]
            if type(lines) is tuple and not carry:
                out += lines
            else:
                carry = self._run_card(card, lines, loop, values, out, carry)
        return carry

    def _run_card(self, card: Shown, body: Setting, loop: Loop, values: Values, out: list[bytes], carry: str) -> str:
        if isinstance(body, Late):
            values[loop.target] = card
            carry = self._run(body.program, values, out, carry)
            del values[loop.target]
            return carry
        if isinstance(body, Piece):
            return _put(body, out, carry)
        data = b"".join(body)
        return _put(Piece(head_of(data), (data,), ""), out, carry) if data else carry


def parts_of(loops: Sequence[Loop | None]) -> list[slice | None]:
    """Where in a placed card the lines of each loop are; None for one that is not over the cards of a group."""
    places = itertools.count(LINES, 3)
    return [slice(place := next(places), place + 3) if loop and loop.source == GROUP_CARDS else None for loop in loops]


class _Heading:
    """A group's body with its heading in it; ``simple``: whole lines, and perhaps the cards between them."""

    __slots__ = ("after", "before", "part", "program", "simple")

    def __init__(self, program: Program, parts: Sequence[slice | None]) -> None:
        """``parts``: of all loops, as ``parts_of`` gives them."""
        self.program = program
        self.part: slice | None = None
        """Of the loop over its cards, if there is one."""
        self.before: tuple[bytes, ...] = ()
        self.after: tuple[bytes, ...] = ()
        loops = [node for node in program if isinstance(node, Loop) and node.source == GROUP_CARDS]
        texts = [node for node in program if isinstance(node, Ready)]
        whole = all(text.lines and not text.tail for text in texts)
        self.simple = whole and len(loops) < 2 and len(loops) + len(texts) == len(program)
        if self.simple:
            at = program.index(loops[0]) if loops else len(program)
            self.part = parts[loops[0].number] if loops else None
            self.before = tuple(line for text in texts[:at] for line in text.lines)
            self.after = tuple(line for text in texts[at:] for line in text.lines)


def _without_cards(program: Program) -> Program:
    """A group's body whose cards are set elsewhere."""
    return tuple(
        Loop(node.number, node.source, node.target, ()) if isinstance(node, Loop) else node for node in program
    )


def _put(one: Piece, out: list[bytes], carry: str) -> str:
    if not one.lines:
        return carry + one.tail
    out += after(carry, one) if carry else one.lines
    return one.tail
