"""When a subscription is due, in the reader's own time. Pure: the moment is an argument."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

IMMEDIATE, DAILY, WEEKLY, MONTHLY = "immediate", "daily", "weekly", "monthly"
LONGEST_PATIENCE = timedelta(days=4)
SHORTEST_PATIENCE = timedelta(hours=4)


def slot_of(now: datetime, tick_seconds: int) -> datetime:
    """The slot that ``now`` lies in: two beats that tick in it speak of the same one."""
    seconds = int(now.timestamp())
    return datetime.fromtimestamp(seconds - seconds % tick_seconds, UTC)


def _at(day: date, hour: int, zone: ZoneInfo) -> datetime:
    """``hour`` on ``day`` as UTC.

    An hour that the clock repeats means its first pass (PEP 495, fold 0); one that it skips comes out
    after the gap, since fold 0 applies the offset from before it.
    """
    return datetime.combine(day, time(hour), zone).astimezone(UTC)


def _days(frequency: str, weekday: int, first: date) -> tuple[date, ...]:
    """Candidates from about ``first`` on, enough of them that one is still to come."""
    if frequency == DAILY:
        return tuple(first + timedelta(days=n) for n in range(4))
    if frequency == WEEKLY:
        monday = first - timedelta(days=first.weekday())
        return tuple(monday + timedelta(days=7 * n + weekday) for n in range(3))
    months = (first.year * 12 + first.month - 1 + n for n in range(3))
    return tuple(date(month // 12, month % 12 + 1, 1) for month in months)


@lru_cache(maxsize=4096)
def next_due(frequency: str, hour: int, weekday: int, timezone: str, after: datetime) -> datetime:
    """The first moment later than ``after`` (aware) at which a subscription is due, in UTC.

    Daily: each local day at ``hour``. Weekly: on ``weekday`` (0 is Monday). Monthly: on the 1st.
    Immediate: a second later; the tick then looks whether there is something new.
    Each local day has exactly one moment, also when the clock skips or repeats the hour. A zone that
    skipped a whole day (Samoa, 2011-12-30) gives that day none: it never was.
    """
    if frequency == IMMEDIATE:
        return after.astimezone(UTC) + timedelta(seconds=1)
    zone = ZoneInfo(timezone)
    # A day earlier, because a gap may have pushed yesterday's moment past today's midnight.
    first = after.astimezone(zone).date() - timedelta(days=1)
    return min(moment for day in _days(frequency, weekday, first) if (moment := _at(day, hour, zone)) > after)


def deadline(slot: datetime, next_slot: datetime, frequency: str) -> datetime:
    """Until when a digest is tried; the next one then carries its items (4 days: RFC 5321, 4.5.4.1)."""
    if frequency == IMMEDIATE:
        return slot + timedelta(days=1)
    return min(max(next_slot, slot + SHORTEST_PATIENCE), slot + LONGEST_PATIENCE)


def pause_after(attempts: int) -> timedelta:
    """How long to wait after the ``attempts``-th refusal: one minute, doubled each time, an hour at most."""
    return timedelta(seconds=min(60 * 2 ** min(attempts - 1, 10), 3600))
