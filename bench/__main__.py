"""``make bench``: measure, print a table, and write build/bench.json. ``--json`` prints one JSON line instead.

    --full         a million subscriptions and deliveries where that is the question (an hour)
    --only A,B     some figures only

Every figure is taken in processes of its own, so that its peak of memory is its own; what is compared is measured
in the same run. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from servers import running_postgres
from sinks import far_away, round_trip, running_sink, smtp_source

OUTPUT = HERE.parent / "build" / "bench.json"
ITEMS = 1000
ROUND_TRIP, FAR_CONNECTIONS = 0.05, 10
Figure = dict[str, Any]


def measured(script: str, *arguments: object) -> dict[str, Any]:
    """The JSON that a script of this folder prints, in a process of its own."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def figure(value: float, unit: str, rival: float | None, what: str, ratio: float | None = None, **more: Any) -> Figure:
    """A value beside what it is compared with; ``ratio`` is value ÷ rival unless given."""
    if ratio is None and rival:
        ratio = value / rival
    rounded = None if ratio is None else round(ratio, 3)
    return {"value": value, "unit": unit, "rival": rival, "rival_is": what, "ratio": rounded, **more}


@contextmanager
def database(kind: str) -> Iterator[str]:
    """The URL of an empty database; PostgreSQL as it comes but for 128 MB of shared buffers."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/bench.db"
    else:
        with running_postgres("shared_buffers=128MB") as postgres:
            yield postgres.create()


class Bench:
    """The figures, each a method."""

    def __init__(self, full: bool) -> None:
        self.full = full
        self.deliveries = 150_000 if full else 100_000
        self.subscriptions = 1_000_000 if full else 100_000
        self._site: dict[str, Any] = {}

    def _against_smtp_source(self, kind: str, **options: object) -> Figure:
        """smtp-source before and after, on the same sink, with messages of the same size; the mean of the two."""
        with running_sink() as (port, sink):
            pairs = [f"{name}={value}" for name, value in options.items()]
            with database(kind) as url:
                found = measured("sending.py", url, self.deliveries, 2, port, *pairs)
            rivals = [smtp_source(port, found["bytes"], self.deliveries) for _ in range(2)]
        known = [rival for rival in rivals if rival]
        rival = round(sum(known) / len(known)) if known else None
        return figure(found["per_second"], "messages/s", rival, f"smtp-source -s 4 -d on the same {sink}", **found)

    def end_to_end(self) -> Figure:
        """Assembled deliveries in PostgreSQL to settled ones, through Celery."""
        return self._against_smtp_source("postgresql")

    def end_to_end_embedded(self) -> Figure:
        """The same on SQLite and the embedded Valkey."""
        return self._against_smtp_source("sqlite")

    def dkim_rsa(self) -> Figure:
        """The same, each message signed with RSA-2048."""
        with tempfile.TemporaryDirectory() as folder:
            key = Path(folder) / "key.pem"
            subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
            return self._against_smtp_source("postgresql", dkim_key_file=key)

    def far_relay(self) -> Figure:
        """A relay 50 ms away, ten connections of one process."""
        with running_sink() as (port, _), far_away(port, ROUND_TRIP) as far, database("postgresql") as url:
            found = measured("sending.py", url, 10_000, 1, f"{far}?connections={FAR_CONNECTIONS}")
            # The delay is simulated, and a timer is never early.
            seconds = round_trip(far, found["bytes"], FAR_CONNECTIONS)
        what = f"connections ÷ round trip of a message, {seconds * 1000:.1f} ms"
        return figure(found["per_second"], "messages/s", round(FAR_CONNECTIONS / seconds), what, **found)

    def assembly(self) -> Figure:
        """One run of a large list with 1,000 new items, two processes."""
        found = self._assembled(self.subscriptions)
        bar = 40 * self.subscriptions / 1_000_000
        return figure(found["seconds"], "s", bar, "40 s for a million", **found)

    def growth(self) -> Figure:
        """Ten times the subscriptions."""
        few, many = self._assembled(self.subscriptions // 10), self._assembled(self.subscriptions)
        rival = round(10 * few["seconds"], 2)
        return figure(many["seconds"], "s", rival, "ten times the seconds of a tenth", few=few, many=many)

    def _assembled(self, size: int) -> dict[str, Any]:
        with database("postgresql") as url:
            measured("population.py", url, size, ITEMS)
            return measured("assembly.py", url, 2)

    def worker_memory(self) -> Figure:
        """The peak of a worker process after few and many deliveries."""
        with running_sink() as (port, _):
            peaks = []
            for count in (10_000, 1_000_000 if self.full else 100_000):
                with database("postgresql") as url:
                    peaks.append(measured("sending.py", url, count, 1, port))
        few, many = (found["worker_peak_mb"] for found in peaks)
        return figure(many, "MB", few, f"after 10,000 deliveries; value: after {count:,}")

    def transactional(self) -> Figure:
        """The longest that a confirmation mail waits while digests are sent, from commit to settled acceptance."""
        with running_sink() as (port, _), database("postgresql") as url:
            found = measured("sending.py", url, self.deliveries, 2, port, "confirmations=20")
        return figure(found["confirmed_within"], "s", 2.0, "2 s", **found)

    def compose(self) -> Figure:
        """One digest of 20 cards, each reader's own; CPU."""
        ways = {way: measured("rendering.py", way) for way in ("premailer-per-mail", "jinja-per-mail", "joined")}
        ours, rival = ways["joined"]["us_per_mail"], ways["premailer-per-mail"]["us_per_mail"]
        return figure(ours, "µs", rival, "premailer for each mail", ratio=rival / ours, ways=ways)

    def signing(self) -> Figure:
        """DKIM of a digest with RSA-2048, CPU; the rest is body hash, fields and base64."""
        found = measured("signing.py")
        return figure(found["rsa_us"], "µs", found["bare_us"], "the bare RSA operation; the bar: 400 µs", **found)

    def _pages(self) -> Figure:
        """What the site needs for its pages, measured once."""
        if not self._site:
            with database("postgresql") as url:
                self._site = measured("site.py", "pages", url)
        return self._site

    def subscribe_page(self) -> Figure:
        """The subscribe page with 249 countries: server time, median."""
        return figure(self._pages()["subscribe_ms"], "ms", 15.0, "15 ms")

    def live_preview(self) -> Figure:
        """How many of 5,000 items fit, and the digest of them: server time of both, median."""
        found = self._pages()
        both = round(found["count_ms"] + found["digest_ms"], 2)
        return figure(both, "ms", 30.0, "30 ms", count_ms=found["count_ms"], digest_ms=found["digest_ms"])

    def page_bytes(self) -> Figure:
        """The heaviest page with its styles and scripts, compressed, as a browser gets it at first."""
        pages = self._pages()["bytes"]
        return figure(round(max(pages.values()) / 1000, 1), "KB", 60.0, "60 KB", pages=pages)

    def sign_ups(self) -> Figure:
        """New addresses at the form, one uvicorn process against PostgreSQL and Valkey, without an error."""
        with database("postgresql") as url:
            found = measured("site.py", "sign-ups", url)
        return figure(
            found["per_second"], "/s", found["bare"]["per_second"], "a bare FastAPI page; the bar: 300", **found
        )


