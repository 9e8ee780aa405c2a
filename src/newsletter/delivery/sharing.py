"""In whose queue each digest of a spell waits, while relays come and go, lag, and use up their rates."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

from newsletter.delivery.exchange import SOON
from newsletter.delivery.notices import Taken
from newsletter.delivery.outbox import Claimed
from newsletter.delivery.relays import Relay
from newsletter.delivery.routing import Routed, Suspected
from newsletter.delivery.shares import carries
from newsletter.delivery.smtp.outcomes import Answer, Verdict
from newsletter.delivery.smtp.pools import Pools
from newsletter.delivery.suspects import Suspects, another_may
from newsletter.delivery.waiting import Waiting

Route = Callable[[Sequence[Claimed], Sequence[Relay], Suspected | None], Awaitable[Routed]]
"""``Routing.route``, while the connections go on."""

TRUSTED_SECONDS = 60.0
"""So long at most a process believes that a rate is used up: others may give leave back, and Redis may be back."""

AGEING_SECONDS = 60
"""Leave by rates of so many seconds is asked for anew with each turn: what waits must not go together with what may."""

HUNGRY_SECONDS = 5.0
"""So long nothing more is sought for a relay for which nothing was found: that reads all that is due for others."""


class Sharing:
    """See the module.

    A relay *lags* that does not keep up with what waits for it: others carry what they may in its place, as far as they
    have leave, and what waits for it alone holds up nobody else. Of what others may carry it keeps as many as it
    answered lately; one that stands still, none. What a relay hung up over or did not take others try first.
    """

    def __init__(
        self,
        relays: Sequence[Relay],
        waiting: Waiting,
        suspects: Suspects,
        pools: Pools,
        route: Route,
        full_until: dict[Relay, float],
    ) -> None:
        """``relays``: all there are; the methods are told which of them can be used. ``full_until``: see ``Kept``."""
        self.stuck = 0
        """Messages that wait for relays that lag, and for no other."""
        self._relays = relays
        self._waiting = waiting
        self._suspects = suspects
        self._pools = pools
        self._route = route
        self._full_until = full_until
        self.late: list[Relay] = []
        """Those that are given nothing more, since the spell is over and they still have something in hand."""
        self._sought_at: dict[Relay, float] = {}
        """When digests were sought for relays that have had none since."""
        self._moving: Sequence[Relay] = ()
        """Those that could be used and did not stand still when digests were last shared out."""

    def lagging(self, usable: Sequence[Relay]) -> Mapping[Relay, int]:
        """Those of these that lag, each with how many it answered lately; none if all do."""
        lagging = self._pools.lagging({relay: self._waiting.count_for(relay) for relay in usable})
        lagging |= {relay: 0 for relay in self.late if relay in usable}
        return lagging if len(lagging) < len(usable) else {}

    def supplied(self, usable: Sequence[Relay]) -> frozenset[Relay]:
        """Relays for which no more digests need be claimed: they are late, lag and have enough, or have no leave."""
        return frozenset((*self.late, *self._have_enough(usable), *filter(self._is_full, usable)))

    def hungry(self, usable: Sequence[Relay]) -> frozenset[Relay]:
        """Those for which no digest waits, if some do for others, which carry other lists.

        As long as nothing is found, only now and then.
        """
        empty = [relay for relay in usable if not self._waiting.digests_for(relay)]
        if len(empty) == len(usable) or len({relay.lists for relay in usable}) == 1:
            return frozenset()
        now = time.monotonic()
        hungry = [relay for relay in empty if now > self._sought_at.get(relay, -math.inf) + HUNGRY_SECONDS]
        self._sought_at |= dict.fromkeys(hungry, now)
        return frozenset(hungry)

    def full_until(self, usable: Sequence[Relay]) -> float:
        """The moment from which on one that does not lag and have enough may carry more, as far as is known."""
        enough = self._have_enough(usable)
        return min((self._full_until.get(relay, 0.0) for relay in usable if relay not in enough), default=0.0)

    def have_leave_soon(self, usable: Sequence[Relay]) -> bool:
        """Whether the rate of any is used up, but leaves something again soon."""
        return any(map(self._is_full, self.able_soon(usable)))

    def able_soon(self, usable: Sequence[Relay]) -> list[Relay]:
        """Those of these whose rate leaves something now or soon, as far as is known."""
        soon = time.monotonic() + SOON.total_seconds()
        return [relay for relay in usable if self._full_until.get(relay, 0.0) <= soon]

    def are_late(self, usable: Sequence[Relay]) -> bool:
        """Once the spell is over: whether one that lags has something in hand, for which all else would wait; where all
        lag, one that stands still."""
        still = [relay for relay in usable if self._pools.stands_still(relay)]
        slow = self.lagging(usable) or (still if len(still) < len(usable) else ())
        self.late += [relay for relay in slow if relay not in self.late]
        return any(map(self._pools.is_at_work, self.late))

    def others(self, relay: Relay) -> list[Relay]:
        """Who may try in its place."""
        return [one for one in self._moving if one != relay and not self._pools.is_down(one)]

    def noted(self, message: Taken | Claimed, answer: Answer, relay: Relay, *, is_over: bool) -> Answer | None:
        """What is noted of a relay's answer; None if others try at once what it did not take.

        Once the spell ``is_over`` they do not. A second time a relay is not asked first. What it is not able to carry
        has not failed while another was not asked, whatever keeps that from it now.
        """
        if not another_may(answer):
            return answer
        unasked = [one for one in self._relays if one != relay and not self._suspects.has(one, message)]
        if not carries(unasked, message.slug):
            return answer
        if answer.verdict is Verdict.REFUSED:
            answer = replace(answer, verdict=Verdict.DECLINED)
        able = [one for one in self.others(relay) if one in unasked]
        is_for_others = not is_over and carries(able, message.slug)
        return None if is_for_others and self._suspects.blame(relay, message, answer) is None else answer

    def forsaken(self, relay: Relay) -> list[tuple[Taken | Claimed, Answer]]:
        """Take out what a relay that is down did not take and no other may try; each with what is noted of it.

        Perhaps it is to blame: then it must not be the first when the relay is back.
        """
        others = self.others(relay)
        notices = [one for one in self._waiting.notices if self._suspects.has(relay, one)]
        notices = [one for one in notices if not carries(others, one.slug)]
        for notice in notices:
            self._waiting.notices.remove(notice)
        found: list[Taken | Claimed] = [*notices]
        found += self._waiting.take_suspects(relay, lambda slug: not carries(others, slug))
        return [(one, self._suspects.answer(relay, one)) for one in found]

    def yields(self, relay: Relay, message: Taken | Claimed) -> bool:
        """Whether others carry it in place of a relay for which it is suspect, or which stands still."""
        if self._suspects.has(relay, message):
            return carries([one for one in self.others(relay) if not self._suspects.has(one, message)], message.slug)
        return self._pools.stands_still(relay) and carries(self._moving, message.slug)

    async def share_out(self, claimed: list[Claimed], usable: Sequence[Relay]) -> Routed:
        """Queue what was claimed, and anew what lies in queues of relays that do not send it.

        Gives what can go nowhere now.
        """
        self._moving = [relay for relay in usable if not self._pools.stands_still(relay)]
        supplied = self.supplied(usable)
        lagging = self.lagging(usable)
        able = [relay for relay in self._moving if relay not in supplied]
        claimed = [*self._waiting.take_passed_on(), *claimed]
        for relay in usable:
            if any(rate.seconds <= AGEING_SECONDS for rate in relay.rates):
                waited = self._waiting.movable(relay, [relay])
                claimed = [*(_rest(await self._grant(waited, [relay])) if waited else ()), *claimed]
        for relay in self._relays:
            if relay not in usable:
                claimed = [*self._waiting.emptied(relay), *claimed]
            elif relay not in self._moving:
                claimed = [*self._waiting.movable(relay, able), *claimed]
            elif relay in lagging:
                claimed = [*self._waiting.movable(relay, able, lagging[relay]), *claimed]
            claimed = [*self._waiting.take_suspects(relay, partial(carries, self.others(relay))), *claimed]
        is_suspect = self._suspects.has if self._suspects else None
        routed = await self._grant(claimed, able, is_suspect)
        if len(able) < len(usable):
            routed = await self._grant(_rest(routed), usable, is_suspect)
        if is_suspect:
            # Nobody else may carry it soon.
            soon = {seconds: found for seconds, found in routed.later.items() if seconds <= TRUSTED_SECONDS}
            beyond = [*routed.left, *chain(*(routed.later[seconds] for seconds in routed.later.keys() - soon.keys()))]
            routed = await self._grant(beyond, usable)
            for seconds, found in soon.items():
                routed.later[seconds] += found
        self.recount(usable)
        return routed

    def recount(self, usable: Sequence[Relay]) -> None:
        """Say anew what is ``stuck``, which is asked for with each message."""
        lagging = self.lagging(usable)
        others = [relay for relay in usable if relay not in lagging]
        able = [relay for relay in others if not self._is_full(relay)]
        self.stuck = self._waiting.stuck(lagging, others) - self._waiting.surplus(lagging, able, self._suspects.has)

    async def _grant(
        self, claimed: list[Claimed], relays: Sequence[Relay], is_suspect: Suspected | None = None
    ) -> Routed:
        """Digests into the queues of these relays as far as their pace allows; gives the others."""
        routed = await self._route(claimed, relays, is_suspect)
        for relay, deliveries in routed.now.items():
            self._waiting.add(relay, deliveries)
            self._sought_at.pop(relay, None)
        now = time.monotonic()
        self._full_until |= {relay: now + min(seconds, TRUSTED_SECONDS) for relay, seconds in routed.full.items()}
        return routed

    def _have_enough(self, usable: Sequence[Relay]) -> list[Relay]:
        return [relay for relay, lately in self.lagging(usable).items() if self._waiting.digests_for(relay) >= lately]

    def _is_full(self, relay: Relay) -> bool:
        return self._full_until.get(relay, 0.0) > time.monotonic()


def _rest(routed: Routed) -> list[Claimed]:
    return [*routed.left, *chain(*routed.later.values())]
