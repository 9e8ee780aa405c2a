"""A list with many readers and new items: ``population.py DATABASE_URL SUBSCRIPTIONS [ITEMS]``.

Picks are skewed as real ones are: few follow everything, many a country or two, some a region; about one
profile for every five readers of a large list.
"""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, insert, select

from newsletter.audience.lists import create_list
from newsletter.audience.picks import Picks, profile_ids
from newsletter.catalogue.geography import countries_in
from newsletter.catalogue.items import Draft, save_items
from newsletter.catalogue.themes import Theme, add_themes
from newsletter.database import connect
from newsletter.migrations import upgrade
from newsletter.tables import lists, subscribers, subscriptions

ITEMS = 1000
THEMES = 20
STEP = 5000
SLOT = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
COUNTRIES = sorted(countries_in("001"))
REGIONS = ("013", "005", "021", "029", "011", "014", "145", "035", "034", "155", "039", "154", "002", "019")
ZONES = ("UTC", "America/Guatemala", "Europe/Paris", "Africa/Dakar", "Asia/Manila")
FREQUENCIES = ("daily", "daily", "daily", "weekly", "weekly", "monthly", "immediate")


def skewed(dice: random.Random, values: list[str], count: int) -> frozenset[str]:
    """A few values, those at the front far more often."""
    return frozenset(values[int(len(values) * dice.random() ** 3)] for _ in range(count))


def picks(dice: random.Random) -> Picks:
    """What a reader picks."""
    kind = dice.random()
    themes = [f"theme-{n}" for n in range(THEMES)]
    return Picks(
        countries=skewed(dice, COUNTRIES, dice.randint(1, 4)) if 0.05 < kind < 0.8 else frozenset(),
        regions=frozenset({dice.choice(REGIONS)}) if kind > 0.7 else frozenset(),
        themes=skewed(dice, themes, dice.randint(1, 3)) if dice.random() < 0.6 else frozenset(),
        languages=frozenset({dice.choice(("en", "es", "fr"))}) if dice.random() < 0.2 else frozenset(),
    )


def drafts(dice: random.Random, count: int) -> list[Draft]:
    """The new items."""
    return [
        Draft(
            f"Item {number}: a crossing opens a shared desk",
            "Officers on both sides share one queue, one form and one interpreter. " * 4,
            dice.choice(("en", "es", "fr")),
            url=f"https://example.org/{number}",
            published_at=SLOT - timedelta(hours=dice.randint(1, 40)),
            countries=tuple(skewed(dice, COUNTRIES, dice.randint(1, 3))),
            regions=(dice.choice(REGIONS),) if dice.random() < 0.15 else (),
            themes=tuple(f"theme-{int(THEMES * dice.random() ** 2)}" for _ in range(dice.randint(1, 2))),
        )
        for number in range(count)
    ]


def fill(connection: Connection, count: int, new_items: int = ITEMS) -> None:
    """The list, its items, and ``count`` readers who are all due."""
    dice = random.Random(1)
    create_list(
        connection,
        {
            "slug": "bench",
            "name": "Bench",
            "sender_name": "Bench",
            "sender_email": "bench@example.org",
            "postal_address": "1 Main Street",
            "languages": ["en", "es", "fr"],
            "frequency": "daily",
            "hour": 8,
            "weekday": 0,
            "timezone": "UTC",
            "max_items": 30,
        },
        SLOT,
    )
    list_id = connection.scalar(select(lists.c.id)) or 0
    add_themes(connection, list_id, [Theme(f"theme-{n}", {"en": f"Theme {n}"}, None) for n in range(THEMES)])
    save_items(connection, list_id, drafts(dice, new_items), SLOT)
    chosen = [picks(dice) for _ in range(max(50, count // 5))]
    ids = profile_ids(connection, chosen)
    for start in range(0, count, STEP):
        numbers = range(start + 1, min(start + STEP, count) + 1)
        _write(connection, subscribers, [_subscriber(dice, number) for number in numbers])
        _write(
            connection,
            subscriptions,
            [_subscription(dice, number, list_id, ids[dice.choice(chosen)]) for number in numbers],
        )


def _write(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows of the same columns, on PostgreSQL by COPY."""
    if connection.dialect.name != "postgresql":
        connection.execute(insert(table), rows)
        return
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({', '.join(rows[0])}) FROM STDIN") as copy:
        copy.write("".join("\t".join(map(str, row.values())) + "\n" for row in rows))


def _subscriber(dice: random.Random, number: int) -> dict[str, Any]:
    email = f"reader{number}@example.org"
    return {
        "id": number,
        "email": email,
        "email_key": email,
        "language": dice.choice(("en", "es", "fr")),
        "timezone": dice.choice(ZONES),
        "created_at": SLOT,
    }


def _subscription(dice: random.Random, number: int, list_id: int, profile_id: int) -> dict[str, Any]:
    return {
        "list_id": list_id,
        "subscriber_id": number,
        "profile_id": profile_id,
        "state": "active",
        "frequency": dice.choice(FREQUENCIES),
        "hour": dice.randint(5, 20),
        "weekday": dice.randint(0, 6),
        "start": 0,
        "cursor": 0,
        "due_at": SLOT,
        "created_at": SLOT,
    }


if __name__ == "__main__":
    engine = connect(sys.argv[1])
    upgrade(engine)
    with engine.begin() as opened:
        fill(opened, *map(int, sys.argv[2:4]))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as analysing:
        if engine.dialect.name == "postgresql":
            analysing.exec_driver_sql("VACUUM ANALYZE")
    print("{}")
