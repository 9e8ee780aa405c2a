"""Frequencies, hours, weekdays, zones and languages as people write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from newsletter.audience import schedule
from newsletter.errors import InputError


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (schedule.parse_frequency, "Daily", "daily"),
        (schedule.parse_frequency, "semanal", "weekly"),
        (schedule.parse_frequency, "mensuel", "monthly"),
        (schedule.parse_frequency, "inmediato", "immediate"),
        (schedule.parse_hour, "8", 8),
        (schedule.parse_hour, "08:00", 8),
        (schedule.parse_hour, "8h", 8),
        (schedule.parse_hour, "23:00:00", 23),
        (schedule.parse_hour, "0", 0),
        (schedule.parse_weekday, "Monday", 0),
        (schedule.parse_weekday, "miércoles", 2),
        (schedule.parse_weekday, "dim", 6),
        (schedule.parse_timezone, "america/guatemala", "America/Guatemala"),
        (schedule.parse_timezone, "America/Mexico City", "America/Mexico_City"),
        (lambda text: schedule.parse_language(text, ("en", "es")), "es-GT", "es"),
        (lambda text: schedule.parse_language(text, ("en", "es")), "EN_us", "en"),
    ],
)
def test_understood(read: Callable[[str], Any], text: str, expected: Any) -> None:
    """Words of our languages and the usual ways to write a value are understood."""
    assert read(text) == expected


@pytest.mark.parametrize(
    ("read", "text", "hint"),
    [
        (schedule.parse_frequency, "hourly", "Use immediate, daily, weekly, monthly"),
        (schedule.parse_hour, "24", "Use 0 to 23"),
        (schedule.parse_hour, "8:30", "Use 0 to 23"),
        (schedule.parse_hour, "-1", "Use 0 to 23"),
        (schedule.parse_hour, "٨", "Use 0 to 23"),
        pytest.param(schedule.parse_hour, "1" * 5000, "Use 0 to 23", id="more digits than Python reads"),
        (schedule.parse_weekday, "Caturday", "Use mon, tue"),
        (schedule.parse_timezone, "localtime", "is not a time zone"),
        (schedule.parse_timezone, "America/Guatemla", "Did you mean America/Guatemala"),
        (schedule.parse_timezone, "Guatemala", "Did you mean America/Guatemala"),
        (schedule.parse_timezone, "guatemla", "Did you mean America/Guatemala"),
        (schedule.parse_timezone, "../../etc/passwd", "not a time zone"),
        (lambda text: schedule.parse_language(text, ("en", "es")), "fr", "It comes in en, es"),
    ],
)
def test_refused(read: Callable[[str], Any], text: str, hint: str) -> None:
    """What cannot be understood is refused with what could be."""
    with pytest.raises(InputError) as caught:
        read(text)
    assert hint in str(caught.value)
