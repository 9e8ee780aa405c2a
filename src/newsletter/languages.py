"""The languages that mails, pages and names come in."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from babel import Locale
from babel.core import get_global, parse_locale

from newsletter.errors import InputError

LANGUAGES = ("en", "es", "fr", "ar")

RIGHT_TO_LEFT = frozenset(("Adlm", "Arab", "Aran", "Hebr", "Mand", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa", "Yezi"))
"""The scripts (ISO 15924) in use that are written so."""

Direction = Literal["ltr", "rtl"]


@lru_cache(maxsize=500)
def direction(language: str) -> Direction:
    """The way a language is written, as HTML's ``dir`` has it; ``language`` is any code, as of an item."""
    try:
        code, territory, script = parse_locale(language.replace("_", "-"), sep="-")[:3]
    except ValueError:
        return "ltr"
    if not script:
        # Of most languages CLDR knows the script, and of few the direction.
        code = get_global("language_aliases").get(code, code).partition("_")[0]
        likely = get_global("likely_subtags")
        script = (likely.get(f"{code}_{territory}") or likely.get(code) or "__").split("_")[1]
    return "rtl" if script in RIGHT_TO_LEFT else "ltr"


def is_language(code: str) -> bool:
    """Whether a code, in small letters, is a language's (ISO 639): of those of three letters there are thousands."""
    if not (code.isascii() and code.isalpha()):
        return False
    return len(code) == 3 or (len(code) == 2 and code in Locale("en").languages)


def language_name(code: str) -> str:
    """What English calls a language; the code itself, if it has no word for it."""
    return str(Locale("en").languages.get(code, code))


def check_languages(codes: list[str]) -> list[str]:
    """Languages that a list may come in, without repeats, the default first.

    Raises:
        InputError: one that we have no words for.
    """
    wanted = [code.strip().lower() for code in codes]
    for code in wanted:
        if code not in LANGUAGES:
            raise InputError(f"Mails do not come in {code!r} yet.", f"Use one or more of {', '.join(LANGUAGES)}.")
    return list(dict.fromkeys(wanted))
