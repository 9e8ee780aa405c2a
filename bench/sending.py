"""The whole way from assembled deliveries to settled ones, through real Celery workers, to a sink.

``sending.py DATABASE_URL DELIVERIES PROCESSES SINK_PORT[?OPTIONS] [NAME=VALUE …]`` prints JSON.
Every reader has a profile and a selection of their own, of which there are 161,700:
15 items, about 30 KB. Names are settings of the worker,
without the prefix.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import combinations, cycle, islice
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "tests")]

from population import COUNTRIES, SLOT
from sqlalchemy import Connection, Engine, func, insert, select
from stack import Stack

from newsletter.audience.addresses import parse_address
from newsletter.audience.lists import create_list
from newsletter.audience.picks import Picks, profile_ids
from newsletter.audience.schedule import Schedule
from newsletter.audience.subscribers import subscribe
from newsletter.catalogue.items import Draft, save_items
from newsletter.catalogue.themes import Theme, add_themes
from newsletter.database import connect
from newsletter.delivery.composing.letters import Letters
from newsletter.delivery.ledger import as_claimed, select_by_ids
from newsletter.digests import runs
from newsletter.migrations import upgrade
from newsletter.settings import load_settings
from newsletter.tables import CLAIMABLE, deliveries, lists, notices, subscribers, subscriptions

KEY = "bench-" * 8
SITE = "https://news.example.org"
PATIENCE = 600
PER_COUNTRY, PICKED, COUNTRIES_USED = 5, 3, 100
SUMMARY = (
    "Officers on both sides of the crossing share one queue, one form and one interpreter, and the wait fell from "
    "six hours to two. Families with small children are called first, and who has to come back gets an hour and a name "
    "to ask for. The desk is paid for one year, by both towns."
)


def fill(connection: Connection, count: int) -> None:
    """a list, 500 items, and ``count`` readers, each with picks of their own that 15 items fit."""
    dice = random.Random(7)
    values = {
        "slug": "bench",
        "name": "Bench",
        "sender_name": "Bench",
        "sender_email": "bench@example.org",
        "postal_address": "1 Main Street, Town",
        "languages": ["en", "es", "fr"],
        "frequency": "daily",
        "hour": 8,
        "weekday": 0,
        "timezone": "UTC",
        "max_items": 30,
    }
    create_list(connection, values, SLOT)
    list_id = connection.scalar(select(lists.c.id)) or 0
    add_themes(connection, list_id, [Theme(f"theme-{n}", {"en": f"Theme number {n}"}, None) for n in range(20)])
    used = COUNTRIES[:COUNTRIES_USED]
    drafts = [
        Draft(
            f"Item {number}: a crossing opens one shared desk for both sides",
            SUMMARY,
            "en",
            url=f"https://example.org/news/2026/{number}",
            source="Bench Desk",
            published_at=SLOT - timedelta(hours=dice.randint(1, 40)),
            countries=(used[number % COUNTRIES_USED],),
            themes=(f"theme-{dice.randrange(20)}", f"theme-{dice.randrange(20)}"),
        )
        for number in range(COUNTRIES_USED * PER_COUNTRY)
    ]
    save_items(connection, list_id, drafts, SLOT)
    chosen = [Picks(countries=frozenset(some)) for some in islice(cycle(combinations(used, PICKED)), count)]
    ids = profile_ids(connection, chosen)
    numbers = range(1, count + 1)
    now = datetime.now(UTC).replace(microsecond=0)
    for start in range(0, count, 5000):
        part = numbers[start : start + 5000]
        emails = {number: f"reader{number}@example.org" for number in part}
        people = [
            {"id": n, "email": e, "email_key": e, "name": f"Reader {n}", "language": "en", "timezone": "UTC"}
            for n, e in emails.items()
        ]
        connection.execute(insert(subscribers).values(created_at=SLOT), people)
        rows = [{"subscriber_id": n, "profile_id": ids[chosen[n - 1]]} for n in part]
        same = {"list_id": list_id, "state": "active", "frequency": "daily", "hour": 8, "weekday": 0}
        connection.execute(insert(subscriptions).values(**same, start=0, cursor=0, due_at=now, created_at=SLOT), rows)
    if connection.dialect.name == "postgresql":
        # Numbers were given by hand; who asks for the list later gets the next.
        connection.execute(select(func.setval(func.pg_get_serial_sequence("subscribers", "id"), count)))


def prepare(url: str, count: int) -> Engine:
    """The database with ``count`` deliveries, assembled and queued."""
    engine = connect(url)
    upgrade(engine)
    with engine.begin() as connection:
        fill(connection, count)
    now = datetime.now(UTC).replace(microsecond=0)
    runs.open_due_runs(engine, now)
    with engine.connect() as connection:
        (run_id,) = runs.unfinished(connection)
    runs.assemble(engine, run_id, now)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as analysing:
        if engine.dialect.name == "postgresql":
            analysing.exec_driver_sql("VACUUM ANALYZE")
    return engine


def mean_size(engine: Engine, settings: Any) -> int:
    """Bytes of a message, as it goes to the relay."""
    letters = Letters(engine, settings)
    with engine.connect() as connection:
        rows = select_by_ids(connection, list(connection.scalars(select(deliveries.c.id).limit(50))))
    made = [letters.compose(as_claimed(row, datetime.now(UTC))) for row in rows]
    return round(sum(len(message.content) for message in made if message) / len(made))


def open_left(engine: Engine) -> bool:
    """Whether any delivery waits or is being sent."""
    with engine.connect().execution_options(read_only=True) as connection:
        statement = select(deliveries.c.id).where(deliveries.c.state.in_(CLAIMABLE)).limit(1)
        return connection.scalar(statement) is not None


def cpu_seconds(pid: int) -> float:
    """CPU that a process and its children have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(cpu_seconds(int(child)) for child in children)


