"""What mails say, in each language."""

from __future__ import annotations

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from letters import card

from newsletter.catalogue.geography import place_name
from newsletter.languages import direction
from newsletter.mail.cards import meta_line
from newsletter.mail.compose import choices_values
from newsletter.mail.letter import Choices
from newsletter.mail.words import words


@pytest.mark.parametrize(
    ("language", "n", "said"),
    [
        ("en", 1, "1 new item"),
        ("es", 2, "2 novedades"),
        ("fr", 0, "0 nouveauté"),
        ("en", 12_345, "12,345 new items"),
        ("es", 12_345, "12.345 novedades"),
        ("es", 1_000_000, "1.000.000 de novedades"),
        ("fr", 12_345, "12\u202f345 nouveautés"),
        ("fr", 1_000_000, "1\u202f000\u202f000 de nouveautés"),
        ("ar", 0, "لا أخبار جديدة"),
        ("ar", 1, "خبر جديد واحد"),
        ("ar", 2, "خبران جديدان"),
        ("ar", 3, "3 أخبار جديدة"),
        ("ar", 11, "11 خبرا جديدا"),
        ("ar", 100, "100 خبر جديد"),
        ("ar", 103, "103 أخبار جديدة"),
        ("ar", 12_345, "12,345 خبرا جديدا"),
    ],
)
def test_plurals(language: str, n: int, said: str) -> None:
    """Numbers take CLDR's plural form (French says nought in the singular), and its separators; digits as in dates."""
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
    ("zone", "language", "name"),
    [
        ("America/Guatemala", "en", "Guatemala"),
        ("Asia/Riyadh", "ar", "المملكة العربية السعودية"),
        ("America/New_York", "es", "Estados Unidos – Nueva York"),
        ("America/Argentina/Buenos_Aires", "fr", "Argentine – Buenos Aires"),
        ("UTC", "fr", "UTC"),
        ("US/Eastern", "en", "US/Eastern"),
    ],
)
def test_names_of_zones(zone: str, language: str, name: str) -> None:
    """Mails say when they come in the zone's name as the preferences have it: its country's, and a city if that has
    several; one that no country has stays as it is."""
    choices = Choices((), (), "daily", 8, 0, zone)
    assert f"({name})" in choices_values(choices, words(language))["schedule_line"]


@pytest.mark.parametrize(
    ("code", "way"),
    [
        # Of Dari, Egyptian Arabic, southern Pashto and western Punjabi CLDR knows no words.
        *((code, "rtl") for code in ("ar", "he", "fa-IR", "ur", "pa-PK", "prs", "arz", "pbt", "pnb")),
        *((code, "ltr") for code in ("en", "zh_Hant", "pa", "ar-Latn", "xx", "", "a b")),
    ],
)
def test_direction(code: str, way: str) -> None:
    """Any language code of an item is written one way or the other."""
    assert direction(code) == way


@given(st.text(max_size=30))
def test_direction_of_anything(code: str) -> None:
    """So is what is no code."""
    assert direction(code) in ("ltr", "rtl")
