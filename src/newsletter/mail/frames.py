"""A list's digests in one language: all that many readers share is rendered and encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import lru_cache

from newsletter.mail import headers
from newsletter.mail.cards import Shown, ShownGroup, contents_line, cut, meta_line, preheader_of, shown_card, why_line
from newsletter.mail.letter import Card, Envelope, Masthead, Message
from newsletter.mail.messages import message_of
from newsletter.mail.pieces import NOTHING, Piece, Ready, after, compact, encoded, joined
from newsletter.mail.splitting import (
    CARDS,
    GROUP_CARDS,
    GROUPS,
    Branch,
    Known,
    Loop,
    Node,
    Program,
    Value,
    Values,
    encoded_program,
    filled,
    nodes_of,
    ready,
    shown,
)
from newsletter.mail.templates import Programs, load_programs
from newsletter.mail.words import Words, words

# Gmail clips above 102 KB; ours keep clear of it (promise 12). Bytes as encoded for the wire.
HTML_LIMIT = 95_000
SUBJECT_LEAST, SUBJECT_LIMIT = 10, 78
REST_SHOWN = 5
REST_LISTED = 500
DAYS_KEPT = 12
REASONS_KEPT = 20_000

# What is known when: of the list, of the day, of an item, of an item in a reader's digest.
OF_LIST: Known = frozenset({"language", "list_name", "postal_address", "say", "more_note_text"})
OF_DAY: Known = OF_LIST | {"day", "why"}
OF_ITEM: Known = OF_LIST | {f"card.{name}" for name in ("title", "url", "language", "short", "long")}
OF_HEADED: Known = OF_ITEM | {"card.meta"}
OF_REASON: Known = OF_LIST | {"card.why"}
OF_CARD: Known = OF_HEADED | OF_REASON
OF_GROUP: Known = OF_LIST | {"group.heading"}


class SetItem:
    """An item in a frame, before it is a card in some reader's digest."""

    __slots__ = ("bodies", "card", "headed", "plain")

    def __init__(self, card: Card, plain: Shown, bodies: list[Program]) -> None:
        self.card = card
        self.plain = plain
        self.bodies = bodies
        self.headed: dict[str, tuple[str, list[Program]]] = {}
        """Its line of facts and its bodies, by heading."""


