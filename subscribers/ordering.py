"""The order in which a reader looks for a name: that of the alphabet of their language. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

_AFTER = "\U0010ffff"
"""Sorts behind every letter that can follow."""

# Letters that have a place of their own in a language, and are no accented forms there (CLDR, collation).
_LETTERS: Mapping[str, Mapping[str, str]] = {"es": {"ñ": "n" + _AFTER}}

# What does not come apart into a letter and a mark, and stands with its neighbours in each of our languages.
_FOLDED = str.maketrans(
    {
        "æ": "ae",
        "œ": "oe",
        "ø": "o",
        "ß": "ss",
        "ð": "d",
        "þ": "th",
        "ł": "l",
        "đ": "d",
        "ı": "i",
        "’": "'",
        "‘": "'",
        "–": "-",
        # Arabic: the closed te with he, the bent alif with ye; what only stretches a line is no letter.
        "ة": "ه",
        "ى": "ي",
        "ـ": "",
    }
)


def ordering(text: str, language: str) -> tuple[str, str]:
    """What to sort names by in ``language``: letters first, accents and hamzas only among equals.

    So "Île" stands with "Ile", "España" behind "Espana" in Spanish only, and alif in one place however it is written.
    """
    small = unicodedata.normalize("NFC", text).casefold()
    for letter, place in _LETTERS.get(language, {}).items():
        small = small.replace(letter, place)
    parts = unicodedata.normalize("NFD", small)
    letters = "".join(part for part in parts if not unicodedata.combining(part))
    return letters.translate(_FOLDED), text
