"""Messages over which a relay has ended connections, in one spell. Pure."""

from __future__ import annotations

from collections import Counter

from newsletter.delivery.notices import Taken
from newsletter.delivery.outbox import Claimed
from newsletter.delivery.relays import Relay
from newsletter.delivery.smtp.outcomes import HUNG_UP, Answer

IN_VAIN = 2
"""So often a relay may end the connection over one message; then it waits, and others go first."""


class Suspects:
    """Counts for each relay and message."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, type, int]] = Counter()

    def __bool__(self) -> bool:
        return bool(self._counts)

    def has(self, relay: Relay, message: Taken | Claimed) -> bool:
        """Whether it was suspected before, in this spell or in an earlier one."""
        return self._count(relay, message) > 0

    def blame(self, relay: Relay, message: Taken | Claimed) -> Answer | None:
        """Count that a connection ended over it; what is noted of it if that was once too often."""
        count = self._counts[relay.name, type(message), message.id] = self._count(relay, message) + 1
        return HUNG_UP if count >= IN_VAIN else None

    def _count(self, relay: Relay, message: Taken | Claimed) -> int:
        before = IN_VAIN - 1 if isinstance(message, Claimed) and message.hung_up else 0
        return max(self._counts[relay.name, type(message), message.id], before)