KEYS = (
    "end_to_end",
    "end_to_end_embedded",
    "dkim_rsa",
    "far_relay",
    "assembly",
    "worker_memory",
    "growth",
    "transactional",
    "compose",
    "signing",
    "subscribe_page",
    "live_preview",
    "page_bytes",
    "sign_ups",
)


def keys_of(text: str) -> list[str]:
    """Figures by name, parted by commas."""
    named = [name.strip() for name in text.split(",")]
    for name in named:
        if name not in KEYS:
            raise argparse.ArgumentTypeError(f"there is no figure {name!r}; there are {', '.join(KEYS)}")
    return named


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description="Measure what it takes.")
    parser.add_argument("--full", action="store_true", help="a million where that is the question (an hour)")
    parser.add_argument("--only", type=keys_of, default=KEYS, metavar="A,B", help=f"some of {', '.join(KEYS)}")
    parser.add_argument("--json", action="store_true", help="print one JSON line instead of a table")
    wanted = parser.parse_args()
    bench = Bench(wanted.full)
    console = Console(highlight=False, width=120, stderr=wanted.json)
    results: dict[str, Figure] = {}
    table = Table(box=None, title_justify="left", title="What it takes")
    for column in ("figure", "value", "unit", "rival", "ratio", "compared with"):
        table.add_column(column, justify="right" if column in ("value", "rival", "ratio") else "left")
    for key in wanted.only:
        console.print(f"  {key} …", style="dim")
        method: Callable[[], Figure] = getattr(bench, key)
        found = results[key] = method()
        value, rival, ratio = (f"{found[name]:,}" for name in ("value", "rival", "ratio"))
        table.add_row(key, value, found["unit"], rival, ratio, found["rival_is"])
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps({"machine": machine, **results}, indent=2))
    if wanted.json:
        print(json.dumps(results))
        return
    console.print(table)
    console.print(f"Written to {os.path.relpath(OUTPUT)}")


if __name__ == "__main__":
    main()
