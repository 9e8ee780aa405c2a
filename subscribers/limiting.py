"""How often somebody may have us send mail, by network and by address, counted in Redis for all processes together.

Windows slide. What is counted is named by a keyed hash: Redis holds no address. While it does not answer, each process
counts for itself, with the same limits: a page is never refused for it, and nobody gets to send without limit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from functools import cached_property
from threading import Lock
from typing import Literal

import structlog
from fastapi import Request
from limits import RateLimitItem, parse_many
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import RateLimiter, SlidingWindowCounterRateLimiter

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
    def _shared(self) -> RateLimiter:
        storage = RedisStorage(
            self._url,
            wrap_exceptions=True,
            key_prefix="newsletter-limit",
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
        )
        return SlidingWindowCounterRateLimiter(storage)

    def allow(self, kind: Kind, who: str) -> bool:
        """Count one more of this kind for ``who``; False if that is too many."""
        return self.wait(kind, who) == 0

    def wait(self, kind: Kind, who: str) -> float:
        """Count one more of this kind for ``who``: 0, or the seconds until it is worth trying again."""
        name = keyed_hash(self._key, f"limit.{kind}", who)[:32]
        if self._url and time.monotonic() >= self._away_until:
            try:
                return _hit(self._shared, self._rates[kind], kind, name)
            except StorageError:
                self._note_away()
        return _hit(self._here, self._rates[kind], kind, name)

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
        seconds = self.wait(kind, network) or self.wait(of_address, address)
        if seconds:
            raise TooMany(seconds)

    def _note_away(self) -> None:
        with self._lock:
            told = time.monotonic() < self._away_until
            self._away_until = time.monotonic() + AWAY
        if not told:
            log.warning("Redis does not answer: this process counts requests by itself")


def _hit(limiter: RateLimiter, rates: list[RateLimitItem], kind: Kind, name: str) -> float:
    for rate in rates:
        if not limiter.hit(rate, kind, name):
            return max(1.0, limiter.get_window_stats(rate, kind, name).reset_time - time.time())
    return 0.0


def client_network(request: Request) -> str:
    """The network that a request comes from; who has no address of IP (a socket of this machine) is one of them."""
    return network_of(request.client.host if request.client else None) or "none"
