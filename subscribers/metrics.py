"""Counts of what the site does, for Prometheus. No label ever holds an address, a token or a path as it was asked.

With several processes behind one port, each scrape reaches one of them: with ``PROMETHEUS_MULTIPROC_DIR`` set they keep
their counts in that folder, and whichever is asked gives them all.
"""

from __future__ import annotations

import os
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from sqlalchemy import Connection, Engine, event

from newsletter.tables import consents

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_PENDING = "newsletter.metrics"

# Half as many lines again, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The counts of one site."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "newsletter_http_requests",
            "Requests answered",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "newsletter_http_request_seconds",
            "Time until a request was answered",
            ("route",),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._events = {
            "asked": Counter("newsletter_signups", "Subscriptions asked for", registry=self._registry),
            "confirmed": Counter("newsletter_confirmations", "Subscriptions confirmed", registry=self._registry),
            "unsubscribed": Counter("newsletter_leavings", "Subscriptions ended", registry=self._registry),
        }

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer, which was complete after so many seconds; ``route``: its template."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """The counts of this process, or of all that share a folder, in the format of Prometheus."""
        registry = self._registry
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def watch(self, engine: Engine) -> None:
        """Count sign-ups, confirmations and leavings by what is written into the consent history, once it is kept.

        Each of them writes a line there, whichever page or request it came by.
        """

        @event.listens_for(engine, "after_execute")
        def written(connection: Connection, _statement: Any, _many: Any, _one: Any, _options: Any, result: Any) -> None:
            context = result.context
            # What reads its rows from another table may find none.
            if context.isinsert and context.compiled.statement.table is consents and result.rowcount:
                rows = context.compiled_parameters
                connection.info.setdefault(_PENDING, []).extend(row["event"] for row in rows)

        @event.listens_for(engine, "commit")
        def kept(connection: Connection) -> None:
            for name in connection.info.pop(_PENDING, ()):
                if name in self._events:
                    self._events[name].inc()

        @event.listens_for(engine, "rollback")
        def undone(connection: Connection) -> None:
            connection.info.pop(_PENDING, None)
