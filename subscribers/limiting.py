"""How often somebody may have us send mail, by network and by address, counted in Redis for all processes together.

Windows slide. What is counted is named by a keyed hash: Redis holds no address. While it does not answer, each process
counts for itself, with the same limits: a page is never refused for it, and nobody gets to send without limit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from threading import Lock
from typing import Literal

import structlog
from fastapi import Request
from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import RateLimiter, SlidingWindowCounterRateLimiter
from redis import RedisError

from newsletter.audience.consents import network_of
from newsletter.audience.suppressions import keyed_hash

Kind = Literal[
    "signup",
    "signup_plain",
    "signup_address",
    "account",
    "account_address",
    "resend",
    "resend_address",
    "api",
]
RATES: Mapping[Kind, str] = {
    "signup": "60/hour; 300/day",
    "signup_plain": "20/hour; 100/day",
    "signup_address": "5/hour; 10/day",
    "account": "30/hour; 100/day",
    "account_address": "3/hour; 10/day",
    "resend": "30/hour; 100/day",
    "resend_address": "3/hour; 10/day",
    "api": "3000/minute",
}
"""Of a network: a /24, or /48 of IPv6, which may be a whole office. ``signup_plain``: without the mark of our own form,
as other sites' forms send it, and most programs. ``…_address``: for one address. ``api``: of one token."""
PATIENCE = 0.5
"""Seconds that Redis has for each step of an answer."""
AWAY = 5.0
"""Seconds that a Redis that did not answer is not asked again."""

EACH = b"""
local function hit(KEYS, ARGV)
%s
end
for i = 1, #KEYS, 2 do
    if not hit({KEYS[i], KEYS[i + 1]}, {ARGV[i], ARGV[i + 1], 1}) then
        return (i + 1) / 2
    end
end
return 0
"""
"""The library's own script for one hit, for each of several: 0, or the number of the first that is too many."""
Hit = tuple[RateLimitItem, tuple[str, str]]
"""A rate, and whose."""

log = structlog.get_logger("site")


class TooMany(Exception):
    """Somebody asked too often; in so many ``seconds`` it is worth trying again."""

    def __init__(self, seconds: float) -> None:
        super().__init__("too many requests")
        self.seconds = seconds

    @property
    def retry_after(self) -> str:
        """As the header wants it (RFC 9110, 10.2.3)."""
        return str(max(1, math.ceil(self.seconds)))


class Limiter:
    """Counts what was asked for. It may be asked from several threads."""

    def __init__(self, key: str, redis_url: str, rates: Mapping[Kind, str] = RATES) -> None:
        """``key``: what names are hashed with. Without ``redis_url`` this process counts for itself."""
        self._key, self._url = key, redis_url
        self._rates: dict[Kind, list[RateLimitItem]] = {kind: parse_many(text) for kind, text in rates.items()}
        self._here = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._away_until = 0.0
        self._lock = Lock()

    @cached_property
    def _shared(self) -> _Shared:
        return _Shared(self._url)

    def wait(self, *asked: tuple[Kind, str]) -> float:
        """Count one more of each kind for whom it is asked: 0, or the seconds until it is worth trying again.

        What comes after the first that is too many is not counted.
        """
        hits = [
            (rate, (kind, keyed_hash(self._key, f"limit.{kind}", who)[:32]))
            for kind, who in asked
            for rate in self._rates[kind]
        ]
        if self._url and time.monotonic() >= self._away_until:
            try:
                return self._shared.wait(hits)
            except RedisError:
                self._note_away()
        return next((_until(self._here, *hit) for hit in hits if not self._here.hit(hit[0], *hit[1])), 0.0)

    def admit(self, kind: Literal["signup", "signup_plain", "account", "resend"], network: str, address: str) -> None:
        """Count one more, from a network (``client_network``) and for an address in its comparable form.

        Raises:
            TooMany: from this network, or for this address, were too many lately.
        """
        of_address: Kind = "signup_address"
        if kind == "account":
            of_address = "account_address"
        elif kind == "resend":
            of_address = "resend_address"
        # The network first: who asks for many addresses is not to use up those of others.
        seconds = self.wait((kind, network), (of_address, address))
        if seconds:
            raise TooMany(seconds)

    def _note_away(self) -> None:
        with self._lock:
            told = time.monotonic() < self._away_until
            self._away_until = time.monotonic() + AWAY
        if not told:
            log.warning("Redis does not answer: this process counts requests by itself")


class _Shared:
    """Counts in Redis, all that one request asks for in one trip."""

    def __init__(self, url: str) -> None:
        self._storage = RedisStorage(
            url,
            key_prefix="newsletter-limit",
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
        )
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)
        self._script = self._storage.get_connection().register_script(
            EACH % self._storage.SCRIPT_ACQUIRE_SLIDING_WINDOW
        )

    def wait(self, hits: Sequence[Hit]) -> float:
        """As ``Limiter.wait``."""
        keys, numbers = [], []
        for rate, whose in hits:
            current = self._storage.prefixed_key(f"{{{rate.key_for(*whose)}}}")
            keys += [f"{current}/-1", current]
            numbers += [rate.amount, rate.get_expiry()]
        refused = self._script(keys, numbers)
        return _until(self._limiter, *hits[refused - 1]) if refused else 0.0


def _until(limiter: RateLimiter, rate: RateLimitItem, whose: tuple[str, str]) -> float:
    return max(1.0, limiter.get_window_stats(rate, *whose).reset_time - time.time())


def client_network(request: Request) -> str:
    """The network that a request comes from; who has no address of IP (a socket of this machine) is one of them."""
    return network_of(request.client.host if request.client else None) or "none"
