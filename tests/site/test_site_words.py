"""What the site says."""

from __future__ import annotations

import re
import tomllib
from collections import Counter

from subscribers.rendering import HERE, strings


def test_every_language_says_all() -> None:
    """Each key is there in all four languages, with placeholders that English has, too."""
    said = strings()
    assert sorted(said) == ["ar", "en", "es", "fr"]
    for words in said.values():
        assert words.keys() == said["en"].keys()
        for key, text in words.items():
            # A number can be said where English does without one.
            known = {"{count}", *re.findall(r"{\w+}", said["en"][key])}
            assert set(re.findall(r"{\w+}", text)) <= known, key


def test_no_key_is_taken_twice() -> None:
    """No two files have a key in common: one page would speak with the words of another."""
    keys = Counter(
        key for file in (HERE / "words").glob("*.toml") for key in tomllib.loads(file.read_text("utf-8"))["en"]
    )
    assert [key for key, times in keys.items() if times > 1] == []
