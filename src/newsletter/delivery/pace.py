"""Pace: how many messages may go now through a relay and to each domain; shared by all workers through Redis.

Nothing is lost with Redis: while it is away each worker process keeps to its own small share, and goes on sending.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from newsletter.delivery.buckets import Buckets, Granted, Limit
from newsletter.delivery.relays import Rate, Relay

PREFIX = "newsletter:pace:"
AWAY_SECONDS = 5.0
"""So long a Redis that did not answer is not asked again."""
SHARE_SECONDS = 60
"""While Redis is away, longer limits count by the minute: nobody knows what of the day's is used."""

log = structlog.get_logger("newsletter.pace")


def local_share(rate: Rate, processes: int) -> Rate:
    """What one of ``processes`` may send while it knows nothing of the others: an equal part, by the minute at most."""
    seconds = min(rate.seconds, SHARE_SECONDS)
    parts = rate.seconds * processes
    count = rate.count * seconds // parts
    return Rate(count, seconds) if count else Rate(1, -(-parts // rate.count))


class Pace:
    """One a process. Asked once for each batch of deliveries; blocks for one round trip to Redis."""

    def __init__(self, redis_url: str, processes: int = 1) -> None:
        """``processes`` (workers that send) divide the rates while Redis is away; without a URL it always is."""
        self._client = None
        if redis_url:
            once_more = Retry(NoBackoff(), 1)  # a connection that Redis closed while it was idle
            self._client = redis.Redis.from_url(redis_url, socket_connect_timeout=1, socket_timeout=2, retry=once_more)
        script = files("newsletter.delivery").joinpath("pace.lua").read_text("utf-8")
        self._script = self._client.register_script(script) if self._client else None
        self._processes = max(1, processes)
        self._local = Buckets()
        self._lock = threading.Lock()
        self._away = False
        self._ask_again = 0.0

    def close(self) -> None:
        """Give the connection back."""
        if self._client:
            self._client.close()

    def grant(self, relay: Relay, domains: Mapping[str, int], now: float | None = None) -> Granted:
        """Take leave for as many of these messages (domain → how many) as may go through ``relay`` now.

        ``now``, in seconds since the epoch, is Redis's own clock unless a test gives it.
        """
        if not domains:
            return Granted({})
        reply = self._ask("grant", now, relay=relay.name, rates=_plain(relay.rates), domains=list(domains.items()))
        if reply is None:
            with self._lock:
                granted = self._local.grant(relay.name, self._shares(relay), domains, self._moment(now))
            # Its share of a day's rate is a message in minutes: nobody is to wait for that once Redis is back.
            return granted.within(AWAY_SECONDS) if self._client else granted
        if reply["limits"]:
            # What this process keeps to if Redis should go away.
            with self._lock:
                for domain, rate, origin, *rest in reply["limits"]:
                    self._local.limits[domain] = Limit(rate / self._processes, origin / self._processes, *rest)
        return Granted(
            dict(zip(domains, map(int, reply["granted"]), strict=True)),
            reply["wait"],
            {domain: seconds for domain, seconds in zip(domains, reply["finish"], strict=True) if seconds},
            reply["full"],
        )

    def refund(self, relay: Relay, domains: Mapping[str, int], now: float | None = None) -> None:
        """Give back leave that was not used: the relay went away, or the message could not be composed."""
        if not domains:
            return
        reply = self._ask("refund", now, relay=relay.name, rates=_plain(relay.rates), domains=list(domains.items()))
        if reply is None:
            with self._lock:
                self._local.refund(relay.name, self._shares(relay), domains, self._moment(now))

    def slow_down(self, domain: str, recent_rate: float = 0.0, now: float | None = None) -> float:
        """After an answer that says slower (``is_throttle``): halve the domain's rate; the new one, a second.

        Without a limit yet, from what all workers were granted for it in the last minute, or from ``recent_rate``
        if that is more. Refusals within 15 seconds halve once.
        """
        reply = self._ask("slow_down", now, domain=domain, recent=recent_rate)
        if reply is None:
            with self._lock:
                return self._local.slow_down(domain, recent_rate, self._moment(now))
        return float(reply["rate"])

    def limits(self, now: float | None = None) -> dict[str, float] | None:
        """The domains that are held back, each with its rate in messages a second; None if Redis is away."""
        reply = self._ask("show", now)
        return None if reply is None else dict(sorted(reply["limits"] or ()))

    def _shares(self, relay: Relay) -> list[Rate]:
        return [local_share(rate, self._processes) for rate in relay.rates]

    def _moment(self, now: float | None) -> float:
        return time.time() if now is None else now

    def _ask(self, act: str, now: float | None, **values: Any) -> Any:
        """The script's answer; None if there is none, which is logged once until Redis is back."""
        if self._script is None or (self._away and time.monotonic() < self._ask_again):
            return None
        try:
            reply = json.loads(self._script([PREFIX], [json.dumps({"act": act, "now": now, **values})]))
        except (redis.RedisError, OSError) as error:
            if not self._away and act != "show":
                log.warning("redis is away; this process keeps to its own share", reason=str(error)[:200])
            self._away, self._ask_again = True, time.monotonic() + AWAY_SECONDS
            return None
        if self._away:
            self._away, self._local = False, Buckets()
            log.info("redis is back; the pace is shared again")
        return reply


def _plain(rates: Sequence[Rate]) -> list[tuple[int, int]]:
    return [(rate.count, rate.seconds) for rate in rates]
