"""Items as the templates show them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from newsletter.languages import direction
from newsletter.mail.letter import Card
from newsletter.mail.words import Words

HTML_SUMMARY = 600
TEXT_SUMMARY = 2000
TITLE = 200
PICKS_NAMED = 4
CONTENTS_FROM, CONTENTS_LISTED_FROM = 3, 9
"""Items from which on a digest says what is in it: in a line, and with a list of its sections."""
PREHEADER_SIZE = (40, 140)
UNPLACED = {"country": "general", "theme": "more_news"}
"""The heading of what has no place, or no theme, by what the sections of a list are."""


@dataclass(slots=True, eq=False)
class Shown:
    """A card with its lines made: ``short`` paragraphs for HTML, ``long`` ones for text."""

    title: str
    url: str
    language: str
    direction: str
    short: tuple[str, ...] = ()
    long: tuple[str, ...] = ()
    meta: str = ""
    themes: tuple[str, ...] = ()
    """Those that the heading does not name."""
    why: str = ""
    named: Shown | None = field(default=None, repr=False)
    """The same among those that are only named."""
    set: tuple[Any, ...] = field(default=(), repr=False)
    """What the loop of each number makes of it, if not whole lines: a ``joining.Setting``."""
    image: str = ""
    image_alt: str = ""


Placed = tuple[Any, ...]
"""A card in its place: relevance, order and heading as ``digests.arranging`` sorts by, the ``Shown`` card, its reason
if that is not in the card, and its lines: what the loops over a group's cards make of it, if all of them make whole
lines; of each what stands before the reason, the reason, and what stands behind it.

One flat tuple: of a card that only one reader has, each object is one more that the processor waits for.
"""
SHOWN, WHY, LINES = 3, 4, 5
"""Where in one these are."""


def placed(shown: Shown, heading: str = "") -> Placed:
    """A card of which no lines are made."""
    return 0, b"", heading, shown, ""


def card_in(one: Placed) -> Shown:
    """The card with its reason, as templates see it."""
    shown: Shown = one[SHOWN]
    return replace(shown, why=one[WHY]) if one[WHY] else shown


class Section(NamedTuple):
    """What cards stand under; ``title``: heading and count."""

    heading: str
    tally: str
    """How many cards there are, as the language writes it; empty if there is no other section."""
    title: str


def named_of(rest: Sequence[Placed]) -> list[Shown]:
    """What is only named of these cards."""
    return [one[SHOWN].named or card_in(one) for one in rest]


@dataclass(slots=True, eq=False)
class ShownGroup:
    """Cards of a section."""

    section: Section
    placed: Sequence[Placed]
    joined: dict[int, bytes] | None = None
    """What the loop of each number makes of it, if several digests have this group."""

    def share(self) -> None:
        """Several digests have it: what is made of it is kept."""
        if self.joined is None:
            self.joined = {}

    @property
    def cards(self) -> list[Shown]:
        """The cards as templates see them."""
        return [card_in(one) for one in self.placed]

    @property
    def heading(self) -> str:
        """The section's."""
        return self.section.heading

    @property
    def tally(self) -> str:
        """The section's."""
        return self.section.tally

    @property
    def title(self) -> str:
        """The section's."""
        return self.section.title


def section_of(heading: str, cards: int, said: Words) -> Section:
    """``cards``: how many stand under it, or 0 if there is no other section."""
    tally = said.number(cards) if cards else ""
    return Section(heading, tally, f"{heading}{said.dot}{tally}" if tally else heading)


def cut(text: str, most: int) -> str:
    """``text`` in at most ``most`` characters, ended at a word with an ellipsis if it had to be cut."""
    if len(text) <= most:
        return text
    kept = text[: most - 1]
    at_word = kept.rpartition(" ")[0]
    # A single word of that length is cut where it has to be.
    return (at_word if len(at_word) > most // 2 else kept).rstrip(" ,;:.–-") + "…"


def paragraphs(summary: str, most: int) -> tuple[str, ...]:
    """A summary's paragraphs, together at most ``most`` characters."""
    return tuple(part for part in cut(summary, most).split("\n\n") if part.strip())


def shown_card(card: Card, heading: str, said: Words) -> Shown:
    """A card as it stands under a heading, for a reader who follows ``card.because``."""
    return Shown(
        title=cut(card.title, TITLE),
        url=card.url,
        language=card.language,
        direction=direction(card.language),
        short=paragraphs(card.summary, HTML_SUMMARY),
        long=paragraphs(card.summary, TEXT_SUMMARY),
        meta=meta_line(card, heading, said),
        themes=themes_shown(card, heading),
        why=why_line(card.because, said),
        named=named_card(card),
        image=card.image,
        image_alt=card.image_alt,
    )


def named_card(card: Card) -> Shown:
    """A card of which only title and link are shown."""
    return Shown(cut(card.title, TITLE), card.url, card.language, direction(card.language))


def meta_line(card: Card, heading: str, said: Words) -> str:
    """Source, day, and the countries that the heading does not name already."""
    elsewhere = said.comma.join(place for place in card.places[:PICKS_NAMED] if place != heading)
    other_language = said.language_name(card.language) if card.language != said.language else ""
    meta = [card.source, said.short_day(card.day), elsewhere, other_language]
    return said.dot.join(part for part in meta if part)


def themes_shown(card: Card, heading: str) -> tuple[str, ...]:
    """The themes that the heading does not name already."""
    return tuple(theme for theme in card.themes[:PICKS_NAMED] if theme != heading)


def why_line(because: Sequence[str], said: Words) -> str:
    """The picks that it met; nothing for who follows everything."""
    return said.say("because", picks=said.dot.join(because[:PICKS_NAMED])) if because else ""


def contents_of(groups: Sequence[ShownGroup], total: int, said: Words) -> tuple[str, str]:
    """What a digest of so many items holds: ``7 new items: Guatemala 4 · Honduras 3``; short ones need none.

    And ``30 new items``, if it is so long that its sections are worth a list.
    """
    if total < CONTENTS_FROM:
        return "", ""
    line = said.count("items", total)
    if len(groups) == 1:
        return line, ""
    places = said.dot.join([f"{group.section.heading} {group.section.tally}" for group in groups[:8]])
    contents = said.say("contents", items=line, places=places + (" …" if len(groups) > 8 else ""))
    return contents, line if total >= CONTENTS_LISTED_FROM else ""


def preheader_of(cards: Sequence[Placed], subject: str, said: Words, list_name: str) -> str:
    """What mail readers show beside the subject: the titles it did not name, else the summary's beginning."""
    least, most = PREHEADER_SIZE
    titles = said.dot.join([card[SHOWN].title for card in cards[1:8]])
    text = cut(titles or " ".join(cards[0][SHOWN].short), most)
    if len(text) < least or text == subject:
        text = cut(f"{text}{said.dot}{said.say('preheader_fill', list=list_name)}".removeprefix(said.dot), most)
    return text
