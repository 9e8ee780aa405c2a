"""Which relay carries what, and what has to wait."""

from __future__ import annotations

from typing import cast

from newsletter.delivery.outbox import Claimed
from newsletter.delivery.pace import Pace
from newsletter.delivery.relays import parse_relay
from newsletter.delivery.routing import Routing
from newsletter.delivery.shares import Shares


class Delivery:
    """As much of one as routing looks at."""

    def __init__(self, number: int, slug: str, domain: str) -> None:
        self.id, self.slug, self.domain = number, slug, domain


def batch(slugs: tuple[str, ...] = ("rutas",), slow: int = 10) -> list[Claimed]:
    """A hundred; every ``slow``-th to the domain that is held back."""
    return [
        cast(Claimed, Delivery(n, slugs[n % len(slugs)], "slow.example" if n % slow == 0 else "fast.example"))
        for n in range(100)
    ]


def test_what_a_rate_leaves_over_goes_through_the_others() -> None:
    """Also where a domain is held back, which is so for every relay: the others' digests do not wait with it."""
    free, narrow = parse_relay("smtp://a?name=a"), parse_relay("smtp://b?name=b&rate=5/h")
    pace = Pace("")
    pace.slow_down("slow.example")
    routed = Routing(Shares(), pace).route(batch(), [free, narrow])
    late = [delivery for deliveries in routed.later.values() for delivery in deliveries]
    assert {delivery.domain for delivery in late} == {"slow.example"}
    assert sum(map(len, routed.now.values())) + len(late) == 100
    assert routed.left == []
    assert len(routed.now[narrow]) <= 5


def test_only_through_relays_that_may() -> None:
    """What no relay carries is left; what the only one may not carry now waits for it, and nothing is routed twice."""
    own, other = parse_relay("smtp://a?name=a&lists=rutas&rate=2/h"), parse_relay("smtp://b?name=b&lists=mares")
    routed = Routing(Shares(), Pace("")).route(batch(("rutas", "mares", "selvas"), 1000), [own, other])
    late = [delivery for deliveries in routed.later.values() for delivery in deliveries]
    assert {delivery.slug for delivery in late} == {"rutas"}
    assert {delivery.slug for delivery in routed.left} == {"selvas"}
    assert {delivery.slug for delivery in routed.now[other]} == {"mares"}
    everybody = [*late, *routed.left, *(one for part in routed.now.values() for one in part)]
    assert sorted(delivery.id for delivery in everybody) == list(range(100))


def test_without_relays() -> None:
    """Where no relay can be used, all is left."""
    assert len(Routing(Shares(), Pace("")).route(batch(), []).left) == 100
