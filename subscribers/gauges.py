"""What waits in the database, asked when Prometheus does. Only numbers: nothing about any one reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Connection, func, select

from newsletter.database import reading
from newsletter.delivery import resting
from newsletter.delivery.relays import relays_of
from newsletter.digests.oversight import UNFINISHED
from newsletter.tables import CLAIMABLE, CLOSED, OPEN, deliveries, notices, runs
from subscribers.site import Site

DAY = timedelta(hours=24)


def gauges(site: Site) -> bytes:
    """The state of the house in the format of Prometheus."""
    with reading(site.engine) as connection:
        found = _Found(list(_families(connection, site)))
    registry = CollectorRegistry()
    registry.register(found)
    return generate_latest(registry)


class _Found(Collector):
    def __init__(self, families: Sequence[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._families


def _families(connection: Connection, site: Site) -> Iterable[GaugeMetricFamily]:
    now = site.clock()
    yield _by_state(
        "newsletter_deliveries_open", "Deliveries that are not done, by state", OPEN, _open_deliveries(connection)
    )
    yield _by_state(
        "newsletter_deliveries_closed_24h",
        "Deliveries that are done, of the runs opened in the last 24 hours, by state",
        CLOSED,
        _closed_deliveries(connection, now),
    )
    yield _one(
        "newsletter_delivery_oldest_due_seconds",
        "How long the oldest delivery that may be sent has been due",
        _age(connection, now),
    )
    yield _by_state("newsletter_runs_open", "Runs that are not done, by state", UNFINISHED, _open_runs(connection))
    waiting = select(func.count()).select_from(notices).where(notices.c.due_at.is_not(None))
    yield _one(
        "newsletter_notices_waiting", "Transactional mails that are not out yet", connection.scalar(waiting) or 0
    )
    states = resting.states(connection, relays_of(site.settings)).values()
    words = [state.word(now) for state in states]
    yield _by_state(
        "newsletter_relays",
        "Relays by state",
        ("ready", "resting", "paused"),
        {word: words.count(word) for word in words},
    )


# An index answers each of these: they cost what is open or was sent in a day, not what there ever was.


def _open_deliveries(connection: Connection) -> dict[str, int]:
    statement = select(deliveries.c.state, func.count()).where(deliveries.c.state.in_(OPEN))
    return _counts(connection, statement.group_by(deliveries.c.state))


def _closed_deliveries(connection: Connection, now: datetime) -> Mapping[str, int]:
    recent = list(connection.scalars(select(runs.c.id).where(runs.c.opened_at > now - DAY)))
    statement = (
        select(deliveries.c.state, func.count())
        .where(deliveries.c.run_id.in_(recent), deliveries.c.state.in_(CLOSED))
        .group_by(deliveries.c.state)
    )
    return _counts(connection, statement)


def _open_runs(connection: Connection) -> dict[str, int]:
    statement = select(runs.c.state, func.count()).where(runs.c.state.in_(UNFINISHED)).group_by(runs.c.state)
    return _counts(connection, statement)


def _counts(connection: Connection, statement: Any) -> dict[str, int]:
    return {row[0]: row[1] for row in connection.execute(statement)}


def _age(connection: Connection, now: datetime) -> float:
    oldest = connection.scalar(
        select(deliveries.c.due_at)
        .where(deliveries.c.state.in_(CLAIMABLE))
        .order_by(deliveries.c.due_at, deliveries.c.id)
        .limit(1)
    )
    return max(0.0, (now - oldest).total_seconds()) if oldest else 0.0


def _by_state(name: str, said: str, states: Sequence[str], found: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, said, labels=("state",))
    for state in states:
        family.add_metric([state], found.get(state, 0))
    return family


def _one(name: str, said: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, said, value=value)
