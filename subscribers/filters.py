"""Picks in the address of an archive or feed: ``?country=GT&region=013&theme=trade&language=es``, each repeatable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from newsletter.audience.picks import Picks, language_code
from newsletter.catalogue.themes import Vocabulary
from newsletter.errors import InputError
from newsletter.languages import LANGUAGES
from subscribers.choices import known_places

MOST = 400
"""Picks in one address: more than there are countries."""
MOST_LANGUAGES = 20


@dataclass(frozen=True)
class Filter:
    """Picks, and how an address carries them; ``lang``: the language of the page, if the address names one."""

    picks: Picks
    lang: str = ""

    def pairs(self) -> list[tuple[str, str]]:
        """Names and values, in an order that depends on the picks alone."""
        sets = (
            ("country", self.picks.countries),
            ("region", self.picks.regions),
            ("theme", self.picks.themes),
            ("language", self.picks.languages),
        )
        return [(name, code) for name, codes in sets for code in sorted(codes)]

    def query(self, without: tuple[str, str] | None = None, **more: int | None) -> str:
        """``?country=GT&theme=trade``, or nothing; ``lang`` and ``more`` at its end, if there are any."""
        pairs = [pair for pair in self.pairs() if pair != without]
        pairs += [("lang", self.lang)] if self.lang else []
        pairs += [(name, str(value)) for name, value in more.items() if value is not None]
        return f"?{urlencode(pairs)}" if pairs else ""


def read_filter(vocabulary: Vocabulary, pairs: Iterable[tuple[str, str]]) -> Filter:
    """The filter that an address carries; other parameters are not looked at, nor are empty ones, as forms send them.

    Raises:
        InputError: a pick that does not exist, or too many of them.
    """
    given = [(name, value.strip().lower()) for name, value in pairs if value.strip()]
    places = {_known(value, known_places()) for name, value in given if name in ("country", "region")}
    slugs = {slug: slug for slug in vocabulary}
    picks = Picks(
        countries=frozenset(place for place in places if not place.isdigit()),
        regions=frozenset(place for place in places if place.isdigit()),
        themes=frozenset(_known(value, slugs) for name, value in given if name == "theme"),
        languages=frozenset(language_code(value) for name, value in given if name == "language"),
    )
    if len(places) + len(picks.themes) > MOST or len(picks.languages) > MOST_LANGUAGES:
        raise InputError("The address asks for too much at once.")
    lang = next((value for name, value in given if name == "lang"), "")
    return Filter(picks, lang if lang in LANGUAGES else "")


def _known(value: str, known: dict[str, str]) -> str:
    if value not in known:
        raise InputError("The address asks for a place or theme that does not exist.")
    return known[value]
