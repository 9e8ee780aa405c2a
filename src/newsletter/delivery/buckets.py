"""The arithmetic of pace: a bucket of tokens for each rate of a relay, and for each domain that asked for less. Pure.

``pace.lua`` is the same arithmetic where all workers share it; this is its oracle, and what a worker keeps to by
itself while Redis is away. Moments are seconds since the epoch.

A relay's rate of N messages in S seconds is a bucket of N tokens, each of which comes back S seconds after it was
taken (up to S/20 later: they are counted by twentieths). So no S seconds hold more than N, as providers count; a
bucket that fills steadily would let 2 N through. A domain's bucket does fill steadily, to spread what goes there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from newsletter.delivery.relays import Rate

SLICES = 20
FLOOR = 1 / 60
"""The least that a domain's rate is brought down to, in messages a second."""
BURST_SECONDS = 5
"""A domain's bucket holds what comes in this time, and one token at least."""
STEP_SECONDS = 180
STEP = 1.5
"""So often, and by so much, a domain's rate recovers, until it is what it was: then it is forgotten."""
SAME_SECONDS = 15
"""Refusals within this time answer the same burst: they halve once."""
LONGEST_SPREAD = 600
SHORTEST_WAIT = 0.05


@dataclass(frozen=True, slots=True)
class Granted:
    """How many of each domain may go now, and when the rest: ask again in ``wait`` seconds.

    ``finish`` has, for each domain with a rest, in how many seconds the last of it may go as things are. ``full`` says
    in how many seconds the relay may carry anything at all, if its own rate is used up.
    """

    by_domain: dict[str, int]
    wait: float = 0.0
    finish: dict[str, float] = field(default_factory=dict)
    full: float = 0.0

    def delays(self, domain: str, count: int) -> Iterator[float]:
        """For ``count`` deliveries of the rest: in how many seconds each may be due, spread until ``finish``."""
        end = self.finish.get(domain, self.wait)
        for number in range(count):
            yield self.wait + (end - self.wait) * number / max(1, count - 1)

    def within(self, seconds: float) -> Granted:
        """The same, to be asked again in so many seconds at most."""
        finish = {domain: min(end, seconds) for domain, end in self.finish.items()}
        return Granted(self.by_domain, min(self.wait, seconds), finish, min(self.full, seconds))


@dataclass(slots=True)
class Limit:
    """A domain's bucket: its rate when it was last halved, what it was before any halving, and its tokens."""

    rate: float
    origin: float
    slowed_at: float
    tokens: float
    at: float

    def current(self, now: float) -> float:
        """Today's rate in messages a second; ``origin`` or more means that the limit is over."""
        steps = min(64, max(0, math.floor((now - self.slowed_at) / STEP_SECONDS)))
        rate = self.rate
        for _ in range(steps):
            rate = rate * STEP
        return rate

    def fill(self, now: float) -> None:
        """Add the tokens that have come since the last time. A clock that was set back costs none."""
        self.slowed_at, self.at = min(self.slowed_at, now), min(self.at, now)
        rate = self.current(now)
        self.tokens = min(max(1.0, rate * BURST_SECONDS), self.tokens + (now - self.at) * rate)
        self.at = now