class Frame:
    """Composes digests from cards that it has set; it does not forget its headings, of which there are few."""

    def __init__(self, masthead: Masthead, programs: Programs | None = None) -> None:
        programs = programs or load_programs()
        self.masthead = masthead
        self._said = said = words(masthead.language)
        self.general = said.say("general")
        """The heading of what concerns no place in particular."""
        self._fixed = fixed_values(masthead, said)
        self._subject = programs.subject
        self._html = filled(programs.html, OF_LIST, self._fixed)
        self._text = filled(programs.text, OF_LIST, self._fixed)
        loops: list[Loop] = [*nodes_of(self._html, Loop), *nodes_of(self._text, Loop)]
        # By number, of which some may be missing: those of loops in others that could not be split.
        count = max((loop.number for loop in loops), default=-1) + 1
        self._sources, self._targets = [""] * count, [""] * count
        self._bodies: list[Program] = [()] * count
        for loop in loops:
            self._sources[loop.number], self._targets[loop.number] = loop.source, loop.target
            self._bodies[loop.number] = encoded_program(loop.body)
        self._headings: list[dict[str, _Heading]] = [{} for _ in range(count)]
        self._reasons: dict[tuple[Node, str], Piece] = {}
        self._days: dict[tuple[date, str], tuple[Program, Program, Values]] = {}
        self._from = headers.mailbox("From", masthead.sender_name, masthead.sender_email)
        self._list_headers = headers.list_headers(
            masthead.list_name, masthead.list_slug, masthead.sender_email, said.language
        )

    def set_item(self, card: Card) -> SetItem:
        """An item with all rendered that no reader changes: ``because`` is not looked at."""
        plain = shown_card(card, "", self._said)
        bodies: list[Program] = []
        for number, source in enumerate(self._sources):
            bodies.append(self._filled(number, OF_ITEM, plain) if source == GROUP_CARDS else ())
            if plain.named:
                body = self._filled(number, OF_CARD, plain.named) if source in CARDS else (NOTHING,)
                _add(plain.named, _single(body))
        return SetItem(card, plain, bodies)

    def _filled(self, number: int, known: Known, card: Shown) -> Program:
        body = filled(self._bodies[number], known, self._fixed | {self._targets[number]: card})
        return tuple(compact(node) if isinstance(node, Piece) else node for node in encoded_program(body))

    def reason(self, because: Sequence[str]) -> str:
        """What a card says of the picks that it met."""
        return why_line(because, self._said)

    def set_card(self, item: SetItem, heading: str, why: str) -> Shown:
        """The item as a card under a heading (a place's name, or nothing) for this ``reason``."""
        plain = item.plain
        meta, bodies = item.headed.get(heading) or self._headed(item, heading)
        card = Shown(plain.title, plain.url, plain.language, plain.short, plain.long, meta, why, plain.named)
        for number, body in enumerate(bodies):
            _add(card, self._with_reason(number, body, card) if body else NOTHING)
        return card

    def _headed(self, item: SetItem, heading: str) -> tuple[str, list[Program]]:
        plain = item.plain
        meta = meta_line(item.card, heading, self._said)
        card = Shown(plain.title, plain.url, plain.language, plain.short, plain.long, meta)
        bodies = []
        for target, body in zip(self._targets, item.bodies, strict=True):
            bodies.append(encoded_program(filled(body, OF_HEADED, self._fixed | {target: card})))
        found = item.headed[heading] = meta, bodies
        return found

    def _with_reason(self, number: int, body: Program, card: Shown) -> Piece | Program:
        """A body with the reason in it, which many items have in common."""
        parts: list[str | Piece] = []
        for node in body:
            if isinstance(node, (str, Piece)):
                parts.append(node)
            elif isinstance(node, (Value, Branch)) and node.needs <= OF_REASON:
                piece = self._reasons.get((node, card.why))
                if piece is None:
                    made = joined(filled((node,), OF_REASON, self._fixed | {self._targets[number]: card}))  # type: ignore[arg-type]
                    if len(self._reasons) >= REASONS_KEPT:
                        del self._reasons[next(iter(self._reasons))]
                    piece = self._reasons[node, card.why] = made
                parts.append(piece)
            else:
                values = self._fixed | {self._targets[number]: card}
                return _single(encoded_program(filled(body, OF_CARD, values)))
        return _in_two(joined(parts))

    def compose(
        self, groups: Sequence[ShownGroup], rest: Sequence[Shown], day: date, frequency: str, envelope: Envelope
    ) -> Message:
        """A digest for one reader. If the HTML would be too large, the last cards move to the rest."""
        html_program, text_program, shared = self._days.get((day, frequency)) or self._of_day(day, frequency)
        while True:
            values = shared | letter_values(self.masthead.list_name, self._said, day, groups, rest, self._subject)
            values["unsubscribe_url"] = envelope.unsubscribe_url
            values["preferences_url"] = envelope.preferences_url
            html = self._rendered(html_program, values)
            if len(html) <= HTML_LIMIT:
                break
            count = sum(len(group.cards) for group in groups)
            if count <= 1:
                break
            groups, rest = shortened(groups, rest, max(1, min(count - 1, count * HTML_LIMIT // len(html))))
        head = (
            f"{self._from}{subject_field(values['subject'])}{self._list_headers}"
            f"{headers.reader_headers(envelope, with_unsubscribe=True)}"
        )
        return message_of(envelope, head, self._rendered(text_program, values), html)

    def _of_day(self, day: date, frequency: str) -> tuple[Program, Program, Values]:
        values = self._fixed | day_values(self.masthead, self._said, day, frequency)
        html, text = (ready(filled(program, OF_DAY, values)) for program in (self._html, self._text))
        while len(self._days) >= DAYS_KEPT:
            del self._days[next(iter(self._days))]
        found = self._days[day, frequency] = html, text, values
        return found

    def _rendered(self, program: Program, values: Values) -> bytes:
        out: list[bytes] = []
        carry = self._run(program, values, out, "")
        if carry:
            out.append(encoded(carry))
        return b"".join(out)

    def _run(self, program: Program, values: Values, out: list[bytes], carry: str) -> str:
        """Put out the lines of a program; ``carry`` is the line begun, before and after."""
        for node in program:
            if isinstance(node, Ready):
                if carry:
                    carry = node.put(out, carry)
                else:
                    out += node.lines
                    carry = node.tail
            elif isinstance(node, Value):
                carry += node.text(values)
            elif isinstance(node, Branch):
                chosen = node.then if node.test(values) else node.otherwise
                if chosen:
                    carry = self._run(chosen, values, out, carry)
            elif isinstance(node, Loop):
                carry = (self._run_groups if node.source == GROUPS else self._run_cards)(node, values, out, carry)
            elif isinstance(node, Piece):
                carry = _put(node, out, carry)
            else:
                carry += node
        return carry

    def _run_groups(self, loop: Loop, values: Values, out: list[bytes], carry: str) -> str:
        headings = self._headings[loop.number]
        for group in values[GROUPS]:
            body = headings.get(group.heading) or self._heading(loop, group)
            if body.simple and not carry:
                begun = len(out)
                out += body.before
                number = body.number
                for card in group.cards:
                    lines = card.lines[number]
                    if lines is None:
                        break
                    out += lines
                else:
                    out += body.after
                    continue
                del out[begun:]
            values[loop.target] = group
            values[GROUP_CARDS] = group.cards
            carry = self._run(body.program, values, out, carry)
        values.pop(loop.target, None)
        return carry

    def _heading(self, loop: Loop, group: ShownGroup) -> _Heading:
        # From the frame's own loop: the one at hand may hold the day already.
        own = filled(self._bodies[loop.number], OF_GROUP, self._fixed | {loop.target: group})
        body = self._headings[loop.number][group.heading] = _Heading(ready(own))
        return body

    def _run_cards(self, loop: Loop, values: Values, out: list[bytes], carry: str) -> str:
        for card in values[loop.source]:
            lines = card.lines[loop.number]
            if lines is None or carry:
                carry = self._run_card(card, loop, values, out, carry)
            else:
                out += lines
        return carry

    def _run_card(self, card: Shown, loop: Loop, values: Values, out: list[bytes], carry: str) -> str:
        body = card.set[loop.number]
        if isinstance(body, Piece):
            return _put(body, out, carry)
        values[loop.target] = card
        carry = self._run(body, values, out, carry)
        del values[loop.target]
        return carry


class _Heading:
    """A group's body with its heading in it; ``simple``: whole lines, the cards, whole lines."""

    __slots__ = ("after", "before", "number", "program", "simple")

    def __init__(self, program: Program) -> None:
        self.program = program
        self.before: tuple[bytes, ...] = ()
        self.after: tuple[bytes, ...] = ()
        loops = [node for node in program if isinstance(node, Loop) and node.source == GROUP_CARDS]
        texts = [node for node in program if isinstance(node, Ready)]
        whole = all(text.lines and not text.tail for text in texts)
        self.simple = whole and len(loops) == 1 and len(loops) + len(texts) == len(program)
        if self.simple:
            at = program.index(loops[0])
            self.number = loops[0].number
            self.before = tuple(line for text in texts[:at] for line in text.lines)
            self.after = tuple(line for text in texts[at:] for line in text.lines)


def _put(one: Piece, out: list[bytes], carry: str) -> str:
    if not one.lines:
        return carry + one.tail
    out += after(carry, one) if carry else one.lines
    return one.tail


def _in_two(one: Piece) -> Piece:
    """The same piece with its first lines, which are the item's, as they are, and the others in one."""
    first, others = one.lines[:1], one.lines[1:]
    return Piece(one.head, (*first, b"".join(others)), one.tail) if len(others) > 1 else one


def _add(card: Shown, body: Piece | Program) -> None:
    card.set.append(body)
    card.lines.append(body.lines if isinstance(body, Piece) and not body.tail else None)


def _single(program: Program) -> Piece | Program:
    return program[0] if len(program) == 1 and isinstance(program[0], Piece) else program


@lru_cache(maxsize=10_000)
def subject_field(subject: str) -> str:
    """The Subject field."""
    return headers.unstructured("Subject", subject)


def fixed_values(masthead: Masthead, said: Words) -> Values:
    """What the templates of a digest are filled with for each of a list's readers."""
    return {
        "language": said.language,
        "list_name": masthead.list_name,
        "postal_address": masthead.postal_address,
        "say": said.say,
        "more_note_text": said.say("more_note_text"),
    }


def day_values(masthead: Masthead, said: Words, day: date, frequency: str) -> Values:
    """What is the same for those who get it on one day and as often."""
    return {"day": said.long_day(day), "why": said.say(f"why_{frequency}", list=masthead.list_name)}


def letter_values(
    list_name: str, said: Words, day: date, groups: Sequence[ShownGroup], rest: Sequence[Shown], subject: Program
) -> Values:
    """What is one reader's, but for the links."""
    cards = [card for group in groups for card in group.cards]
    first, others = subject_parts(cards[0].title, len(cards) + len(rest), list_name, said, day)
    line = shown(subject, {"first_title": first, "others": others}).strip()
    hidden = len(rest) - REST_SHOWN
    return {
        "subject": line,
        "preheader": preheader_of(cards, line, said, list_name),
        "contents": contents_line(groups, len(rest), said),
        "groups": groups,
        "rest": rest,
        "more_title": said.count("more", len(rest)),
        "shown_rest": rest[:REST_SHOWN],
        "listed_rest": rest[:REST_LISTED],
        "unlisted_note": said.count("unlisted", len(rest) - REST_LISTED) if len(rest) > REST_LISTED else "",
        "more_note": said.say("more_note") if hidden > 0 else "",
    }


def subject_parts(title: str, total: int, list_name: str, said: Words, day: date) -> tuple[str, str]:
    """The first title, cut so that the subject has 10 to 78 characters, and ``and 6 more``."""
    others = said.count("others", total - 1) if total > 1 else ""
    first = cut(title, SUBJECT_LIMIT - len(others) - 1 if others else SUBJECT_LIMIT)
    if len(first) < SUBJECT_LEAST:
        first = cut(f"{list_name}, {said.short_day(day)}: {first}", SUBJECT_LIMIT - len(others) - 1)
    return first, others


def shortened(
    groups: Sequence[ShownGroup], rest: Sequence[Shown], most: int
) -> tuple[tuple[ShownGroup, ...], tuple[Shown, ...]]:
    """The first ``most`` cards under their headings, and what is left over before the rest."""
    kept: list[ShownGroup] = []
    over: list[Shown] = []
    for group in groups:
        if most:
            kept.append(ShownGroup(group.heading, group.cards[:most]))
        over += [card.named or card for card in group.cards[most:]]
        most = max(0, most - len(group.cards))
    return tuple(kept), (*over, *rest)
