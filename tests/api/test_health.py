"""What watches the site is told: alive, ready and why not, and counts that name nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from house import House
from prometheus_client.parser import text_string_to_metric_families
from sites import asking, listening
from sqlalchemy import text, update
from valkeys import running_valkey

from newsletter.audience.links import make_token
from newsletter.audience.subscribers import confirm
from newsletter.audience.suppressions import suppress
from newsletter.database import connect
from newsletter.tables import consents, metadata, notices, relays
from subscribers.app import site_app

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(client: httpx.Client) -> Samples:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "@" not in answer.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[f"newsletter_{name}", frozenset(labels.items())]


def test_ready(both: House, tmp_path: Path) -> None:
    """/readyz tells of database, migrations and Redis apart, without saying where they are, and is ready without Redis,
    as the pages are; /healthz needs none."""

    def ready(**values: Any) -> tuple[int, dict[str, Any]]:
        engine, settings = values.pop("engine", both.engine), both.settings.model_copy(update=values)
        with listening(site_app(engine, settings, both.clock)) as url, asking(url) as client:
            assert client.get("/healthz").text == "ok"
            assert client.head("/healthz").status_code == 200
            answer = client.get("/readyz")
            return answer.status_code, answer.json()

    fine = {"database": "ok", "migrations": "ok"}
    with running_valkey(tmp_path) as valkey:
        assert ready(redis_url=valkey.url) == (200, {"ready": True, **fine, "redis": "ok"})
        valkey.kill()
        assert ready(redis_url=valkey.url) == (200, {"ready": True, **fine, "redis": "does not answer"})
    assert ready() == (200, {"ready": True, **fine, "redis": "not configured"})
    away = connect("postgresql://user:geheim@127.0.0.1:1/x")
    gone = {"database": "does not answer", "migrations": "not known", "redis": "not configured"}
    assert ready(engine=away) == (503, {"ready": False, **gone})
    with both.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0005'"))
    assert ready()[1]["migrations"].startswith("at 0005, this version needs ")
    metadata.drop_all(both.engine)
    with both.engine.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    assert ready()[1]["migrations"] == "none has run; run `newsletter init`"


def test_counts(both: House, machine: Any) -> None:
    """Requests by template and status; sign-ups, confirmations and leavings; what waits in the database."""
    watch = machine(["metrics:read"])
    reader = both.subscribe("ana@example.org", due_at=None)
    both.publish("one")
    for _ in range(2):
        with both.engine.begin() as connection:
            confirm(connection, both.settings.keys, reader, "test", both.now, both.now)
        assert watch.post("/u/" + make_token(both.settings.keys[0], "unsubscribe", reader)).status_code == 200
    watch.get("/nothing/at/all")
    watch.get("/api/v1/nothing")
    watch.request("PUT", "/healthz")
    found = samples(watch)
    route = {"route": "/u/{token}"}
    assert value(found, "http_requests_total", method="POST", status="200", **route) == 2
    assert value(found, "http_request_seconds_count", **route) == 2
    assert value(found, "http_requests_total", method="GET", status="404", route="none") == 1
    assert value(found, "http_requests_total", method="other", status="405", route="/healthz") == 1
    assert value(found, "http_requests_total", method="GET", status="404", route="/api/v1") == 1
    for name in ("signups_total", "confirmations_total", "leavings_total"):
        assert value(found, name) == 1


def test_the_state_of_the_house(both: House, machine: Any) -> None:
    """Deliveries by state, the oldest that is due, runs, mails that wait, relays that rest."""
    watch = machine(["metrics:read"])
    both.publish("one")
    for number in range(3):
        both.subscribe(f"r{number}@example.org")
    both.tick()
    both.pass_time(minutes=2)
    found = samples(watch)
    assert value(found, "deliveries_open", state="queued") == 3
    assert value(found, "deliveries_open", state="deferred") == 0
    assert value(found, "delivery_oldest_due_seconds") == 120
    assert value(found, "runs_open", state="sending") == 1
    assert value(found, "relays", state="ready") == 1
    with both.engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET state = 'sent' WHERE id = 1"))
        connection.execute(update(notices).values(due_at=None))
        until = both.now + timedelta(minutes=10)
        connection.execute(relays.insert().values(name="inbox", failures=1, rests_until=until))
    found = samples(watch)
    assert value(found, "deliveries_open", state="queued") == 2
    assert value(found, "deliveries_closed_24h", state="sent") == 1
    assert value(found, "relays", state="resting") == 1
    assert value(found, "notices_waiting") == 0


def test_what_was_undone_is_not_counted(house: House, machine: Any) -> None:
    """A sign-up whose transaction did not end well is none."""
    watch = machine(["metrics:read"])
    asked = {"subscriber_id": 1, "list_id": house.list_id, "at": house.now, "event": "asked", "source": "test"}
    reader = house.subscribe("ana@example.org")
    with house.engine.connect() as connection:
        connection.execute(consents.insert().values(**asked, **{"picks": {"reader": reader}}))
        connection.rollback()
    assert value(samples(watch), "signups_total") == 0
    with house.engine.begin() as connection:
        connection.execute(consents.insert(), [asked, asked])
    assert value(samples(watch), "signups_total") == 2


def test_who_must_not_be_mailed_is_not_counted(both: House, machine: Any) -> None:
    """A sign-up for an address that is suppressed is none, nor is one for an address that is on the list."""
    watch = machine(["metrics:read"])
    both.subscribe("known@example.org")
    with both.engine.begin() as connection:
        suppress(connection, both.settings.keys, "never@example.org", "complaint", both.now)
    before = value(samples(watch), "signups_total")
    for email in ("never@example.org", "known@example.org", "new@example.org"):
        assert watch.post("/rutas", data={"email": email}).status_code == 303
    assert value(samples(watch), "signups_total") == before + 1


WORKER = """
import os
from subscribers.metrics import Metrics
metrics = Metrics()
for _ in range(2):
    if os.fork() == 0:
        metrics = Metrics()
        metrics.answered("GET", "/x", 200, 0.1)
        os._exit(0)
    os.wait()
print(metrics.text().decode())
"""


def test_several_processes(tmp_path: Path) -> None:
    """With a folder to share, whichever process is asked gives the counts of all."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    shown = subprocess.run([sys.executable, "-c", WORKER], env=environment, capture_output=True, text=True, check=True)
    assert 'newsletter_http_requests_total{method="GET",route="/x",status="200"} 2.0' in shown.stdout
