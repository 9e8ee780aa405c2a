"""Messages that relays have hung up over, or not taken though others might, in one spell. Pure."""

from __future__ import annotations

from newsletter.delivery.notices import Taken
from newsletter.delivery.outbox import Claimed
from newsletter.delivery.relays import Relay
from newsletter.delivery.smtp.meaning import TOO_LARGE
from newsletter.delivery.smtp.outcomes import HUNG_UP, Answer, Verdict
from newsletter.delivery.throttling import is_throttle

IN_VAIN = 2
"""So often a relay may be offered one message; then it waits, and others go first."""
UNABLE = ("5.3.4", "5.6.3", "5.6.7")
"""What one relay is not able to carry, and another may be: too large, not ASCII (RFC 3463, RFC 6531)."""


def another_may(answer: Answer) -> bool:
    """Whether a message that a relay did not take may be taken by another: not if its reader is refused for good, nor
    if less is to go to its domain."""
    if answer.verdict is Verdict.REFUSED:
        return answer.status in UNABLE or (answer.code == TOO_LARGE and not answer.status)
    throttles = answer.verdict is Verdict.DEFERRED and is_throttle(answer.code, answer.status, answer.text)
    return answer.verdict in (Verdict.DECLINED, Verdict.DEFERRED) and not throttles


class Suspects:
    """Counts for each relay and message."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, type, int], tuple[int, Answer]] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def has(self, relay: Relay, message: Taken | Claimed) -> bool:
        """Whether it was suspected before, in this spell or in an earlier one."""
        return self._last(relay, message)[0] > 0

    def blame(self, relay: Relay, message: Taken | Claimed, answer: Answer = HUNG_UP) -> Answer | None:
        """Count that a relay did not take it; what is noted of it if that was once too often."""
        count = self._last(relay, message)[0] + 1
        self._known[relay.name, type(message), message.id] = count, answer
        return answer if count >= IN_VAIN else None

    def answer(self, relay: Relay, message: Taken | Claimed) -> Answer:
        """What is noted of a suspect that nobody else may try."""
        return self._last(relay, message)[1]

    def _last(self, relay: Relay, message: Taken | Claimed) -> tuple[int, Answer]:
        count, answer = self._known.get((relay.name, type(message), message.id), (0, HUNG_UP))
        before = IN_VAIN - 1 if isinstance(message, Claimed) and message.hung_up else 0
        return max(count, before), answer
