"""What a spell tells the database and fetches from it, in one transaction.

It may run in a thread of its own, while the connections go on with what is at hand. So nothing here touches what
they use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import Connection, Engine

from newsletter.delivery import notices, outbox, resting, settling
from newsletter.delivery.journal import journals, living_owners
from newsletter.delivery.notices import Taken
from newsletter.delivery.outbox import Claimed
from newsletter.delivery.relays import Relay
from newsletter.delivery.shares import carries
from newsletter.delivery.smtp.outcomes import Verdict
from newsletter.delivery.unsettled import Unsettled
from newsletter.settings import Settings

log = structlog.get_logger("newsletter.delivery")

# Who may send nothing for longer than this has better things to do; what is due sooner is waited for.
SOON = timedelta(seconds=5)
RELAY_PAUSE = timedelta(seconds=20)
"""So much later is due a notice that no relay may carry now; and so long a worker leaves a relay to others."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What there is to tell, and how much is wanted: ``room`` for so many deliveries."""

    told: Unsettled
    failed: Mapping[Relay, str]
    """Relays that could not be used, and why."""
    known: Mapping[str, resting.State]
    """The relays' states as they were last read, by name."""
    room: int
    supplied: frozenset[Relay] = frozenset()
    """Relays for which no more digests are claimed: those that none but they may carry."""
    hungry: frozenset[Relay] = frozenset()
    """Relays for which no digest waits while some do for others: half of what is claimed is for them first."""
    unnoticed: frozenset[Relay] = frozenset()
    """Relays for which no notice waits: of what these carry some are claimed."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What an errand brought: ``counts`` of what was settled, by state; the relays as they are now; new work."""

    counts: Counter[str]
    known: Mapping[str, resting.State]
    no_room: frozenset[Relay]
    """Relays that have no room for this worker, since they serve others."""
    usable: tuple[Relay, ...]
    claimed: list[Claimed]
    taken: list[Taken]
    more: bool = False
    """Deliveries were wanted, and there are more to claim at once."""
    dry: bool = False
    """Deliveries were wanted, and no more are due now or soon."""


class Exchange:
    """Runs the errands of one spell."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        relays: Sequence[Relay],
        owner: str,
        clock: Callable[[], datetime],
        served_at: dict[Relay, datetime],
    ) -> None:
        """``owner``: what claims are marked with; ``served_at``: when each relay last took a message of ours."""
        self._engine = engine
        self._settings = settings
        self._relays = relays
        self._owner = owner
        self._clock = clock
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._served_at = served_at
        self._no_room_at: dict[Relay, datetime] = {}
        """When each turned us away while it served others."""

    def run(self, errand: Errand) -> Brought:
        """Settle everything, then claim what is wanted, for the relays that can be used. Blocks.

        Raises:
            DBAPIError: the database does not answer; nothing was settled, and nothing claimed.
        """
        with self._engine.begin() as connection:
            # Read here, since SQLite may have waited for another writer.
            now = self._clock()
            counts = self._settle(connection, errand, now)
            self._note_relays(connection, errand, now)
            known = resting.states(connection, self._relays)
            no_room = frozenset(relay for relay, at in self._no_room_at.items() if abs(now - at) < RELAY_PAUSE)
            # That others are turned away is no reason to stop for whom it serves.
            serving = [relay for relay, at in self._served_at.items() if abs(now - at) < resting.REFRESH]
            usable = resting.usable(known, [relay for relay in self._relays if relay not in no_room], now, serving)
            able = [relay for relay in usable if relay in errand.unnoticed]
            taken = notices.claim(connection, self._settings, now, partial(carries, able)) if able else []
            if not (usable and errand.room):
                return Brought(counts, known, no_room, usable, [], taken)
            living = living_owners(journals(self._settings))
            able = [relay for relay in usable if relay not in errand.supplied]
            carried, hungry = partial(carries, able), [relay for relay in able if relay in errand.hungry]
            take = partial(outbox.claim, connection, self._owner, now, self._lease)
            claimed = take(errand.room // 2, living, partial(carries, hungry)) if 0 < len(hungry) < len(able) else []
            claimed += take(errand.room - len(claimed), living, carried)
            # Fewer may come back than were claimed.
            more = len(claimed) == errand.room or outbox.ready_count(connection, now, 1, carried) > 0
            dry = not more and outbox.ready_count(connection, now + SOON, 1, carried) == 0
            return Brought(counts, known, no_room, usable, claimed, taken, more, dry)

    def _settle(self, connection: Connection, errand: Errand, now: datetime) -> Counter[str]:
        told = errand.told
        counts = settling.settle(connection, told.outcomes, now)
        for delivery in told.withdrawn:
            settling.settle_withdrawn(connection, delivery, now)
        counts["withdrawn"] += len(told.withdrawn)
        for pause, reason, claimed in told.returned:
            settling.give_back(connection, claimed, pause, reason, now)
        counts["notices"] += notices.settle(connection, told.told, now)
        notices.give_back(connection, told.unasked, now)
        notices.give_back(connection, told.unroutable, now + RELAY_PAUSE)
        return counts

    def _note_relays(self, connection: Connection, errand: Errand, now: datetime) -> None:
        """Who took a message is well; who could not be used rests, but for who only has no room for this worker."""
        accepted = [outcome for outcome in errand.told.outcomes if outcome.answer.verdict is Verdict.ACCEPTED]
        begun = {outcome.relay: outcome.delivery.claimed_at for outcome in accepted} | dict(errand.told.thanks)
        # All workers in the same order, since the row of each is locked up to the end.
        for relay in self._relays:
            if relay.name in begun:
                self._served_at[relay] = now
                if not errand.known[relay.name].is_well(now):
                    resting.recovered(connection, relay, begun[relay.name], now)
            if relay in errand.failed:
                state = resting.states(connection, [relay])[relay.name]
                if state.serves_others(self._served_at.pop(relay, None), now):
                    self._no_room_at[relay] = now
                    log.info("the relay serves other workers and has no room for this one", relay=relay.name)
                else:
                    resting.rest(connection, relay, errand.failed[relay], now)
