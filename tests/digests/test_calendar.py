"""Promise 17: local time is the reader's."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newsletter.digests.calendar import deadline, next_due, pause_after, slot_of

ZONES = (
    *("UTC", "America/Guatemala", "Europe/Paris", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"),
    *("America/Santiago", "Africa/Casablanca", "Pacific/Apia", "Asia/Tehran", "Pacific/Chatham", "Africa/Cairo"),
)
zones = st.sampled_from(ZONES)
hours = st.integers(0, 23)
moments = st.datetimes(datetime(2008, 1, 1), datetime(2037, 1, 1)).map(lambda d: d.replace(tzinfo=UTC))


@given(zones, hours, moments)
def test_one_digest_each_local_day(zone: str, hour: int, start: datetime) -> None:
    """Daily: each day of the zone has exactly one moment, also when the clock skips or repeats an hour."""
    days = []
    moment = start
    for _ in range(400):
        moment = next_due("daily", hour, 0, zone, moment)
        local = moment.astimezone(ZoneInfo(zone))
        # A skipped hour comes after the gap, at the latest past midnight of the next day.
        days.append((local - timedelta(hours=local.hour < hour and 24)).date() if local.hour < hour else local.date())
    assert len(set(days)) == len(days)
    missing = {days[0] + timedelta(days=n) for n in range((days[-1] - days[0]).days + 1)} - set(days)
    assert missing <= {date(2011, 12, 30)}


@given(st.sampled_from(("daily", "weekly", "monthly")), hours, st.integers(0, 6), zones, moments)
def test_later_and_as_asked(frequency: str, hour: int, weekday: int, zone: str, after: datetime) -> None:
    """The next moment lies after the given one, at the hour, weekday or day asked for unless the clock skipped it."""
    moment = next_due(frequency, hour, weekday, zone, after)
    local = moment.astimezone(ZoneInfo(zone))
    assert (
        after
        < moment
        <= after
        + {"daily": timedelta(days=2, hours=2), "weekly": timedelta(days=8, hours=2)}.get(
            frequency, timedelta(days=32, hours=2)
        )
    )
    before_gap = (moment - timedelta(hours=24)).astimezone(ZoneInfo(zone))
    if local.hour == hour:
        assert local.minute == 0 or before_gap.utcoffset() != local.utcoffset()
        assert frequency != "weekly" or local.weekday() == weekday or local.date() == date(2011, 12, 31)
        assert frequency != "monthly" or local.day == 1


@pytest.mark.parametrize(
    ("zone", "hour", "after", "expected"),
    [
        ("Europe/Paris", 2, "2026-03-28T12:00+00:00", "2026-03-29T01:00+00:00"),
        ("Europe/Paris", 2, "2026-10-24T12:00+00:00", "2026-10-25T00:00+00:00"),
        ("America/New_York", 8, "2026-03-07T14:00+00:00", "2026-03-08T12:00+00:00"),
        ("Asia/Kathmandu", 6, "2026-11-24T00:00+00:00", "2026-11-24T00:15+00:00"),
    ],
)
def test_known_days(zone: str, hour: int, after: str, expected: str) -> None:
    """Known days: the skipped hour comes right after the gap, the repeated one in its first pass."""
    assert next_due("daily", hour, 0, zone, datetime.fromisoformat(after)) == datetime.fromisoformat(expected)


@given(moments, st.integers(1, 3600))
def test_slot(now: datetime, tick: int) -> None:
    """Two beats that tick in the same slot speak of the same moment."""
    slot = slot_of(now, tick)
    assert slot <= now < slot + timedelta(seconds=tick)
    assert slot_of(slot, tick) == slot


@given(moments, st.integers(0, 60 * 24 * 40))
def test_deadline(slot: datetime, minutes: int) -> None:
    """A digest is tried for four hours at least and four days at most."""
    limit = deadline(slot, slot + timedelta(minutes=minutes), "weekly")
    assert timedelta(hours=4) <= limit - slot <= timedelta(days=4)


def test_pauses() -> None:
    """Pauses grow from a minute to an hour."""
    pauses = [pause_after(n) for n in range(1, 40)]
    assert pauses[0] == timedelta(minutes=1)
    assert pauses == sorted(pauses)
    assert pauses[-1] == timedelta(hours=1)
