"""The words of mails, by language."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import cache, lru_cache

from babel.dates import format_date, format_skeleton, format_time

from newsletter.languages import LANGUAGES, direction
from newsletter.translations import Sentences

A_MONDAY = date(2024, 1, 1)


class Words(Sentences):
    """What mails say in one language; numbers, days and hours as CLDR has them for it."""

    def __init__(self, language: str) -> None:
        super().__init__("mails", language)
        self.language = language
        self.direction = direction(language)
        # Behind a name in Latin letters, a number that follows it would be read as part of it (Unicode's UAX 9, W7):
        # the right-to-left mark keeps them apart.
        self.dot = "\u200f · " if self.direction == "rtl" else " · "
        """What parts the facts of a line."""
        self.comma = self.say("comma")

    @lru_cache(maxsize=2000)  # noqa: B019 - there is one of these for each language, for ever
    def long_day(self, day: date) -> str:
        """``Tuesday, November 24, 2026``."""
        return str(format_date(day, "full", locale=self._locale))

    @lru_cache(maxsize=2000)  # noqa: B019 - there is one of these for each language, for ever
    def short_day(self, day: date) -> str:
        """``Nov 24, 2026``: the month by its name in each language."""
        return str(format_skeleton("yMMMd", day, locale=self._locale))

    def hour(self, hour: int) -> str:
        """An hour of the day as it is written."""
        return str(format_time(time(hour), "short", locale=self._locale))

    def moment(self, at: datetime) -> str:
        """A day and hour: ``Tuesday, November 24, 2026, 8:00 AM``; ``at`` is in the reader's own zone."""
        return f"{self.long_day(at.date())}{self.comma}{format_time(at.time(), 'short', locale=self._locale)}"

    def weekday(self, number: int) -> str:
        """A weekday's name; 0 is Monday."""
        return str(format_date(A_MONDAY + timedelta(days=number), "EEEE", locale=self._locale))

    @lru_cache(maxsize=2000)  # noqa: B019 - there is one of these for each language, for ever
    def language_name(self, code: str) -> str:
        """What a language is called."""
        return str(self._locale.languages.get(code, code))


@cache
def words(language: str) -> Words:
    """The words of ``language``, English for one that has none."""
    return Words(language if language in LANGUAGES else LANGUAGES[0])
