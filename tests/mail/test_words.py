"""What mails say, in each language."""

from __future__ import annotations

import tomllib
from datetime import date, datetime

import pytest
from babel import Locale
from hypothesis import given
from hypothesis import strategies as st
from letters import card

from newsletter.catalogue.geography import place_name
from newsletter.languages import LANGUAGES, direction
from newsletter.mail.cards import meta_line
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
    assert all(catalogues[language] == catalogues["en"] for language in LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_plural_form(language: str) -> None:
    """Each plural has the forms that CLDR names for its language, but for one that says the same as ``other``."""
    path = folder().parents[1] / "src/newsletter/locales" / f"{language}.toml"
    needed = Locale(language).plural_form.tags - {"many" if language in ("es", "fr") else ""} | {"other"}
    for key, forms in tomllib.loads(path.read_text("utf-8")).items():
        if isinstance(forms, dict):
            assert set(forms) == needed, key


@pytest.mark.parametrize(
    ("language", "n", "said"),
    [
        ("en", 1, "1 new item"),
        ("es", 2, "2 novedades"),
        ("fr", 0, "0 nouveauté"),
        ("fr", 1_000_000, "1000000 nouveautés"),
        ("ar", 0, "لا أخبار جديدة"),
        ("ar", 1, "خبر جديد واحد"),
        ("ar", 2, "خبران جديدان"),
        ("ar", 3, "3 أخبار جديدة"),
        ("ar", 11, "11 خبرًا جديدًا"),
        ("ar", 100, "100 خبر جديد"),
        ("ar", 103, "103 أخبار جديدة"),
    ],
)
def test_plurals(language: str, n: int, said: str) -> None:
    """Numbers take the plural form that CLDR asks for: French says nought in the singular."""
    assert words(language).count("items", n) == said


def test_dates_and_names_in_arabic() -> None:
    """Days, hours, places and languages are named in Arabic; a number behind a Latin name stays apart from it."""
    said = words("ar")
    assert said.long_day(date(2026, 11, 24)) == "الثلاثاء، 24 نوفمبر 2026"
    assert said.short_day(date(2026, 11, 24)) == "24 نوفمبر 2026"
    assert said.moment(datetime(2026, 11, 24, 8)) == "الثلاثاء، 24 نوفمبر 2026، 8:00 ص"
    assert said.language_name("en") == "الإنجليزية"
    assert place_name("GT", "ar") == "غواتيمالا"
    assert place_name("013", "ar") == "أمريكا الوسطى"
    facts = meta_line(card(1, places=(), themes=(), language="ar"), "", said)
    assert facts == "Rutas Desk\u200f · 20 نوفمبر 2026"


@pytest.mark.parametrize(
    ("code", "way"),
    [("ar", "rtl"), ("he", "rtl"), ("fa-IR", "rtl"), ("ur", "rtl"), ("en", "ltr"), ("zh_Hant", "ltr"), ("xx", "ltr")],
)
def test_direction(code: str, way: str) -> None:
    """Any language code of an item is written one way or the other."""
    assert direction(code) == way


@given(st.text(max_size=30))
def test_direction_of_anything(code: str) -> None:
    """So is what is no code."""
    assert direction(code) in ("ltr", "rtl")
