"""The words of mails, by language, with the plural forms that CLDR asks for."""

from __future__ import annotations

import tomllib
from datetime import date, datetime, time, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from babel import Locale
from babel.dates import format_date, format_skeleton, format_time

from newsletter.languages import LANGUAGES, direction

A_MONDAY = date(2024, 1, 1)


class Words:
    """What mails say in one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.direction = direction(language)
        # Behind a name in Latin letters, a number that follows it would be read as part of it (Unicode's UAX 9, W7):
        # the right-to-left mark keeps them apart.
        self.dot = "\u200f · " if self.direction == "rtl" else " · "
        """What parts the facts of a line."""
        self.comma = "، " if language == "ar" else ", "
        self._locale = Locale(language)
        text = files("newsletter").joinpath("locales", f"{language}.toml").read_text("utf-8")
        self._texts: dict[str, Any] = tomllib.loads(text)

    def say(self, key: str, **values: object) -> str:
        """A sentence with its placeholders filled in."""
        return str(self._texts[key]).format(**values)

    @lru_cache(maxsize=2000)  # noqa: B019 - there is one of these for each language, for ever
    def count(self, key: str, n: int) -> str:
        """A phrase in the plural form for ``n``; ``other`` stands in for forms that a language shares."""
        forms = self._texts[key]
        return str(forms.get(self._locale.plural_form(n), forms["other"])).format(n=n)

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
