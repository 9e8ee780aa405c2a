"""Names as people type them: compared without case and accents, and the nearest when none is equal. Pure."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping


def fold(text: str) -> str:
    """``text`` without case, accents and punctuation, one space between words."""
    plain = unicodedata.normalize("NFKD", text.replace("’", "'")).casefold()
    letters = "".join(
        " " if not character.isalnum() else character for character in plain if not unicodedata.combining(character)
    )
    return " ".join(letters.split())


def nearest(text: str, names: Mapping[str, str], most: int = 3) -> tuple[str, ...]:
    """The best few ``names`` (name → what to suggest for it) for a text that is none of them."""
    folded = {fold(name): suggestion for name, suggestion in names.items()}
    word = fold(text)
    if not word:
        return ()
    begun = [name for name in sorted(folded, key=len) if len(word) >= 3 and f" {word}" in f" {name}"]
    begun.sort(key=lambda name: not name.startswith(word))
    close = difflib.get_close_matches(word, folded, n=2 * most, cutoff=0.72)
    return tuple(dict.fromkeys(folded[name] for name in (*begun, *close)))[:most]
