"""A small list, made and driven without waiting: the functions that the tasks are shells around."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, select, update

from newsletter.audience.addresses import parse_address
from newsletter.audience.lists import create_list
from newsletter.audience.picks import Picks
from newsletter.audience.schedule import Schedule
from newsletter.audience.subscribers import subscribe
from newsletter.catalogue.items import Draft, save_items
from newsletter.catalogue.themes import Theme, add_themes
from newsletter.delivery import dispatch
from newsletter.digests import runs, upkeep
from newsletter.languages import LANGUAGES
from newsletter.settings import Settings
from newsletter.tables import deliveries, items, lists, subscriptions

START = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
THEMES = ("protection", "children", "trade")


@dataclass
class House:
    """A list and a clock that stands still until it is moved."""

    engine: Engine
    settings: Settings
    now: datetime = START
    list_id: int = 0

    def clock(self) -> datetime:
        return self.now

    def create(self, **values: Any) -> House:
        with self.engine.begin() as connection:
            create_list(
                connection,
                {
                    "slug": "rutas",
                    "name": "Rutas",
                    "sender_name": "Rutas",
                    "sender_email": "digest@rutas.example",
                    "postal_address": "24 Calle Segunda, Guatemala City",
                    "languages": list(LANGUAGES),
                    "frequency": "daily",
                    "hour": 8,
                    "weekday": 0,
                    "timezone": "UTC",
                    "max_items": 30,
                    **values,
                },
                self.now,
            )
            self.list_id = connection.execute(select(lists.c.id)).scalar_one()
            parents = {"children": "protection"}
            add_themes(connection, self.list_id, [Theme(s, {"en": s.title()}, parents.get(s)) for s in THEMES])
        return self

    def publish(self, *titles: str, **tags: Any) -> list[int]:
        """Publish items; their ids."""
        drafts = [
            Draft(title, f"Summary of {title}.", tags.pop("language", "en"), url=f"https://e.example/{title}", **tags)
            for title in titles
        ]
        with self.engine.begin() as connection:
            save_items(connection, self.list_id, drafts, self.now)
            rows = connection.execute(select(items.c.title, items.c.id)).all()
        by_title = {row.title: row.id for row in rows}
        return [by_title[title] for title in titles]

    def subscribe(self, email: str, picks: Picks | None = None, frequency: str = "daily", **values: Any) -> int:
        with self.engine.begin() as connection:
            return subscribe(
                connection,
                self.list_id,
                parse_address(email),
                picks or Picks(),
                Schedule(frequency, values.pop("hour", 8), values.pop("weekday", 0)),
                **{
                    "keys": self.settings.keys,
                    "name": "",
                    "language": "en",
                    "timezone": "UTC",
                    "cursor": 0,
                    "due_at": self.now,
                    "source": "test",
                    "now": self.now,
                    **values,
                },
            )

    def tick(self) -> None:
        """What a tick and the tasks it rings for do."""
        upkeep.keep_up(self.engine, self.now)
        dispatch.sweep(self.engine, self.settings, self.now)
        runs.open_due_runs(self.engine, self.now.replace(microsecond=0))
        for run_id, _ in dispatch.assemblies(self.engine, 1):
            runs.assemble(self.engine, run_id, self.now)

    def send(self) -> Any:
        return dispatch.dispatch(self.engine, self.settings, self.clock)

    def pass_time(self, **delta: int) -> None:
        self.now += timedelta(**delta)

    def delivery(self, email_or_id: int) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(
                select(deliveries).where(deliveries.c.subscription_id == email_or_id).order_by(deliveries.c.id.desc())
            ).first()

    def states(self, subscription_id: int) -> list[str]:
        with self.engine.connect() as connection:
            statement = select(deliveries.c.state).where(deliveries.c.subscription_id == subscription_id)
            return list(connection.scalars(statement.order_by(deliveries.c.id)))

    def cursor(self, subscription_id: int) -> int:
        with self.engine.connect() as connection:
            statement = select(subscriptions.c.cursor).where(subscriptions.c.id == subscription_id)
            return int(connection.execute(statement).scalar_one())

    def set(self, subscription_id: int, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(update(subscriptions).where(subscriptions.c.id == subscription_id).values(**values))
