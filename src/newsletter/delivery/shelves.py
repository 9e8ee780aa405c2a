"""A list's items at hand: set as cards in each language, and placed for readers by the bits of their picks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

from newsletter.audience.picks import Picks
from newsletter.catalogue.geography import all_places, countries_in, place_name
from newsletter.catalogue.themes import Theme, descendants, theme_name
from newsletter.digests.arranging import Arranger, Placeable, Placed, Placing, arrange
from newsletter.digests.matching import Item
from newsletter.mail.cards import UNPLACED, Section, Shown, ShownGroup, section_of
from newsletter.mail.frames import Frame
from newsletter.mail.letter import Card, Masthead
from newsletter.mail.look import Look
from newsletter.mail.setting import SetItem
from newsletter.mail.words import words

SHELF_COLUMNS = (
    *("id", "slug", "name", "sender_name", "sender_email", "postal_address", "max_items"),
    *("brand", "header", "style", "sections"),
)
MASKS_KEPT = 10_000
# What Python keeps of an item and of a card besides their texts, in bytes, measured.
ITEM_COST, CARD_COST, REASON_COST, SHARED_COST = 4000, 500, 250, 2000
REASONS_KEPT = 12_000
SECTIONS_KEPT = 2000
GROUPS_KEPT = 500
"""Of a generation, in a language: sections with their cards."""
ASKED_AGAIN = 100
"""So often at least groups of a generation must be asked for again, or to keep them costs more than it spares."""
GROUPS_UNKEPT = 10_000
"""Made without being kept, after a generation that was not: these readers are unlike."""
GENERATION = 30_000
"""Cards made, or asked for again, until those not asked for since the last time are dropped."""


class _Setting(dict[int, Placed[Shown]]):
    """An item set in one language: its cards of this generation by hit, made when they are asked for."""

    __slots__ = ("_make", "item", "mask", "older", "placeable")

    def __init__(self, placeable: Placeable, item: SetItem, make: Callable[[_Setting, int], Placed[Shown]]) -> None:
        self.placeable = placeable
        self.mask = placeable.mask
        self.item = item
        self.older: dict[int, Placed[Shown]] = {}
        """Those of the generation before."""
        self._make = make

    def __missing__(self, hit: int) -> Placed[Shown]:
        placed = self[hit] = self._make(self, hit)
        return placed

    @property
    def cost(self) -> int:
        """Bytes kept, roughly."""
        return self.item.size + CARD_COST * (len(self) + len(self.older))


class _Settings(dict[int, _Setting]):
    """The items of a shelf by number, set in one language when they are asked for, and groups of their cards."""

    __slots__ = ("_again", "_groups", "_older", "_older_shared", "_section", "_set", "_shared", "_unkept")

    def __init__(self, set_item: Callable[[int], _Setting], section: Callable[[str, int], Section]) -> None:
        """``section``: makes that of a code and a number of cards."""
        self._set = set_item
        self._section = lru_cache(SECTIONS_KEPT)(section)
        self._groups: dict[tuple[object, ...], ShownGroup] = {}
        self._older: dict[tuple[object, ...], ShownGroup] = {}
        """Those of the generation before."""
        self._shared = self._older_shared = 0
        """Cards in those that several digests have, so that their texts are kept once more."""
        self._again = 0
        """How often groups of this generation were asked for again."""
        self._unkept = 0
        """How many more groups are not kept; none if it is below zero."""

    def __missing__(self, number: int) -> _Setting:
        setting = self[number] = self._set(number)
        return setting

    def groups(self, found: Mapping[str, list[Shown]]) -> list[ShownGroup]:
        """Cards under the headings of their codes; while groups are kept, one for all who get the same."""
        # Of cards that stand under the only heading nobody asks how many they are.
        alone = len(found) == 1
        if self._unkept > 0:
            self._unkept -= len(found)
            section = self._section
            return [ShownGroup(section(code, 0 if alone else len(cards)), cards) for code, cards in found.items()]
        return [self._kept(code, cards, alone=alone) for code, cards in found.items()]

    def _kept(self, code: str, cards: list[Shown], *, alone: bool) -> ShownGroup:
        # Cards stand under one heading only, which therefore need not be asked for.
        key = (alone, *cards)
        group = self._groups.get(key)
        if group is None:
            group = self._older.pop(key, None) or ShownGroup(self._section(code, 0 if alone else len(cards)), cards)
            if len(self._groups) >= GROUPS_KEPT:
                self._unkept = 0 if self._again >= ASKED_AGAIN else GROUPS_UNKEPT
                self.age()
            self._groups[key] = group
            self._shared += 0 if group.set is None else len(cards)
            return group
        self._again += 1
        if group.set is None:
            group.set = {}
            self._shared += len(cards)
        return group

    def age(self) -> None:
        """Begin a generation: groups that were not asked for in the last one are dropped."""
        self._older, self._groups = self._groups, {}
        self._older_shared, self._shared, self._again = self._shared, 0, 0

    @property
    def held(self) -> int:
        """Bytes kept for groups, roughly."""
        return SHARED_COST * (self._shared + self._older_shared)


class Shelf:
    """One list as it is now, with the items that were put on it."""

    def __init__(
        self, row: Any, entries: Sequence[tuple[str, Mapping[str, str], str | None]], site: str, look: Look
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
        self._site = site
        self._vocabulary = {slug: Theme(slug, names, parent) for slug, names, parent in entries}
        under = cache(lambda slug: descendants(self._vocabulary, slug))
        parents = [theme.parent for theme in self._vocabulary.values() if theme.parent]
        regions = [code for code in all_places() if code.isdigit()]
        self._by_theme = row.sections == "theme"
        self._arranger = Arranger(regions, countries_in, {*self._vocabulary, *parents}, under, by_theme=self._by_theme)
        self._items: dict[int, tuple[Item, Placeable]] = {}
        self._held = 0
        self._young = 0
        self._reasons: dict[tuple[str, tuple[str, ...], tuple[str, ...]], str] = {}
        self._masks: dict[int, int] = {}
        self._frames: dict[str, Frame] = {}
        self._settings: dict[str, _Settings] = {}

    @property
    def held(self) -> int:
        """Bytes kept, roughly."""
        kept = [frame.size for frame in self._frames.values()] + [one.held for one in self._settings.values()]
        return self._held + sum(kept) + REASON_COST * len(self._reasons)

    def put(self, item: Item, revision: int) -> None:
        """Put an item on the shelf, in place of an earlier revision."""
        self.drop(item.id)
        self.revisions[item.id] = revision
        self._items[item.id] = item, self._arranger.placeable(item)
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
        item, _ = self._items.pop(number)
        freed = ITEM_COST + 2 * len(item.summary)
        for settings in self._settings.values():
            setting = settings.pop(number, None)
            if setting is not None:
                freed += setting.cost
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

    def arranged(self, ids: Sequence[int], mask: int, language: str) -> tuple[list[ShownGroup], list[Shown]]:
        """The items as the digest of a reader with this mask shows them: groups of cards, and the rest.

        Raises:
            KeyError: an item is not on the shelf.
        """
        settings = self._settings.get(language)
        if settings is None:
            settings = self._settings[language] = self._begin(language)
        placed = [one[mask & one.mask] for one in map(settings.__getitem__, ids)]
        found, rest = arrange(placed, self._row.max_items)
        return settings.groups(found), [card.named or card for card in rest] if rest else rest

    def _begin(self, language: str) -> _Settings:
        def set_item(number: int) -> _Setting:
            item, placeable = self._items[number]
            card = card_of(item, self._vocabulary, self._site, language)
            setting = _Setting(placeable, self.frame(language).cards.set_item(card), place)
            self._held += setting.item.size
            return setting

        def place(setting: _Setting, hit: int) -> Placed[Shown]:
            if self._young >= GENERATION:
                self.age()
            self._young += 1
            return setting.older.pop(hit, None) or self._card(setting, hit, language)

        said = words(language)
        general = said.say(UNPLACED[self._row.sections])

        def section(code: str, cards: int) -> Section:
            return section_of(self._name(code, language) or general, cards, said)

        return _Settings(set_item, section)

    def _card(self, setting: _Setting, hit: int, language: str) -> Placed[Shown]:
        placing = setting.placeable.placing(hit)
        why = self._reason(placing, language)
        heading = self._name(placing.heading, language)
        size = setting.item.size
        card = self.frame(language).cards.set_card(setting.item, heading, why)
        self._held += CARD_COST + setting.item.size - size
        return placing.relevance, placing.within, placing.heading, card

    def _name(self, code: str, language: str) -> str:
        """What a heading calls a place or theme; nothing for none."""
        if not self._by_theme:
            return place_name(code, language) if code else ""
        theme = self._vocabulary.get(code)
        return theme_name(theme, language) if theme else ""

    def age(self) -> int:
        """Begin a generation: cards that were not asked for in the last one are dropped; the bytes held for them."""
        freed = 0
        for settings in self._settings.values():
            settings.age()
            for setting in settings.values():
                freed += CARD_COST * len(setting.older)
                setting.older = setting.copy()
                setting.clear()
        self._young = 0
        self._held -= freed
        return freed

    def _reason(self, placing: Placing, language: str) -> str:
        key = language, placing.places, placing.themes
        why = self._reasons.get(key)
        if why is None:
            because = _places(placing.places, language) + _themes(placing.themes, self._vocabulary, language)
            if len(self._reasons) >= REASONS_KEPT:
                del self._reasons[next(iter(self._reasons))]
            why = self._reasons[key] = self.frame(language).cards.reason(because)
        return why


def card_of(item: Item, vocabulary: Mapping[str, Theme], site: str, language: str) -> Card:
    """An item in names instead of codes."""
    return Card(
        title=item.title,
        summary=item.summary,
        url=item.url or f"{site}/items/{item.id}",
        language=item.language,
        source=item.source,
        day=item.published_at.date(),
        places=_places((*item.countries, *item.regions), language),
        themes=_themes(item.themes, vocabulary, language),
        image=item.image or "",
        image_alt=item.image_alt,
    )


def _places(codes: Iterable[str], language: str) -> tuple[str, ...]:
    return tuple(place_name(code, language) for code in codes)


def _themes(slugs: Iterable[str], vocabulary: Mapping[str, Theme], language: str) -> tuple[str, ...]:
    return tuple(theme_name(vocabulary[slug], language) for slug in slugs if slug in vocabulary)
