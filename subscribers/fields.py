"""What a form has sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import Depends, Request

A_YEAR = timedelta(days=366)
DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True)
class Sent:
    """Names and values as they came; files are left out."""

    pairs: tuple[tuple[str, str], ...]

    def one(self, name: str) -> str:
        """The last value of a field without space around it; empty if it was not sent."""
        return next((value.strip() for key, value in reversed(self.pairs) if key == name), "")

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for key, value in self.pairs if key == name]


async def _read(request: Request) -> Sent:
    form = await request.form()
    return Sent(tuple((name, value) for name, value in form.multi_items() if isinstance(value, str)))


Form = Annotated[Sent, Depends(_read)]


def pause_end(text: str, timezone: str, now: datetime) -> datetime | None:
    """The first moment, in UTC, of a day written YYYY-MM-DD in a reader's zone; None if it is no such day.

    It is tomorrow at the earliest, and a year away at most.
    """
    zone = ZoneInfo(timezone)
    today = now.astimezone(zone).date()
    try:
        day = date.fromisoformat(text) if DATE.fullmatch(text) else today
    except ValueError:
        return None
    return datetime.combine(day, time(0), zone).astimezone(UTC) if today < day <= today + A_YEAR else None


def pause_days(timezone: str, now: datetime) -> tuple[date, date, date]:
    """The first and last day that a pause can end on, and the one to propose: in four weeks."""
    today = now.astimezone(ZoneInfo(timezone)).date()
    return today + timedelta(days=1), today + A_YEAR, today + timedelta(weeks=4)