def peak_mb(pid: int) -> float:
    """The largest peak of memory among a process and its children."""
    status = Path(f"/proc/{pid}/status").read_text()
    own = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return max([own, *(peak_mb(int(child)) for child in children)])


def ask(engine: Engine, count: int, waits: list[float]) -> None:
    """Have ``count`` people ask for the list, one after the other, and note how long each confirmation mail took."""
    for number in range(count):
        now = datetime.now(UTC)
        with engine.begin() as connection:
            asked = subscribe(
                connection,
                connection.execute(select(lists.c.id)).scalar_one(),
                parse_address(f"new{number}@example.org"),
                Picks(),
                Schedule("daily", 8, 0),
                keys=(KEY,),
                name="",
                language="en",
                timezone="UTC",
                cursor=0,
                due_at=None,
                source="bench",
                now=now,
            )
        began = time.perf_counter()
        whose = select(subscriptions.c.subscriber_id).where(subscriptions.c.id == asked).scalar_subquery()
        waiting = select(notices.c.due_at).where(notices.c.subscriber_id == whose)
        while True:
            with engine.connect().execution_options(read_only=True) as connection:
                if connection.scalar(waiting) is None:
                    break
            assert time.perf_counter() - began < PATIENCE
            time.sleep(0.02)
        waits.append(time.perf_counter() - began)
        time.sleep(0.2)


def measure(url: str, count: int, processes: int, port: str, extra: dict[str, str]) -> dict[str, Any]:
    """Messages a second from the first ring of the bell until every delivery is settled."""
    confirmations = int(extra.pop("confirmations", 0))
    engine = prepare(url, count)
    values = {
        "NEWSLETTER_DATABASE_URL": url,
        "NEWSLETTER_SMTP_URL": f"smtp://127.0.0.1:{port}",
        "NEWSLETTER_BASE_URL": SITE,
        "NEWSLETTER_SECRET_KEY": KEY,
        "NEWSLETTER_WORKERS": str(processes),
        "NEWSLETTER_LEASE_SECONDS": "600",
        **{f"NEWSLETTER_{name.upper()}": value for name, value in extra.items()},
    }
    size = mean_size(engine, load_settings(base_url=SITE, secret_key=KEY))
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), values) as stack:
        (worker,) = stack.start("worker")
        stack.supervisor.wait_for(worker, lambda: "ready." in worker.log.read_text("utf-8", "replace"))
        os.environ.update(stack.environment)
        from worker.app import app

        time.sleep(1)
        assert worker.process is not None
        cpu = cpu_seconds(worker.process.pid)
        began, rung = time.perf_counter(), datetime.now(UTC)
        for _ in range(processes):
            app.send_task("newsletter.deliver")
        waits: list[float] = []
        asking = threading.Thread(target=ask, args=(engine, confirmations, waits))
        asking.start()
        while open_left(engine):
            assert worker.running, worker.last_words()
            assert time.perf_counter() - began < PATIENCE, worker.last_words()
            # Seldom, since to look takes CPU that the workers want: the end is in the ledger.
            time.sleep(0.5)
        asking.join()
        used, peak = cpu_seconds(worker.process.pid) - cpu, peak_mb(worker.process.pid)
    with engine.connect() as connection:
        states = dict(connection.execute(select(deliveries.c.state, func.count()).group_by(deliveries.c.state)).all())
        seconds = (connection.scalar(select(func.max(deliveries.c.closed_at))) - rung).total_seconds()
    assert states == {"sent": count}, states
    engine.dispose()
    return {
        "database": engine.dialect.name,
        "deliveries": count,
        "processes": processes,
        "bytes": size,
        "seconds": round(seconds, 2),
        "per_second": round(count / seconds),
        "worker_cpu_us": round(used / count * 1e6),
        "worker_peak_mb": round(peak),
        **({"confirmed_within": round(max(waits), 2)} if waits else {}),
    }


if __name__ == "__main__":
    pairs = dict(argument.split("=", 1) for argument in sys.argv[5:])
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], pairs)))
