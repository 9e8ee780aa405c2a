"""The readers' site. Prints JSON.

    site.py pages DATABASE_URL      milliseconds of pages inside the process, bytes of pages
    site.py sign-ups DATABASE_URL   sign-ups a second of one uvicorn process and its CPU for each, and the same of a
                                    bare FastAPI page in its place
    site.py bare PORT               that page

Requests go to this machine only, and end after a count of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import structlog

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

import uvicorn
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from population import COUNTRIES, SLOT, fill
from rawly import Raw, Wire
from sqlalchemy import func, select

from newsletter.cli.supervising import Supervisor, free_port, is_listening
from newsletter.database import connect
from newsletter.migrations import upgrade
from newsletter.settings import load_settings
from newsletter.tables import consents, notices, subscriptions
from subscribers.app import site_app

KEY = "bench" * 10
READERS, ITEMS = 1000, 5000
WARM, TIMES = 10, 100
CONNECTIONS, FIRST, SIGN_UPS, MOST_SECONDS = 48, 200, 4000, 120
PICKS = urlencode([("country", "GT"), ("country", "HN"), ("theme", "theme-0")])


def median_ms(ask: Callable[[int], Raw]) -> float:
    """Of an answer, each to another question."""
    taken = []
    for number in range(WARM + TIMES):
        began = time.perf_counter()
        answer = ask(number)
        taken.append((time.perf_counter() - began) * 1000)
        assert answer.status == 200, answer.status
    return round(statistics.median(taken[WARM:]), 2)


def transferred(wire: Wire, path: str) -> int:
    """Bytes of a page with its styles, scripts and pictures, headers included, as a browser gets them at first."""
    squeezed = [("accept-encoding", "gzip")]
    page = wire("GET", path).text
    parts = {path, *re.findall(r'<(?:link|script|img)\b[^>]*?(?:href|src)="(/[^"]+)"', page)}
    answers = [
        wire("GET", part.replace("&amp;", "&"), squeezed) for part in parts if "lang=" not in part or part == path
    ]
    return sum(
        len(answer.body) + sum(len(name) + len(value) + 4 for name, value in answer.headers) for answer in answers
    )


def pages(url: str) -> dict[str, object]:
    """The subscribe page, the live preview (how many, and the digest), and what each page weighs."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    engine = connect(url)
    upgrade(engine)
    with engine.begin() as connection:
        fill(connection, READERS, ITEMS)
    settings = load_settings(database_url=url, secret_key=KEY, base_url="https://news.example.org")
    wire = Wire(site_app(engine, settings, lambda: SLOT))

    def picked(number: int) -> str:
        return f"country={COUNTRIES[number % len(COUNTRIES)]}&country=US&theme=theme-{number % 20}"

    subscribe = median_ms(lambda number: wire("GET", f"/bench?{picked(number)}"))
    counted = median_ms(lambda number: wire("GET", f"/bench/preview?{picked(number)}"))
    digest = median_ms(lambda number: wire("GET", f"/bench/preview/digest?{picked(number)}"))
    paths = ("/", "/bench", "/bench?lang=ar", f"/bench/preview?{PICKS}", "/bench/embed", "/account", "/bench/archive")
    found = {path: transferred(wire, path) for path in paths}
    wire.close()
    return {"subscribe_ms": subscribe, "count_ms": counted, "digest_ms": digest, "bytes": found}


@contextmanager
def serving(command: list[str], port: int, environment: dict[str, str]) -> Iterator[int]:
    """A server of ours on this port; its process id."""
    with subprocess.Popen(command, env={**os.environ, **environment}, stdout=sys.stderr) as process:
        try:
            until = time.monotonic() + 60
            while not is_listening("127.0.0.1", port):
                assert process.poll() is None, "the server does not start"
                assert time.monotonic() < until, "the server takes too long to start"
                time.sleep(0.05)
            yield process.pid
        finally:
            process.terminate()


def request(number: int) -> bytes:
    """A sign-up of another address from another network, as a proxy hands it on."""
    body = urlencode({"email": f"new{number}@example.org", "country": COUNTRIES[number % len(COUNTRIES)]})
    network = f"10.{number >> 8 & 255}.{number & 255}.1"
    return (
        f"POST /bench HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {network}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}"
    ).encode()


async def load(port: int, requests: Sequence[bytes], status: bytes) -> None:
    """Send these over connections that stay; each must be answered with this status."""
    waiting = iter(requests)

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for sent in waiting:
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 " + status), head[:200]
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            assert length
            await reader.readexactly(int(length[1]))
        writer.close()

    async with asyncio.timeout(MOST_SECONDS), asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(one())


def loaded(process: int, port: int, requests: Sequence[bytes], status: bytes) -> dict[str, float]:
    """Requests a second, and milliseconds of CPU for each: of the server's process, and of this one, the load."""
    asyncio.run(load(port, requests[:FIRST], status))
    timed = requests[FIRST:]
    server, ours, began = cpu_seconds(process), time.process_time(), time.perf_counter()
    asyncio.run(load(port, timed, status))
    took = time.perf_counter() - began
    each = 1000 / len(timed)
    return {
        "per_second": round(len(timed) / took),
        "cpu_ms": round((cpu_seconds(process) - server) * each, 2),
        "load_cpu_ms": round((time.process_time() - ours) * each, 2),
    }


def cpu_seconds(process: int) -> float:
    """What a process has used, of the user's and the system's time (proc_pid_stat(5))."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sign_ups(url: str) -> dict[str, object]:
    """New addresses at the plain form, and a page of FastAPI alone, by the same load."""
    engine = connect(url)
    upgrade(engine)
    with engine.begin() as connection:
        fill(connection, 0, 100)
    port = free_port("127.0.0.1")
    with serving([sys.executable, __file__, "bare", str(port)], port, {}) as process:
        page = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        plain = loaded(process, port, [page] * (FIRST + SIGN_UPS), b"200")
    with tempfile.TemporaryDirectory() as folder, Supervisor(Path(folder)) as supervisor:
        environment = {
            "NEWSLETTER_HOME": folder,
            "NEWSLETTER_DATABASE_URL": url,
            "NEWSLETTER_SECRET_KEY": KEY,
            "NEWSLETTER_LOG_LEVEL": "error",
            "NEWSLETTER_REDIS_URL": supervisor.start_valkey(),
        }
        port = free_port("127.0.0.1")
        command = [sys.executable, "-m", "newsletter", "site", "--port", str(port)]
        with serving(command, port, environment) as process:
            found = loaded(process, port, [request(number) for number in range(FIRST + SIGN_UPS)], b"303")
    with engine.connect() as connection:
        for table in (subscriptions, consents, notices):
            kept = connection.scalar(select(func.count()).select_from(table)) or 0
            assert kept == FIRST + SIGN_UPS, (table.name, kept)
    return {**found, "sign_ups": SIGN_UPS, "bare": plain}


def bare(port: int) -> None:
    """Serve a page of FastAPI and nothing else."""
    app = FastAPI()

    @app.get("/", response_class=HTMLResponse)
    def page() -> str:
        return "<!doctype html><title>Bare</title><p>Bare</p>"

    uvicorn.run(app, port=port, log_level="error", access_log=False)


if __name__ == "__main__":
    what, where = sys.argv[1:]
    if what == "bare":
        bare(int(where))
    else:
        print(json.dumps({"pages": pages, "sign-ups": sign_ups}[what](where)))
