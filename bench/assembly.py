"""Assembly of one run, as the tasks do it: ``assembly.py DATABASE_URL PROCESSES`` prints JSON."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

from population import SLOT
from sqlalchemy import Engine, func, select, text

from newsletter.database import connect
from newsletter.digests import runs
from newsletter.tables import deliveries, editions, items, profiles, subscriptions
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


class Server:
    """The processes of a PostgreSQL on this machine, seen from outside; sees nothing of another machine's."""

    def __init__(self, engine: Engine) -> None:
        """Find the postmaster: it is the parent of our own backend."""
        self.peak_mb = 0.0
        self._postmaster = 0
        if engine.dialect.name == "postgresql":
            with engine.connect() as connection:
                backend = connection.scalar(text("SELECT pg_backend_pid()"))
            if (stat := _stat(Path(f"/proc/{backend}"))) and "postgres" in stat[0]:
                self._postmaster = int(stat[2])
                Thread(target=self._watch, daemon=True).start()
        self._began = self._seconds()

    @property
    def cpu(self) -> float:
        """Seconds of CPU since we began, of all its processes, also those that have ended."""
        return self._seconds() - self._began

    def _processes(self) -> list[Path]:
        stats = ((path, _stat(path)) for path in Path("/proc").glob("[0-9]*"))
        return [path for path, stat in stats if stat and int(stat[2]) == self._postmaster]

    def _seconds(self) -> float:
        if not self._postmaster:
            return 0.0
        fields = [(stat[12], stat[13]) for path in self._processes() if (stat := _stat(path))]
        main = _stat(Path(f"/proc/{self._postmaster}"))
        fields += [(main[12], main[13]), (main[14], main[15])] if main else []
        return sum(int(user) + int(system) for user, system in fields) / os.sysconf("SC_CLK_TCK")

    def _watch(self) -> None:
        """Keep the greatest private memory of a process: what it shares with the others is ``shared_buffers``."""
        while True:
            for process in self._processes():
                with suppress(OSError):
                    found = re.search(r"RssAnon:\s+(\d+) kB", (process / "status").read_text())
                    self.peak_mb = max(self.peak_mb, int(found[1]) / 1024 if found else 0)
            time.sleep(0.2)


def _stat(process: Path) -> list[str] | None:
    """The fields of ``/proc/PID/stat`` from the name on (proc(5): 2 to the end); None if it is gone."""
    try:
        name, _, rest = (process / "stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return None
    return [name, *rest.split()]


if __name__ == "__main__":
    url, processes = sys.argv[1], int(sys.argv[2])
    if processes == 0:
        work(url)
        sys.exit()
    engine = connect(url)
    runs.open_due_runs(engine, SLOT)
    server = Server(engine)
    began = time.perf_counter()
    workers = [subprocess.Popen([sys.executable, __file__, url, "0"]) for _ in range(processes)]
    assert not any(worker.wait() for worker in workers)
    seconds = time.perf_counter() - began
    cpu, peak = usage(resource.RUSAGE_CHILDREN)
    server_cpu = server.cpu
    with engine.connect() as connection:
        counted = (subscriptions, items, profiles, editions, deliveries)
        counts = {t.name: connection.scalar(select(func.count()).select_from(t)) for t in counted}
        assert connection.scalar(select(runs_table.c.examined)) == counts["subscriptions"]
    result = {
        "database": engine.dialect.name,
        "subscriptions": counts["subscriptions"],
        "items": counts["items"],
        "profiles": counts["profiles"],
        "processes": processes,
        "editions": counts["editions"],
        "digests": counts["deliveries"],
        "seconds": round(seconds, 1),
        "cpu": round(cpu, 1),
        "server_cpu": round(server_cpu, 1),
        "peak_mb": round(peak),
        "server_peak_mb": round(server.peak_mb),
    }
    print(json.dumps(result))
