"""What a spell did, and what of it the database has still to be told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta

from newsletter.delivery.notices import Taken
from newsletter.delivery.outbox import Claimed
from newsletter.delivery.settling import Outcome
from newsletter.delivery.smtp.conversation import Answer


@dataclass
class Tally:
    """What a spell did: deliveries by state, and whether more are ready."""

    counts: Counter[str] = field(default_factory=Counter)
    more: bool = False

    @property
    def total(self) -> int:
        """How many deliveries were handled."""
        return self.counts.total()


@dataclass
class Unsettled:
    """What the database has still to be told."""

    outcomes: list[Outcome] = field(default_factory=list)
    told: list[tuple[Taken, Answer]] = field(default_factory=list)
    thanks: list[tuple[str, datetime]] = field(default_factory=list)
    """Relays that took a notice, and when that was claimed."""
    withdrawn: list[Claimed] = field(default_factory=list)
    returned: list[tuple[timedelta, str, list[Claimed]]] = field(default_factory=list)
    unasked: list[Taken] = field(default_factory=list)
    """Notices that were not tried, and are due at once."""
    unroutable: list[Taken] = field(default_factory=list)
    """Notices that no relay may carry now."""

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) for one in fields(self))

    def drop(self, settled: Unsettled) -> None:
        """Forget the beginning of each list: what a transaction has settled, while more may have come."""
        for one in fields(self):
            del getattr(self, one.name)[: len(getattr(settled, one.name))]

    def copy(self) -> Unsettled:
        """As it is now."""
        return Unsettled(*(getattr(self, one.name)[:] for one in fields(self)))