def share_out(wanted: Sequence[int], room: int) -> list[int]:
    """``room`` in proportion to what is wanted, whole; what is left over goes to the first."""
    total = sum(wanted)
    if total <= room:
        return list(wanted)
    shares = [number * room // total for number in wanted]
    left = room - sum(shares)
    for place, number in enumerate(wanted):
        if left and shares[place] < number:
            shares[place] += 1
            left -= 1
    return shares


class Buckets:
    """All buckets of one process (or, as oracle, of Redis)."""

    def __init__(self) -> None:
        self.taken: dict[tuple[str, int], dict[int, int]] = {}
        self.limits: dict[str, Limit] = {}
        self.sent: dict[int, dict[str, int]] = {}

    def grant(self, relay: str, rates: Sequence[Rate], domains: Mapping[str, int], now: float) -> Granted:
        """Take tokens for as many messages as may go now."""
        wanted = list(domains.values())
        allowed = [self._allowed(domain, number, now) for domain, number in domains.items()]
        room = min((rate.count - self._used(relay, rate, now) for rate in rates), default=sum(allowed))
        granted = share_out(allowed, max(0, room))
        total = sum(granted)
        for rate in rates:
            cells = self.taken[relay, rate.seconds]
            place = _slice(rate, now)
            cells[place] = cells.get(place, 0) + total
        self._note(domains, granted, now)
        rest = sum(wanted) - total
        if not rest:
            return Granted(dict(zip(domains, granted, strict=True)))
        relay_wait = relay_finish = 0.0
        if total < sum(allowed):
            for rate in rates:
                if self._used(relay, rate, now) >= rate.count:
                    relay_wait = max(relay_wait, self._next_free(relay, rate, now))
                relay_finish = max(relay_finish, rest * rate.seconds / rate.count)
        waits, finish = [], {}
        for domain, number, got in zip(domains, wanted, granted, strict=True):
            left = number - got
            if not left:
                continue
            soonest, last = relay_wait, relay_wait + relay_finish
            if limit := self.limits.get(domain):
                rate_now = limit.current(now)
                soonest = max(soonest, (1 - limit.tokens) / rate_now)
                last = max(last, (left - limit.tokens) / rate_now)
            soonest = max(SHORTEST_WAIT, soonest)
            waits.append(soonest)
            finish[domain] = min(max(soonest, last), max(LONGEST_SPREAD, soonest))
        return Granted(dict(zip(domains, granted, strict=True)), min(waits), finish, relay_wait)

    def refund(self, relay: str, rates: Sequence[Rate], domains: Mapping[str, int], now: float) -> None:
        """Put back tokens of messages that did not go; the latest first."""
        for rate in rates:
            self._used(relay, rate, now)
            cells, back = self.taken[relay, rate.seconds], sum(domains.values())
            for place in sorted(cells, reverse=True):
                part = min(back, cells[place])
                cells[place] -= part
                back -= part
        for domain, number in domains.items():
            if limit := self._limit(domain, now):
                limit.tokens = min(max(1.0, limit.current(now) * BURST_SECONDS), limit.tokens + number)
            minute = self.sent.get(_minute(now), {})
            minute[domain] = max(0, minute.get(domain, 0) - number)

    def slow_down(self, domain: str, recent_rate: float, now: float) -> float:
        """Halve the domain's rate, or give it one: half of what went there in the last minute; the new rate."""
        limit = self._limit(domain, now)
        if limit is None:
            measured = max(self.recent_rate(domain, now), recent_rate, 2 * FLOOR)
            limit = self.limits[domain] = Limit(measured / 2, measured, now, 0.0, now)
        elif now - limit.slowed_at >= SAME_SECONDS:
            limit.rate, limit.slowed_at, limit.tokens = max(FLOOR, limit.current(now) / 2), now, 0.0
        return limit.current(now)

    def recent_rate(self, domain: str, now: float) -> float:
        """Messages a second granted for the domain in the last minute, as minutes tell it."""
        minute = _minute(now)
        last, this = (self.sent.get(m, {}).get(domain, 0) for m in (minute - 1, minute))
        return (this + last * (1 - (now - minute * 60) / 60)) / 60

    def _allowed(self, domain: str, number: int, now: float) -> int:
        limit = self._limit(domain, now)
        return number if limit is None else min(number, math.floor(limit.tokens))

    def _limit(self, domain: str, now: float) -> Limit | None:
        limit = self.limits.get(domain)
        if limit is None:
            return None
        limit.fill(now)
        if limit.current(now) < limit.origin:
            return limit
        del self.limits[domain]
        return None

    def _note(self, domains: Mapping[str, int], granted: Sequence[int], now: float) -> None:
        minute = _minute(now)
        self.sent = {m: counts for m, counts in self.sent.items() if minute - 1 <= m <= minute}
        counts = self.sent.setdefault(minute, {})
        for domain, number in zip(domains, granted, strict=True):
            if number:
                counts[domain] = counts.get(domain, 0) + number
            if domain in self.limits:
                self.limits[domain].tokens -= number

    def _used(self, relay: str, rate: Rate, now: float) -> int:
        """Tokens that are out; what has come back, or a clock that was set back took in the future, is forgotten."""
        place = _slice(rate, now)
        cells = self.taken.get((relay, rate.seconds), {})
        cells = {cell: number for cell, number in cells.items() if abs(cell - place) <= SLICES}
        self.taken[relay, rate.seconds] = cells
        return sum(cells.values())

    def _next_free(self, relay: str, rate: Rate, now: float) -> float:
        first = min(cell for cell, number in self.taken[relay, rate.seconds].items() if number)
        return (first + SLICES + 1) * (rate.seconds / SLICES) - now


def _slice(rate: Rate, now: float) -> int:
    return math.floor(now / (rate.seconds / SLICES))


def _minute(now: float) -> int:
    return math.floor(now / 60)
