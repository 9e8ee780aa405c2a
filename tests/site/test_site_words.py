"""Numbers, dates and hours on pages, as each language writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from newsletter.languages import LANGUAGES
from newsletter.mail.words import words
from subscribers.rendering import long_day, next_line, sentences

DUE = datetime(2026, 11, 24, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("language", "number", "day", "slot"),
    [
        ("en", "12,345 items", "November 24, 2026", "Tuesday, November 24, 2026, 2:00\u202fPM"),
        ("es", "12.345 noticias", "24 de noviembre de 2026", "martes, 24 de noviembre de 2026, 14:00"),
        ("fr", "12\u202f345 articles", "24 novembre 2026", "mardi 24 novembre 2026, 14:00"),
        ("ar", "12,345 خبرًا", "24 نوفمبر 2026", "الثلاثاء، 24 نوفمبر 2026، 2:00 م"),
    ],
)
def test_numbers_and_dates(language: str, number: str, day: str, slot: str) -> None:
    """Counts, days and the hour of the next mail are the language's own; Arabic has the same digits in all of them."""
    assert sentences(language).count("archive_count", 12_345) == number
    assert long_day(DUE, "America/Guatemala", language) == day
    reader = SimpleNamespace(due_at=DUE, state="active", frequency="daily", timezone="America/Guatemala", language="en")
    assert next_line(reader, language) == slot


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_welcome(language: str) -> None:
    """Page and mail welcome a reader in the same words; Arabic mails have fewer vowel marks."""
    page, mail = (
        sentences(language).say("welcome_title", list="Rutas"),
        words(language).say("welcome_subject", list="Rutas"),
    )
    assert page.replace("\u064b", "") == mail


def test_a_million() -> None:
    """A million takes its own form where the language has one."""
    assert sentences("es").count("waiting", 10**6).startswith("Con esta selección, 1.000.000 de noticias")
    assert sentences("fr").count("waiting", 10**6).startswith("Avec ces choix, 1\u202f000\u202f000 d’articles")
