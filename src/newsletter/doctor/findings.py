"""What a check found, and running checks so that none can hold up or spoil another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import NamedTuple

from newsletter.errors import NewsletterError

CHECK_SECONDS = 30.0
"""After this long a check is given up."""
MOST_REASON = 300
CLOCK_DIFFERS = timedelta(seconds=5)
CLOCK_IS_WRONG = timedelta(minutes=2)


class Level(StrEnum):
    """``error``: mails are not sent, or not received. ``warning``: less well, or nobody could look."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    level: Level
    about: str
    """A domain, an address, a relay, a setting."""
    found: str
    meaning: str = ""
    """What it means for delivery; empty if all is well."""
    mend: str = ""
    """The exact record, setting or command."""


class Check(NamedTuple):
    """A check; ``unmade`` is how bad it is if it cannot be made."""

    name: str
    run: Callable[[], Iterable[Finding]]
    unmade: Level = Level.WARNING


def examine(checks: Sequence[Check], seconds: float = CHECK_SECONDS) -> list[Finding]:
    """Make all checks at once, each within ``seconds``; the findings in the order of the checks."""
    found: dict[int, list[Finding]] = {}

    def make(number: int, check: Check) -> None:
        try:
            found[number] = list(check.run())
        except NewsletterError as error:
            found[number] = [_unmade(check, error.message, error.hint)]
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others are made
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            found[number] = [_unmade(check, reason[:MOST_REASON])]

    # Daemons: one that hangs in the network must not keep the process from ending.
    threads = [threading.Thread(target=make, args=pair, daemon=True) for pair in enumerate(checks)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    late = f"It was not done within {seconds:g} seconds."
    return [
        one
        for number, check in enumerate(checks)
        for one in (found[number] if number in found else [_unmade(check, late)])
    ]


def _unmade(check: Check, reason: str, hint: str = "") -> Finding:
    return Finding(check.name, check.unmade, "", f"This could not be looked at: {reason}", mend=hint)


def clock(source: str, theirs: datetime, ours: datetime) -> Finding:
    """What another clock says of ours, both with a zone."""
    behind = theirs - ours
    seconds = f"{abs(behind.total_seconds()):.0f} s {'behind' if behind > timedelta(0) else 'ahead of'}"
    if abs(behind) < CLOCK_DIFFERS:
        return Finding("clock", Level.OK, source, "The clocks agree.")
    return Finding(
        "clock",
        Level.WARNING if abs(behind) < CLOCK_IS_WRONG else Level.ERROR,
        source,
        f"The clock of this machine is {seconds} that of {source}.",
        "Mails carry a wrong date, which counts as a sign of spam; a signature from the future fails; digests come at "
        "the wrong hour.",
        "Let a time service set the clock: timedatectl set-ntp true",
    )


def clock_said(source: str, date: str) -> Iterator[Finding]:
    """The same of a date that a server says (RFC 5322, 3.3); nothing if it is none."""
    try:
        theirs = parsedate_to_datetime(date)
    except ValueError:
        return
    # ``-0000`` is a moment in UTC, and no zone.
    yield clock(source, theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC), datetime.now(UTC))
