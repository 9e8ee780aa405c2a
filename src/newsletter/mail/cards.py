"""Items as the templates show them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from newsletter.mail.letter import Card, Group
from newsletter.mail.words import Words

HTML_SUMMARY = 600
TEXT_SUMMARY = 2000
TITLE = 200
PICKS_NAMED = 4
CONTENTS_FROM = 3
PREHEADER = (40, 140)


@dataclass(frozen=True, slots=True)
class Shown:
    """A card with its lines made: ``short`` paragraphs for HTML, ``long`` ones for text."""

    title: str
    url: str
    language: str
    short: tuple[str, ...] = ()
    long: tuple[str, ...] = ()
    meta: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class ShownGroup:
    """Cards under a heading."""

    heading: str
    cards: tuple[Shown, ...]


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


def shown_group(group: Group, said: Words) -> ShownGroup:
    """A group with its cards made."""
    cards = tuple(_shown(card, group.heading, said) for card in group.cards)
    return ShownGroup(group.heading or said.say("general"), cards)


def _shown(card: Card, heading: str, said: Words) -> Shown:
    # Countries that the heading does not name already.
    elsewhere = ", ".join(place for place in card.places[:PICKS_NAMED] if place != heading)
    other_language = said.language_name(card.language) if card.language != said.language else ""
    meta = [card.source, said.short_day(card.day), elsewhere, *card.themes[:PICKS_NAMED], other_language]
    why = said.say("because", picks=" · ".join(card.because[:PICKS_NAMED])) if card.because else ""
    return Shown(
        title=cut(card.title, TITLE),
        url=card.url,
        language=card.language,
        short=paragraphs(card.summary, HTML_SUMMARY),
        long=paragraphs(card.summary, TEXT_SUMMARY),
        meta=" · ".join(part for part in meta if part),
        why=why,
    )


def shown_rest(card: Card) -> Shown:
    """A card of which only title and link are shown."""
    return Shown(title=cut(card.title, TITLE), url=card.url, language=card.language)


def contents_line(groups: Sequence[ShownGroup], rest: int, said: Words) -> str:
    """What a digest of some length holds: ``7 new items: Guatemala 4 · Honduras 3``; short ones need none."""
    total = sum(len(group.cards) for group in groups) + rest
    if total < CONTENTS_FROM:
        return ""
    line = said.count("items", total)
    if len(groups) > 1:
        named = " · ".join(f"{group.heading} {len(group.cards)}" for group in groups[:8])
        line += f": {named}" + (" …" if len(groups) > 8 else "")
    return line


def preheader_of(cards: Sequence[Shown], subject: str, said: Words, list_name: str) -> str:
    """What mail readers show beside the subject: the titles it did not name, else the summary's beginning."""
    least, most = PREHEADER
    titles = " · ".join(card.title for card in cards[1:8])
    text = cut(titles or " ".join(cards[0].short), most)
    if len(text) < least or text == subject:
        text = cut(f"{text} · {said.say('preheader_fill', list=list_name)}".removeprefix(" · "), most)
    return text
