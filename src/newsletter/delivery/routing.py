"""Which relay carries what, and what has to wait: shared by weight, as far as the pace allows."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from newsletter.delivery.outbox import Claimed
from newsletter.delivery.pace import Pace
from newsletter.delivery.relays import Relay
from newsletter.delivery.shares import Shares

Suspected = Callable[[Relay, Claimed], bool]
"""Whether a relay did not take a digest before, which others try first."""


@dataclass
class Routed:
    """What becomes of a batch."""

    now: dict[Relay, list[Claimed]] = field(default_factory=dict)
    """What has leave to go, by relay."""
    later: dict[int, list[Claimed]] = field(default_factory=lambda: defaultdict(list))
    """What no relay may carry before so many seconds; whole ones, and the coarser the more they are, so that many are
    put off at once."""
    left: list[Claimed] = field(default_factory=list)
    """What none of the relays carries at all."""
    full: dict[Relay, float] = field(default_factory=dict)
    """Relays whose rate is used up, and in how many seconds each may carry anything again."""


class Routing:
    """Routes the batches of one process."""

    def __init__(self, shares: Shares, pace: Pace) -> None:
        self._shares = shares
        self._pace = pace

    def route(self, claimed: Iterable[Claimed], relays: Sequence[Relay], is_suspect: Suspected | None = None) -> Routed:
        """Give each its relay. What one may not carry now goes through the others, if they may. It blocks.

        None goes to a relay for which it ``is_suspect``.
        """
        routed = Routed()
        refused: defaultdict[str, set[Relay]] = defaultdict(set)
        waits: dict[int, float] = {}
        batch = list(claimed)
        while batch:
            late: list[Claimed] = []
            for able, deliveries in _by_able(batch, relays, refused, is_suspect).items():
                parts, rest = self._shares.allot(deliveries, _slug, able)
                for delivery in rest:
                    wait = waits.get(delivery.id)
                    (routed.left if wait is None else routed.later[_coarse(wait)]).append(delivery)
                for relay, part in parts.items():
                    now, later = self._granted(relay, part, routed.full)
                    if now:
                        routed.now.setdefault(relay, []).extend(now)
                    for delivery, seconds in later:
                        refused[delivery.domain].add(relay)
                        waits[delivery.id] = min(seconds, waits.get(delivery.id, seconds))
                        late.append(delivery)
            batch = late
        return routed

    def _granted(
        self, relay: Relay, deliveries: list[Claimed], full: dict[Relay, float]
    ) -> tuple[list[Claimed], list[tuple[Claimed, float]]]:
        """Those that may go now, and the others, each with the seconds until its time comes."""
        by_domain: dict[str, list[Claimed]] = defaultdict(list)
        for delivery in deliveries:
            by_domain[delivery.domain].append(delivery)
        wanted = {domain: len(found) for domain, found in by_domain.items()}
        granted = self._pace.grant(relay, wanted)
        if granted.by_domain == wanted:
            return deliveries, []
        if granted.full:
            full[relay] = granted.full
        now: list[Claimed] = []
        later: list[tuple[Claimed, float]] = []
        for domain, found in by_domain.items():
            count = granted.by_domain[domain]
            now += found[:count]
            rest = found[count:]
            later += zip(rest, granted.delays(domain, len(rest)), strict=True)
        return now, later


def _by_able(
    batch: Iterable[Claimed],
    relays: Sequence[Relay],
    refused: Mapping[str, Collection[Relay]],
    is_suspect: Suspected | None,
) -> Mapping[tuple[Relay, ...], list[Claimed]]:
    """Deliveries by the relays that have not ``refused`` their domain, and for which they are not suspect."""
    if not refused and is_suspect is None:
        # As it nearly always is: to tell them apart costs a tenth of what is done for a message.
        return {tuple(relays): list(batch)}
    found: defaultdict[tuple[Relay, ...], list[Claimed]] = defaultdict(list)
    for delivery in batch:
        no = refused.get(delivery.domain, ())
        able = (relay for relay in relays if relay not in no and not (is_suspect and is_suspect(relay, delivery)))
        found[tuple(able)].append(delivery)
    return found


def _coarse(seconds: float) -> int:
    step = max(1, seconds // 10)
    return math.ceil(math.ceil(seconds / step) * step)


def _slug(delivery: Claimed) -> str:
    return delivery.slug
