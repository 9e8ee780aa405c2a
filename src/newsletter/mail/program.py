"""Programs: what a template becomes, with text, values, branches and loops, each with what it depends on. Pure.

``filled`` renders all that depends on known things only, and leaves the rest; so a program is filled for a list and
language, then for a card, then for a reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from newsletter.mail.pieces import Piece, Ready, Stretch, joined, piece

Values = dict[str, Any]
Known = frozenset[str]
"""What a value depends on: ``day``, or for what a loop goes through ``group.heading``, ``card.title``."""

GROUPS, CARDS, GROUP_CARDS = "groups", ("rest", "shown_rest", "listed_rest"), "group.cards"
UNKNOWN: Known = frozenset({"?"})
"""Depends on things that are never known beforehand."""


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """Text that depends on ``needs``; ``name``: of the value that it is, if nothing but its name was written."""

    needs: Known
    text: Callable[[Values], str]
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One program or the other; ``test`` depends on ``asks``, the whole on ``needs``."""

    needs: Known
    asks: Known
    test: Callable[[Values], Any]
    then: Program
    otherwise: Program


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """A program for each group of a letter, or for each card of a group or of the rest.

    ``number`` is the same for a loop however far it is filled.
    """

    number: int
    source: str
    target: str
    body: Program
    needs: Known = UNKNOWN


@dataclass(frozen=True, slots=True, eq=False)
class Linked:
    """A ready program whose values are links, and the same as one stretch."""

    stretch: Stretch
    program: Program


Node = str | Piece | Ready | Value | Branch | Loop | Linked
Program = tuple[Node, ...]


def needs_of(program: Program) -> Known:
    """All that a program still depends on."""
    return frozenset().union(*(node.needs for node in program if isinstance(node, (Value, Branch, Loop))))


def merged(program: Iterable[Node]) -> Program:
    """The same program with neighbouring texts in one."""
    found: list[Node] = []
    for node in program:
        if isinstance(node, str) and found and isinstance(found[-1], str):
            found[-1] += node
        elif node != "":
            found.append(node)
    return tuple(found)


def filled(program: Program, known: Known, values: Values) -> Program:
    """The program with everything rendered that depends on ``known`` only."""
    return merged(_filled(program, known, values))


def _filled(program: Program, known: Known, values: Values) -> Iterator[Node]:
    for node in program:
        if isinstance(node, Value):
            yield node.text(values) if node.needs <= known else node
        elif isinstance(node, Branch):
            if node.asks <= known:
                yield from _filled(node.then if node.test(values) else node.otherwise, known, values)
            else:
                then, otherwise = filled(node.then, known, values), filled(node.otherwise, known, values)
                if then == node.then and otherwise == node.otherwise:
                    yield node
                    continue
                needs = node.asks | needs_of(then) | needs_of(otherwise)
                yield Branch(needs, node.asks, node.test, then, otherwise)
        elif isinstance(node, Loop):
            yield Loop(node.number, node.source, node.target, filled(node.body, known, values))
        else:
            yield node


def _parts(program: Program, values: Values) -> Iterator[str | Piece]:
    for node in program:
        if isinstance(node, (str, Piece)):
            yield node
        elif isinstance(node, Value):
            yield node.text(values)
        elif isinstance(node, Branch):
            yield from _parts(node.then if node.test(values) else node.otherwise, values)
        else:
            raise TypeError(f"{node!r} is no text")


def shown(program: Program, values: Values) -> str:
    """The text of a program without loops, of which nothing is encoded yet."""
    return "".join([part for part in _parts(program, values) if isinstance(part, str)])


def rendered(program: Program, values: Values) -> Piece:
    """A program without loops as one piece."""
    return joined(_parts(program, values))


def encoded_program(program: Program) -> Program:
    """The program with its texts encoded, neighbouring ones joined."""
    found: list[Node] = []
    texts: list[str | Piece] = []

    def flush() -> None:
        if texts:
            found.append(joined(texts) if len(texts) > 1 else _as_piece(texts[0]))
            texts.clear()

    for node in program:
        if isinstance(node, (str, Piece)):
            texts.append(node)
            continue
        flush()
        if isinstance(node, Branch):
            then, otherwise = encoded_program(node.then), encoded_program(node.otherwise)
            if then != node.then or otherwise != node.otherwise:
                node = Branch(node.needs, node.asks, node.test, then, otherwise)
        found.append(node)
    flush()
    return tuple(found)


def _as_piece(text: str | Piece) -> Piece:
    return piece(text) if isinstance(text, str) else text


def nodes_of(program: Program, kind: type[Any]) -> list[Any]:
    """Every node of a kind in a program, loops in loops included."""
    found: list[Any] = []
    for node in program:
        if isinstance(node, kind):
            found.append(node)
        if isinstance(node, Branch):
            found += [*nodes_of(node.then, kind), *nodes_of(node.otherwise, kind)]
        elif isinstance(node, Loop):
            found += nodes_of(node.body, kind)
    return found


def ready(program: Program, links: Sequence[str] = ()) -> Program:
    """An encoded program whose every known thing is filled in, for the last joining; ``links``: values that are."""
    found: list[Node] = []
    run: list[Piece | Value] = []
    for node in (*encoded_program(program), None):
        if isinstance(node, Piece) or (isinstance(node, Value) and node.name in links):
            run.append(node)
            continue
        found += _linked(run, links)
        run.clear()
        if isinstance(node, Branch):
            then, otherwise = ready(node.then, links), ready(node.otherwise, links)
            found.append(Branch(node.needs, node.asks, node.test, then, otherwise))
        elif node is not None:
            found.append(node)
    return tuple(found)


def _linked(run: Sequence[Piece | Value], links: Sequence[str]) -> Iterator[Node]:
    """Pieces and links, made ready: in one as far as the last end of a line."""
    made = tuple(Ready(node) if isinstance(node, Piece) else node for node in run)
    end = max((at + 1 for at, node in enumerate(run) if isinstance(node, Piece) and node.lines), default=0)
    parts = [links.index(node.name) if isinstance(node, Value) else node for node in run[:end]]
    if any(isinstance(part, int) for part in parts):
        yield Linked(Stretch(parts), made[:end])
        made = made[end:]
    yield from made
