"""What the templates of a digest are filled with: of a list, of a day, of a reader. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import lru_cache

from newsletter.mail.cards import (
    PREHEADER_SIZE,
    SHOWN,
    Shown,
    ShownGroup,
    contents_of,
    cut,
    named_of,
    preheader_of,
    section_of,
)
from newsletter.mail.letter import Masthead
from newsletter.mail.notes import note_html, note_text
from newsletter.mail.program import CARDS, Program, Values, shown
from newsletter.mail.templates import Programs
from newsletter.mail.words import Words

SUBJECT_LEAST, SUBJECT_LIMIT = 10, 60
REST_SHOWN = 5
REST_LISTED = 500


def fixed_values(masthead: Masthead, said: Words) -> Values:
    """What the templates of a digest are filled with for each of a list's readers."""
    return {
        "language": said.language,
        "direction": said.direction,
        "list_name": masthead.list_name,
        "postal_address": masthead.postal_address,
        "say": said.say,
        "dot": said.dot,
        "compact": masthead.look.style == "compact",
        "more_note_text": said.say("more_note_text"),
    }


def day_values(masthead: Masthead, said: Words, day: date, frequency: str, note: str) -> Values:
    """What is the same for those who get it on one day and as often; ``note`` is the editor's, in Markdown."""
    return {
        "day": said.long_day(day),
        "why": said.say(f"why_{frequency}", list=masthead.list_name),
        "note": note_html(note, masthead.look) if note else "",
        "note_text": note_text(note) if note else "",
    }


def rest_values(said: Words, rest: Sequence[Shown]) -> Values:
    """What there is to say of the rest."""
    hidden = len(rest) - REST_SHOWN
    unlisted = len(rest) - REST_LISTED
    return {
        "rest": rest,
        "more_title": said.count("more", len(rest)),
        "shown_rest": rest[:REST_SHOWN],
        "listed_rest": rest[:REST_LISTED],
        "unlisted_note": said.count("unlisted", unlisted) if unlisted > 0 else "",
        "more_note": said.say("more_note") if hidden > 0 else "",
    }


def briefly(values: Values, named: int, said: Words) -> Values:
    """What the HTML is filled with where it would be too large: whatever of the rest it names is but the first few."""
    rest = values["rest"][:named]
    more_note = said.say("more_note") if len(rest) < len(values["rest"]) else ""
    return values | dict.fromkeys(CARDS, rest) | {"more_note": more_note}


def letter_values(
    list_name: str, said: Words, day: date, groups: Sequence[ShownGroup], rest: Sequence[Shown], made: Programs
) -> Values:
    """What is one reader's, but for the links and the rest. Of what is ``made``, subject and preheader are shown."""
    cards = [card for group in groups for card in group.placed]
    total = len(cards) + len(rest)
    first, others, subject = _subject(cards[0][SHOWN].title, total, list_name, said, day, made.subject)
    contents, contents_title = contents_of(groups, total, said)
    heading = {
        "first_title": first,
        "others": others,
        "subject": subject,
        "teaser": preheader_of(cards, subject, said, list_name),
        "contents": contents,
        "list_name": list_name,
        "say": said.say,
    }
    return {
        "subject": subject,
        "preheader": cut(shown(made.preheader, heading).strip(), PREHEADER_SIZE[1]),
        "contents": contents,
        "contents_title": contents_title,
        "groups": groups,
    }


@lru_cache(maxsize=5000)
def _subject(title: str, total: int, list_name: str, said: Words, day: date, made: Program) -> tuple[str, str, str]:
    """The parts of a subject, and it."""
    first, others = subject_parts(title, total, list_name, said, day)
    return first, others, shown(made, {"first_title": first, "others": others}).strip()


def subject_parts(title: str, total: int, list_name: str, said: Words, day: date) -> tuple[str, str]:
    """The first title, cut so that the subject has 10 to 60 characters, and ``and 6 more``."""
    others = said.count("others", total - 1) if total > 1 else ""
    first = cut(title, SUBJECT_LIMIT - len(others) - 1 if others else SUBJECT_LIMIT)
    if len(first) < SUBJECT_LEAST:
        first = cut(f"{list_name}, {said.short_day(day)}: {first}", SUBJECT_LIMIT - len(others) - 1)
    return first, others


def shortened(
    groups: Sequence[ShownGroup], rest: Sequence[Shown], most: int, said: Words
) -> tuple[tuple[ShownGroup, ...], tuple[Shown, ...]]:
    """The first ``most`` cards under their headings, and what is left over before the rest."""
    kept: list[ShownGroup] = []
    over: list[Shown] = []
    for group in groups:
        if most:
            kept.append(ShownGroup(group.section, group.placed[:most]))
        over += named_of(group.placed[most:])
        most = max(0, most - len(group.placed))
    several = len(kept) > 1
    counted = tuple(
        ShownGroup(section_of(group.heading, len(group.placed) if several else 0, said), group.placed) for group in kept
    )
    return counted, (*over, *rest)
