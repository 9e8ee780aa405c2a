"""What mails say, in each language."""

from __future__ import annotations

import tomllib

import pytest

from newsletter.languages import LANGUAGES
from newsletter.mail.templates import folder
from newsletter.mail.words import words


def test_languages_say_the_same() -> None:
    """Each language has the same keys with the same placeholders."""
    catalogues = {}
    for language in LANGUAGES:
        path = folder().parents[1] / "src/newsletter/locales" / f"{language}.toml"
        content = tomllib.loads(path.read_text("utf-8"))
        catalogues[language] = {
            key: sorted(part.split("}")[0] for part in str(value).split("{")[1:])
            if isinstance(value, str)
            else "plural"
            for key, value in content.items()
        }
    assert catalogues["en"] == catalogues["es"] == catalogues["fr"]


@pytest.mark.parametrize(
    ("language", "n", "said"),
    [
        ("en", 1, "1 new item"),
        ("es", 2, "2 novedades"),
        ("fr", 0, "0 nouveauté"),
        ("fr", 1_000_000, "1000000 nouveautés"),
    ],
)
def test_plurals(language: str, n: int, said: str) -> None:
    """Numbers take the plural form that CLDR asks for: French says nought in the singular."""
    assert words(language).count("items", n) == said
