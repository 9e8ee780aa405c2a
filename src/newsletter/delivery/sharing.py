"""In whose queue each digest of a spell waits, while relays come and go, stand still, and use up their rates."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain

from newsletter.delivery.demand import BATCH
from newsletter.delivery.outbox import Claimed
from newsletter.delivery.relays import Relay
from newsletter.delivery.routing import Routed
from newsletter.delivery.smtp.pools import Pools
from newsletter.delivery.waiting import Waiting

Route = Callable[[Sequence[Claimed], Sequence[Relay]], Awaitable[Routed]]
"""``Routing.route``, while the connections go on."""


class Sharing:
    """See the module. A relay that stands still keeps only what no other may carry now."""

    def __init__(self, relays: Sequence[Relay], waiting: Waiting, pools: Pools, route: Route) -> None:
        """``relays``: all there are; the methods are told which of them can be used."""
        self.stuck = 0
        """Messages that wait for relays that stand still, and for no other."""
        self._relays = relays
        self._waiting = waiting
        self._pools = pools
        self._route = route
        self._full_until: dict[Relay, float] = {}
        """Relays whose rate is used up."""

    def supplied(self, usable: Sequence[Relay]) -> frozenset[Relay]:
        """Relays that stand still and have enough in their queues, so that nothing is claimed for them alone."""
        moving = self._pools.moving(usable) or usable
        return frozenset(
            relay for relay in usable if relay not in moving and self._waiting.digests_for(relay) >= BATCH[0]
        )

    def full_until(self, usable: Sequence[Relay]) -> float:
        """The moment from which on one of these may carry anything, as far as is known."""
        return min((self._full_until.get(relay, 0.0) for relay in usable), default=0.0)

    async def share_out(self, claimed: list[Claimed], usable: Sequence[Relay]) -> Routed:
        """Queue what was claimed, and anew what lies in queues of relays that do not send it.

        Gives what can go nowhere now.
        """
        moving = self._pools.moving(usable)
        still = [relay for relay in usable if relay not in moving]
        # One whose rate is used up sends nothing sooner than one that stands still.
        able = [relay for relay in moving if self._full_until.get(relay, 0.0) <= _at()] if still else usable
        for relay in self._relays:
            if relay not in usable:
                claimed = [*self._waiting.emptied(relay), *claimed]
            elif relay in still:
                claimed = [*self._waiting.movable(relay, able), *claimed]
        routed = await self._queue(claimed, able)
        if still:
            routed = await self._queue([*routed.left, *chain(*routed.later.values())], usable)
        self.stuck = self._waiting.stuck(still, moving) if moving else 0
        return routed

    async def _queue(self, claimed: list[Claimed], relays: Sequence[Relay]) -> Routed:
        """Digests into the queues of these relays as far as their pace allows."""
        routed = await self._route(claimed, relays)
        for relay, deliveries in routed.now.items():
            self._waiting.add(relay, deliveries)
        self._full_until |= {relay: _at() + seconds for relay, seconds in routed.full.items()}
        return routed


def _at() -> float:
    return asyncio.get_running_loop().time()
