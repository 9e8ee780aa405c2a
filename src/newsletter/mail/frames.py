"""A list's digests in one language: all that many readers share is rendered and encoded once."""

from __future__ import annotations

from binascii import a2b_qp
from collections.abc import Sequence
from datetime import date
from functools import lru_cache

from newsletter.mail import headers
from newsletter.mail.cards import Shown, ShownGroup
from newsletter.mail.joining import LINKS, Joiner
from newsletter.mail.letter import Envelope, Masthead, Message
from newsletter.mail.messages import message_of
from newsletter.mail.pieces import links_of
from newsletter.mail.program import Known, Loop, Program, Values, filled, nodes_of, ready
from newsletter.mail.setting import OF_LIST, Setter
from newsletter.mail.templates import Programs, load_programs
from newsletter.mail.values import (
    REST_SHOWN,
    briefly,
    day_values,
    fixed_values,
    letter_values,
    rest_values,
    shortened,
)
from newsletter.mail.words import words

# Gmail clips above 102 KB; ours keep clear of it (promise 18). Bytes as encoded for the wire.
HTML_LIMIT = 95_000
DAYS_KEPT = 12
COPY = "copy"
"""Stands for a frequency where nobody in particular reads."""
OF_DAY: Known = OF_LIST | {"day", "why", "note", "note_text"}
LINK_NAMES = ("unsubscribe_url", "preferences_url", "copy_url")
# Of the templates, filled for a list and for its days, in bytes.
_SIZE = 300_000


class Frame:
    """Composes digests from cards that ``cards`` has set."""

    def __init__(self, masthead: Masthead, programs: Programs | None = None) -> None:
        programs = programs or load_programs(masthead.look)
        self._masthead = masthead
        self._said = said = words(masthead.language)
        self._fixed = fixed_values(masthead, said)
        self._programs = programs
        self._html = filled(programs.html, OF_LIST, self._fixed)
        self._text = filled(programs.text, OF_LIST, self._fixed)
        found: list[Loop] = [*nodes_of(self._html, Loop), *nodes_of(self._text, Loop)]
        # By number, of which some may be missing: those of loops in others that could not be split.
        loops: list[Loop | None] = [None] * (max((loop.number for loop in found), default=-1) + 1)
        for loop in found:
            loops[loop.number] = loop
        self.cards = Setter(loops, self._fixed, said)
        self._joiner = Joiner(loops, self._fixed, OF_LIST)
        self._days: dict[tuple[date, str, str], tuple[Program, Program, Values]] = {}
        self._from = headers.mailbox("From", masthead.sender_name, masthead.sender_email)
        self._list_headers = headers.list_headers(
            masthead.list_name, masthead.list_slug, masthead.sender_email, said.language
        )

    @property
    def size(self) -> int:
        """Bytes kept, roughly."""
        return _SIZE + self.cards.size

    def compose(
        self,
        groups: Sequence[ShownGroup],
        rest: Sequence[Shown],
        day: date,
        frequency: str,
        envelope: Envelope,
        note: str = "",
    ) -> Message:
        """A digest for one reader. If the HTML would be too large, the last cards move to the rest."""
        html_program, text_program, shared = self._days.get((day, frequency, note)) or self._of_day(
            day, frequency, note
        )
        join = self._joiner.join
        links = {name: getattr(envelope, name) for name in LINK_NAMES}
        links[LINKS] = links_of(*links.values())
        # How many of the rest the HTML names at most, if not what the template says.
        named: int | None = None
        while True:
            values = shared | letter_values(self._masthead.list_name, self._said, day, groups, rest, self._programs)
            values |= links
            if rest:
                values |= rest_values(self._said, rest)
            html = join(html_program, values if named is None else briefly(values, named, self._said))
            head = (
                f"{self._from}{subject_field(values['subject'])}{self._list_headers}{headers.reader_headers(envelope)}"
            )
            message = message_of(envelope, head, join(text_program, values), html)
            # Of most the whole is small enough, and to add up the parts takes longer than to join them.
            if len(message.content) <= HTML_LIMIT:
                return message
            size = sum(map(len, html))
            count = sum(len(group.placed) for group in groups)
            if size <= HTML_LIMIT or (count <= 1 and named == 1):
                return message
            if named is not None and count <= 1:
                named = 1
                continue
            # A list's own template may name all of the rest: with less of that the cards may fit.
            if named is not None or len(rest) <= REST_SHOWN:
                groups, rest = shortened(groups, rest, max(1, min(count - 1, count * HTML_LIMIT // size)), self._said)
            named = REST_SHOWN

    def copy(self, groups: Sequence[ShownGroup], rest: Sequence[Shown], day: date, note: str = "") -> str:
        """The HTML of a digest for anybody to read in a browser: without its reader's links, the rest named whole."""
        program, _, shared = self._days.get((day, COPY, note)) or self._of_day(day, COPY, note)
        values = shared | letter_values(self._masthead.list_name, self._said, day, groups, rest, self._programs)
        values |= dict.fromkeys(LINK_NAMES, "") | {LINKS: None}
        if rest:
            values |= rest_values(self._said, rest)
            values |= {"shown_rest": values["listed_rest"], "more_note": values["unlisted_note"]}
        return a2b_qp(b"".join(self._joiner.join(program, values))).decode().replace("\r\n", "\n")

    def _of_day(self, day: date, frequency: str, note: str) -> tuple[Program, Program, Values]:
        values = self._fixed | day_values(self._masthead, self._said, day, frequency, note)
        values |= rest_values(self._said, ())
        html, text = (ready(filled(program, OF_DAY, values), LINK_NAMES) for program in (self._html, self._text))
        while len(self._days) >= DAYS_KEPT:
            del self._days[next(iter(self._days))]
        found = self._days[day, frequency, note] = html, text, values
        return found


@lru_cache(maxsize=5000)
def subject_field(subject: str) -> str:
    """The Subject field."""
    return headers.unstructured("Subject", subject)
