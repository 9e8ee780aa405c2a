"""The sections of digests in one language: one that several digests have alike is joined once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from newsletter.mail.cards import Placed, Section, ShownGroup

HEADINGS_KEPT = 2000
KEPT = 500
"""Sections of a generation, with their cards."""
ASKED_AGAIN = 100
"""So often at least those of a generation must be asked for again, or to keep them costs more than it spares."""
UNKEPT = 10_000
"""Made without being kept after a generation that was not: these readers are unlike."""


class Sections:
    """See the module. What is kept is bounded."""

    def __init__(self, section: Callable[[str, int], Section]) -> None:
        """``section`` makes that of a code and a number of cards, which is 0 if it stands alone."""
        self._section = lru_cache(HEADINGS_KEPT)(section)
        self._known: dict[tuple[int, ...], ShownGroup] = {}
        self._older: dict[tuple[int, ...], ShownGroup] = {}
        """Those of the generation before."""
        self._again = 0
        """How often those of this generation were asked for again."""
        self._unkept = 0
        """How many more are not kept."""

    def groups(self, found: Mapping[str, list[Placed]]) -> list[ShownGroup]:
        """Cards under the headings of their codes."""
        # Of cards that stand under the only heading nobody asks how many they are.
        several = len(found) > 1
        if self._unkept > 0:
            self._unkept -= len(found)
            section = self._section
            return [ShownGroup(section(code, len(cards) if several else 0), cards) for code, cards in found.items()]
        return [self._group(code, cards, several) for code, cards in found.items()]

    def _group(self, code: str, cards: list[Placed], several: bool) -> ShownGroup:
        # Who is kept holds its cards, so that no others get their ids. They stand under no other heading.
        key = (several, *map(id, cards))
        group = self._known.get(key)
        if group is not None:
            self._again += 1
            group.share()
            return group
        if len(self._known) >= KEPT:
            self._unkept = 0 if self._again >= ASKED_AGAIN else UNKEPT
            self.age()
        group = self._older.pop(key, None) or ShownGroup(self._section(code, len(cards) if several else 0), cards)
        self._known[key] = group
        return group

    def age(self) -> None:
        """Begin a generation: sections that were not asked for in the last one are dropped."""
        self._older, self._known, self._again = self._known, {}, 0

    @property
    def held(self) -> int:
        """Bytes kept, but for what cards and headings have anyway."""
        kept = (*self._known.values(), *self._older.values())
        return sum([len(lines) for group in kept if group.joined for lines in group.joined.values()])
