"""A list's items at hand: set as cards in each language, and placed for readers by the bits of their picks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache, lru_cache
from itertools import repeat
from operator import and_
from typing import Any, NamedTuple

from newsletter.audience.links import make_token
from newsletter.audience.picks import Picks
from newsletter.catalogue.geography import all_places, countries_in, place_name
from newsletter.catalogue.items import day_of
from newsletter.catalogue.themes import Theme, descendants, theme_name
from newsletter.delivery.composing.sections import Sections
from newsletter.digests.arranging import NUMBERS, Arranger, Placeable, arrange
from newsletter.digests.matching import Item
from newsletter.mail.cards import SHOWN, UNPLACED, Placed, Shown, ShownGroup, named_of, section_of
from newsletter.mail.frames import Frame
from newsletter.mail.letter import Card, Masthead
from newsletter.mail.look import Look
from newsletter.mail.setting import REASONS_KEPT, SetItem, own_size
from newsletter.mail.words import words

SHELF_COLUMNS = (
    *("id", "slug", "name", "sender_name", "sender_email", "postal_address", "timezone", "max_items"),
    *("brand", "header", "style", "sections", "is_public"),
)
MASKS_KEPT = 10_000
# What Python keeps of an item and of a card besides their texts, in bytes, measured.
ITEM_COST, CARD_COST, REASON_COST = 4000, 250, 400
GENERATION = 50_000
"""Cards of a language made, or asked for again, until those not asked for since the last time are dropped."""


class Pages(NamedTuple):
    """Where items that have no URL of their own are to be read: on the ``site``."""

    site: str
    key: str

    def of(self, number: int, list_row: Any) -> str:
        """The page of an item; if its list is not public, nobody finds it by counting."""
        return f"{self.site}/items/{number if list_row.is_public else make_token(self.key, 'item', number)}"


Arranged = tuple[list[ShownGroup], list[Shown]]
"""Groups of cards, and what is only named."""


class _Cards(dict[int, Placed]):
    """Cards of one language by their hits, made when they are asked for."""

    __slots__ = ("_make", "_own", "older")

    def __init__(self, make: Callable[[int], Placed]) -> None:
        self._make = make
        self._own = 0
        """Bytes that cards have in common with no others."""
        self.older: dict[int, Placed] = {}
        """Those of the generation before."""

    def __missing__(self, hit: int) -> Placed:
        if len(self) >= GENERATION:
            self.age()
        card = self.older.pop(hit, ())
        if not card:
            card = self._make(hit)
            self._own += own_size(card[SHOWN])
        self[hit] = card
        return card

    def age(self) -> None:
        """Begin a generation: cards that were not asked for in the last one are dropped."""
        self._own -= sum(own_size(card[SHOWN]) for card in self.older.values())
        self.older = dict(self)
        self.clear()

    @property
    def held(self) -> int:
        """Bytes kept, roughly."""
        return CARD_COST * (len(self) + len(self.older)) + self._own


class Shelf:
    """One list as it is now, with the items that were put on it."""

    def __init__(
        self, row: Any, entries: Sequence[tuple[str, Mapping[str, str], str | None]], pages: Pages, look: Look
    ) -> None:
        """``row``: the ``SHELF_COLUMNS``; ``entries``: its vocabulary, as slug, names and parent."""
        self.row = tuple(row)
        self.look = look
        self.entries = entries
        self.slug: str = row.slug
        self.domain: str = row.sender_email.rpartition("@")[2]
        self.revisions: dict[int, int] = {}
        self.withdrawn: dict[int, datetime] = {}
        self._row = row
        self._pages = pages
        self._vocabulary = {slug: Theme(slug, names, parent) for slug, names, parent in entries}
        under = cache(lambda slug: descendants(self._vocabulary, slug))
        parents = [theme.parent for theme in self._vocabulary.values() if theme.parent]
        regions = [code for code in all_places() if code.isdigit()]
        self._by_theme = row.sections == "theme"
        self._arranger = Arranger(regions, countries_in, {*self._vocabulary, *parents}, under, by_theme=self._by_theme)
        self._numbers = itertools.count(1)
        self._items: dict[int, tuple[Item, Placeable]] = {}
        """By number: an item that is put anew gets another, so that no card of before is asked for again."""
        self._item_masks: dict[int, int] = {}
        """By id."""
        self._held = 0
        self._reason = lru_cache(REASONS_KEPT)(self._reason_of)
        self._masks: dict[int, int] = {}
        self._frames: dict[str, Frame] = {}
        self._set_items: dict[str, dict[int, SetItem]] = {}
        self._cards: dict[str, _Cards] = {}
        self._sections: dict[str, Sections] = {}

    @property
    def held(self) -> int:
        """Bytes kept, roughly."""
        kept = [one.held for kinds in (self._cards, self._sections) for one in kinds.values()]
        kept += [frame.size for frame in self._frames.values()]
        return self._held + sum(kept) + REASON_COST * self._reason.cache_info().currsize

    def put(self, item: Item, revision: int) -> None:
        """Put an item on the shelf, in place of an earlier revision."""
        self.drop(item.id)
        self.revisions[item.id] = revision
        number = next(self._numbers)
        placeable = self._arranger.placeable(item, number)
        self._items[number] = item, placeable
        self._item_masks[item.id] = placeable.mask
        self._held += ITEM_COST + 2 * len(item.summary)

    def withdraw(self, number: int, at: datetime | None) -> None:
        """Note when an item was withdrawn, if it was."""
        if at is None:
            self.withdrawn.pop(number, None)
        else:
            self.withdrawn[number] = at

    def drop(self, number: int) -> int:
        """Take an item off the shelf; the bytes that were held for it."""
        if number not in self.revisions:
            return 0
        del self.revisions[number]
        self.withdrawn.pop(number, None)
        place = self._item_masks.pop(number) & NUMBERS
        item, _ = self._items.pop(place)
        freed = ITEM_COST + 2 * len(item.summary)
        for known in self._set_items.values():
            if place in known:
                freed += known.pop(place).size
        self._held -= freed
        return freed

    def masks(self, ids: Iterable[int], load: Callable[[list[int]], Mapping[int, Picks]]) -> dict[int, int]:
        """The masks of these profiles; ``load`` gives the picks of those that are not at hand."""
        known = self._masks
        ids = set(ids)
        found = {number: known[number] for number in ids if number in known}
        missing = sorted(ids - found.keys())
        if missing:
            for number, picks in load(missing).items():
                found[number] = known[number] = self._arranger.picks_mask(picks)
            for number in list(known)[: max(0, len(known) - MASKS_KEPT)]:
                del known[number]
        return found

    def frame(self, language: str) -> Frame:
        """The list's frame in a language."""
        frame = self._frames.get(language)
        if frame is None:
            row = self._row
            masthead = Masthead(
                language, row.name, row.slug, row.sender_name, row.sender_email, row.postal_address, self.look
            )
            frame = self._frames[language] = Frame(masthead)
        return frame

    def arranged(self, ids: Sequence[int], mask: int, language: str) -> Arranged:
        """The items as the digest of a reader with this mask shows them.

        Raises:
            KeyError: an item is not on the shelf.
        """
        cards = self._cards.get(language)
        if cards is None:
            cards = self._begin(language)
        hits = map(and_, map(self._item_masks.__getitem__, ids), repeat(mask))
        found, rest = arrange(list(map(cards.__getitem__, hits)), self._row.max_items)
        return self._sections[language].groups(found), named_of(rest) if rest else []

    def _begin(self, language: str) -> _Cards:
        self._set_items[language] = {}
        cards = self._cards[language] = _Cards(lambda hit: self._card(hit, language))
        said = words(language)
        unplaced = said.say(UNPLACED[self._row.sections])
        self._sections[language] = Sections(
            lambda code, count: section_of(self._name(code, language) or unplaced, count, said)
        )
        return cards

    def _card(self, hit: int, language: str) -> Placed:
        number = hit & NUMBERS
        item, placeable = self._items[number]
        setter = self.frame(language).cards
        set_items = self._set_items[language]
        one = set_items.get(number)
        size = one.size if one else 0
        if one is None:
            one = set_items[number] = setter.set_item(card_of(item, self._row, self._vocabulary, self._pages, language))
        placing = placeable.placing(hit)
        why = self._reason(language, placing.places, placing.themes)
        made = setter.set_card(one, self._name(placing.heading, language), why)
        self._held += one.size - size
        return placing.relevance, placing.within, placing.heading, *made

    def _name(self, code: str, language: str) -> str:
        """What a heading calls a place or theme; nothing for none."""
        if not self._by_theme:
            return place_name(code, language) if code else ""
        theme = self._vocabulary.get(code)
        return theme_name(theme, language) if theme else ""

    def age(self) -> int:
        """Begin a generation: cards that were not asked for in the last one are dropped; the bytes held for them."""
        held = self.held
        for cards, sections in zip(self._cards.values(), self._sections.values(), strict=True):
            cards.age()
            sections.age()
        return held - self.held

    def _reason_of(self, language: str, places: tuple[str, ...], themes: tuple[str, ...]) -> str:
        because = _places(places, language) + _themes(themes, self._vocabulary, language)
        return self.frame(language).cards.reason(because)


def card_of(item: Item, list_row: Any, vocabulary: Mapping[str, Theme], pages: Pages, language: str) -> Card:
    """An item in names instead of codes, dated where its list is."""
    return Card(
        title=item.title,
        summary=item.summary,
        url=item.url or pages.of(item.id, list_row),
        language=item.language,
        source=item.source,
        day=day_of(item.published_at, list_row.timezone),
        places=_places((*item.countries, *item.regions), language),
        themes=_themes(item.themes, vocabulary, language),
        image=item.image or "",
        image_alt=item.image_alt,
    )


def _places(codes: Iterable[str], language: str) -> tuple[str, ...]:
    return tuple(place_name(code, language) for code in codes)


def _themes(slugs: Iterable[str], vocabulary: Mapping[str, Theme], language: str) -> tuple[str, ...]:
    return tuple(theme_name(vocabulary[slug], language) for slug in slugs if slug in vocabulary)
