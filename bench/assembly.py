"""Assembly of one run, as the tasks do it: ``assembly.py DATABASE_URL PROCESSES`` prints JSON."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

from population import ITEMS, SLOT
from sqlalchemy import func, select

from newsletter.database import connect
from newsletter.digests import runs
from newsletter.tables import deliveries, profiles, subscriptions
from newsletter.tables import runs as runs_table


def work(url: str) -> None:
    """One worker's part: all shards that it can get hold of."""
    engine = connect(url)
    with engine.connect() as connection:
        run_id = connection.scalar(select(runs_table.c.id)) or 0
    runs.assemble(engine, run_id, SLOT)
    engine.dispose()


def usage(who: int) -> tuple[float, float]:
    """Seconds of CPU and peak of memory in MB."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


if __name__ == "__main__":
    url, processes = sys.argv[1], int(sys.argv[2])
    if processes == 0:
        work(url)
        sys.exit()
    engine = connect(url)
    runs.open_due_runs(engine, SLOT)
    began = time.perf_counter()
    workers = [subprocess.Popen([sys.executable, __file__, url, "0"]) for _ in range(processes)]
    assert not any(worker.wait() for worker in workers)
    seconds = time.perf_counter() - began
    cpu, peak = usage(resource.RUSAGE_CHILDREN)
    with engine.connect() as connection:
        counts = [connection.scalar(select(func.count()).select_from(t)) for t in (subscriptions, profiles, deliveries)]
        assert connection.scalar(select(runs_table.c.examined)) == counts[0]
    result = {
        "database": engine.dialect.name,
        "subscriptions": counts[0],
        "items": ITEMS,
        "profiles": counts[1],
        "processes": processes,
        "digests": counts[2],
        "seconds": round(seconds, 1),
        "cpu": round(cpu, 1),
        "peak_mb": round(peak),
    }
    print(json.dumps(result))
