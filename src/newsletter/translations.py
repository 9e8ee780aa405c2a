"""What mails and pages say, from gettext's catalogues: English in ``DOMAIN.pot``, others in ``LANGUAGE/DOMAIN.po``.

Each sentence has its English as ``msgid``, and the key that code and templates name it by as ``msgctxt``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path

from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po
from babel.numbers import format_decimal

from newsletter.errors import InputError

FOLDER = Path(__file__).parent / "locales"
DOMAINS = ("mails", "site")


class Sentences:
    """A domain's sentences in one language, by key; in English if the translation is missing or fuzzy."""

    def __init__(self, domain: str, language: str) -> None:
        self._locale = Locale(language)
        self._translated = translated = _translations(domain, language)
        texts: dict[str, str] = {}
        self._plurals: dict[str, tuple[str, str]] = {}
        for key, english in _english(domain).items():
            if isinstance(english, str):
                texts[key] = translated.pgettext(key, english)
            else:
                self._plurals[key] = english
        self.texts: Mapping[str, str] = texts
        """The sentences without a number, their placeholders open."""

    def say(self, key: str, **values: object) -> str:
        """A sentence with its placeholders filled in."""
        return self.texts[key].format(**values)

    @lru_cache(maxsize=2000)  # noqa: B019 - there is one of these for each language, for ever
    def count(self, key: str, n: int) -> str:
        """A sentence in the plural form for ``n``, which is written as the language does: 12,345, 12 345."""
        one, other = self._plurals[key]
        return self._translated.npgettext(key, one, other, n).format(n=self.number(n))

    @lru_cache(maxsize=2000)  # noqa: B019 - there is one of these for each language, for ever
    def number(self, n: int) -> str:
        """A number as the language writes it."""
        return str(format_decimal(n, locale=self._locale))


def read_catalogue(path: Path) -> Catalog:
    """A ``.pot`` or ``.po`` file.

    Raises:
        InputError: it is not in gettext's format, or not in UTF-8.
    """
    with path.open("rb") as file:
        try:
            return read_po(file, abort_invalid=True)
        except (PoFileError, ValueError) as error:
            raise InputError(f"{path}: not in gettext's format: {error}.", "Mend it where that says.") from error


@cache
def _english(domain: str) -> dict[str, str | tuple[str, str]]:
    """The sentences of a domain as they are written first; two forms of those with a number."""
    found: dict[str, str | tuple[str, str]] = {}
    for message in read_catalogue(FOLDER / f"{domain}.pot"):
        if message.context:
            found[message.context] = message.id if isinstance(message.id, str) else (message.id[0], message.id[1])
    return found


def _translations(domain: str, language: str) -> NullTranslations:
    path = FOLDER / language / f"{domain}.po"
    if not path.is_file():
        return NullTranslations()
    compiled = BytesIO()
    write_mo(compiled, read_catalogue(path))
    compiled.seek(0)
    return GNUTranslations(compiled)
