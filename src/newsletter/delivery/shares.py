"""Which relay carries a delivery: fair sharing by weight. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from newsletter.delivery.relays import Relay

D = TypeVar("D")


def usable_for(relays: Sequence[Relay], slug: str) -> tuple[Relay, ...]:
    """Those that may carry this list."""
    return tuple(relay for relay in relays if not relay.lists or slug in relay.lists)


Carried = Callable[[str], bool]
"""Whether a relay that can be used now carries a list, by its slug."""


def any_list(_slug: str) -> bool:
    """All lists are carried."""
    return True


def carries(relays: Sequence[Relay], slug: str) -> bool:
    """Whether any of them may carry this list."""
    return bool(usable_for(relays, slug))


def senders(relay: Relay, domains: Mapping[str, str]) -> list[str]:
    """Whom a relay gets mails from: the return paths of its lists, whose ``domains`` are given by slug."""
    return sorted({f"bounces@{domain}" for slug, domain in domains.items() if carries([relay], slug)})


class Turns:
    """Takes turns by weight: after any number of turns, each has had its exact share to within less than one.

    Each turn goes to the one whose next is due first, among those whose next is due to begin: earliest deadline
    first over the windows of a fair schedule (Baruah et al., "Proportionate progress", 1996). All in integers.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        """``weights`` are at least 1."""
        divisor = math.gcd(*weights)
        self._weights = [weight // divisor for weight in weights]
        self._total = sum(self._weights)
        self._had = [0] * len(weights)
        self._turn = 0
        self._round: list[int] = []  # the turns of one round, after which all begins anew, as far as they were taken

    def next(self) -> int:
        """The place, in ``weights``, of the one whose turn it is."""
        turn = self._turn
        self._turn = (turn + 1) % self._total
        if turn == len(self._round):
            self._round.append(self._due(turn + 1))
        return self._round[turn]

    def _due(self, turn: int) -> int:
        best, best_had, best_weight = -1, 0, 1
        for place, (had, weight) in enumerate(zip(self._had, self._weights, strict=True)):
            begun = had * self._total < weight * turn
            if begun and (best < 0 or (had + 1) * best_weight < (best_had + 1) * weight):
                best, best_had, best_weight = place, had, weight
        self._had[best] += 1
        return best


class Shares:
    """The state of sharing that one process carries from batch to batch, so that many small ones come out fair."""

    def __init__(self) -> None:
        self._turns: dict[tuple[tuple[str, int], ...], Turns] = {}

    def allot(
        self, deliveries: Iterable[D], slug_of: Callable[[D], str], relays: Sequence[Relay]
    ) -> tuple[dict[Relay, list[D]], list[D]]:
        """Deliveries by relay, in their order; and those that none of ``relays`` may carry.

        Relays that may carry the same lists share by weight. Who gets nothing is not in the result.
        """
        boxes: list[list[D]] = [[] for _ in relays]
        left: list[D] = []
        choices: dict[str, tuple[list[int], Turns | None]] = {}
        for delivery in deliveries:
            slug = slug_of(delivery)
            if slug not in choices:
                choices[slug] = self._choice(relays, slug)
            places, turns = choices[slug]
            if turns:
                boxes[places[turns.next()]].append(delivery)
            elif places:
                boxes[places[0]].append(delivery)
            else:
                left.append(delivery)
        return {relay: box for relay, box in zip(relays, boxes, strict=True) if box}, left

    def _choice(self, relays: Sequence[Relay], slug: str) -> tuple[list[int], Turns | None]:
        able = usable_for(relays, slug)
        if len(able) < 2:
            return [relays.index(relay) for relay in able], None
        key = tuple((relay.name, relay.weight) for relay in able)
        turns = self._turns.setdefault(key, Turns([relay.weight for relay in able]))
        return [relays.index(relay) for relay in able], turns
