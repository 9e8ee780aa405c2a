"""When a reader wants their digest: reading what people write about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from zoneinfo import available_timezones

from newsletter.errors import InputError, UnknownName
from newsletter.resembling import fold, nearest

NextDue = Callable[[str, int, int, str, datetime], datetime]
"""``digests.calendar.next_due``: frequency, hour, weekday, zone and a moment → the first slot after it."""

FREQUENCIES = ("immediate", "daily", "weekly", "monthly")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_FREQUENCY_WORDS = {
    "immediate": ("immediate", "immediately", "instant", "inmediato", "inmediata", "immediat", "immediate"),
    "daily": ("daily", "day", "diario", "diaria", "quotidien", "quotidienne", "journalier"),
    "weekly": ("weekly", "week", "semanal", "hebdomadaire"),
    "monthly": ("monthly", "month", "mensual", "mensuel", "mensuelle"),
}
_WEEKDAY_WORDS = (
    ("monday", "mon", "lunes", "lun", "lundi"),
    ("tuesday", "tue", "martes", "mar", "mardi"),
    ("wednesday", "wed", "miercoles", "mie", "mercredi", "mer"),
    ("thursday", "thu", "jueves", "jue", "jeudi", "jeu"),
    ("friday", "fri", "viernes", "vie", "vendredi", "ven"),
    ("saturday", "sat", "sabado", "sab", "samedi", "sam"),
    ("sunday", "sun", "domingo", "dom", "dimanche", "dim"),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A frequency, the local hour (0–23) and the weekday (0 is Monday; it only matters if weekly)."""

    frequency: str
    hour: int
    weekday: int


def parse_frequency(text: str) -> str:
    """One of ``FREQUENCIES``, in English, Spanish or French."""
    word = fold(text)
    for frequency, words in _FREQUENCY_WORDS.items():
        if word in words:
            return frequency
    raise InputError(f"{text!r} is not a frequency.", f"Use {', '.join(FREQUENCIES)}.")


def parse_hour(text: str) -> int:
    """A local hour: ``8``, ``08``, ``8:00``, ``08:00:00``, ``8h``."""
    digits, _, rest = text.strip().lower().removesuffix("h").partition(":")
    # Of more than 4300 digits Python makes no number.
    if digits.isascii() and digits.isdigit() and len(digits) <= 2 and int(digits) <= 23 and not rest.strip("0:"):
        return int(digits)
    raise InputError(f"{text!r} is not a full hour of the day.", "Use 0 to 23.")


def parse_weekday(text: str) -> int:
    """A weekday by name in English, Spanish or French; 0 is Monday."""
    word = fold(text)
    for number, words in enumerate(_WEEKDAY_WORDS):
        if word in words:
            return number
    raise InputError(f"{text!r} is not a weekday.", f"Use {', '.join(WEEKDAYS)}.")


def parse_timezone(text: str) -> str:
    """An IANA zone; its case and spaces do not matter (``america/mexico city``)."""
    word = text.strip().replace(" ", "_")
    if zone := _zones().get(word.casefold()):
        return zone
    raise UnknownName(
        f"{text!r} is not a time zone such as America/Guatemala.",
        nearest(word, _places()),
    )


@cache
def _zones() -> dict[str, str]:
    # Those that are none, or another on each machine, stand among them on some.
    return {zone.casefold(): zone for zone in available_timezones() - {"Factory", "localtime", "posixrules"}}


@cache
def _places() -> dict[str, str]:
    """Zones by their name and by its last part, the city: ``Guatemala`` is in America/Guatemala."""
    zones = sorted(_zones().values())
    return {zone.rpartition("/")[2]: zone for zone in reversed(zones)} | {zone: zone for zone in zones}


def parse_language(text: str, allowed: Sequence[str]) -> str:
    """One of the ``allowed`` language codes; ``es-GT`` reads as ``es``."""
    code = text.strip().replace("_", "-").partition("-")[0].lower()
    if code in allowed:
        return code
    raise InputError(f"The list does not come in {text!r}.", f"It comes in {', '.join(allowed)}.")
