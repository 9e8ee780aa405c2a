"""Checks run beside one another: none holds up or spoils the others."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from newsletter.doctor.findings import Check, Finding, Level, clock, examine
from newsletter.errors import StateError

GOOD = Finding("good", Level.OK, "", "Fine.")
NOW = datetime(2026, 11, 27, tzinfo=UTC)


def test_each_by_itself() -> None:
    """One hangs, one breaks, one cannot be made: that is said, in time and in order, and the others are made."""

    def hang():
        threading.Event().wait(20)
        return []

    def refuse():
        raise StateError("There is no network.", "Plug it in.")

    def fall():
        yield GOOD
        raise RuntimeError("oh")

    names = {"hang": hang, "refuse": refuse, "fall": fall, "good": lambda: [GOOD], "none": list}
    began = time.monotonic()
    found = examine([Check(name, run, Level.WARNING) for name, run in names.items()], 0.5)
    assert time.monotonic() - began < 3
    assert [(one.check, one.level) for one in found] == [
        ("hang", "warning"), ("refuse", "warning"), ("fall", "warning"), ("good", "ok")
    ]  # fmt: skip
    assert "within 0.5 seconds" in found[0].found
    assert ("There is no network." in found[1].found, found[1].mend) == (True, "Plug it in.")
    assert "RuntimeError: oh" in found[2].found


@pytest.mark.parametrize(
    ("seconds", "level", "says"),
    [(0, "ok", "agree"), (-4, "ok", "agree"), (30, "warning", "30 s behind"), (-600, "error", "600 s ahead of")],
)
def test_clocks(seconds: int, level: str, says: str) -> None:
    """A clock that differs by seconds is a warning, by minutes an error."""
    found = clock("Redis", NOW + timedelta(seconds=seconds), NOW)
    assert (found.level, says in found.found) == (level, True)
