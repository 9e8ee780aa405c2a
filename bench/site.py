"""The readers' site. Prints JSON.

    site.py pages DATABASE_URL      milliseconds of pages inside the process, bytes of pages
    site.py sign-ups DATABASE_URL   sign-ups a second of one uvicorn process, and of a bare FastAPI page in its place
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
from collections.abc import Callable, Iterator
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
from newsletter.tables import subscriptions
from subscribers.app import site_app

KEY = "bench" * 10
READERS, ITEMS = 1000, 5000
WARM, TIMES = 10, 100
CONNECTIONS, SIGN_UPS, MOST_SECONDS = 48, 4000, 60
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
def serving(command: list[str], port: int, environment: dict[str, str]) -> Iterator[None]:
    """A server of ours on this port."""
    with subprocess.Popen(command, env={**os.environ, **environment}, stdout=sys.stderr) as process:
        try:
            until = time.monotonic() + 60
            while not is_listening("127.0.0.1", port):
                assert process.poll() is None, "the server does not start"
                assert time.monotonic() < until, "the server takes too long to start"
                time.sleep(0.05)
            yield
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


async def load(port: int, count: int, made: Callable[[int], bytes], status: bytes) -> float:
    """Requests a second, over connections that stay; each must be answered with this status."""
    numbers = iter(range(count))

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            writer.write(made(number))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 " + status), head[:200]
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            assert length
            await reader.readexactly(int(length[1]))
        writer.close()

    began = time.perf_counter()
    async with asyncio.timeout(MOST_SECONDS), asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(one())
    return count / (time.perf_counter() - began)


def sign_ups(url: str) -> dict[str, object]:
    """New addresses at the plain form, and a page of FastAPI alone, by the same load."""
    engine = connect(url)
    upgrade(engine)
    with engine.begin() as connection:
        fill(connection, 0, 100)
    port = free_port("127.0.0.1")
    with serving([sys.executable, __file__, "bare", str(port)], port, {}):
        plain = asyncio.run(load(port, SIGN_UPS, lambda _: b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"200"))
    with tempfile.TemporaryDirectory() as folder, Supervisor(Path(folder)) as supervisor:
        environment = {
            "NEWSLETTER_HOME": folder,
            "NEWSLETTER_DATABASE_URL": url,
            "NEWSLETTER_SECRET_KEY": KEY,
            "NEWSLETTER_LOG_LEVEL": "error",
            "NEWSLETTER_REDIS_URL": supervisor.start_valkey(),
        }
        port = free_port("127.0.0.1")
        with serving([sys.executable, "-m", "newsletter", "site", "--port", str(port)], port, environment):
            found = asyncio.run(load(port, SIGN_UPS, request, b"303"))
    with engine.connect() as connection:
        kept = connection.scalar(select(func.count()).select_from(subscriptions)) or 0
    assert kept == SIGN_UPS, kept
    return {"per_second": round(found), "bare_per_second": round(plain), "sign_ups": SIGN_UPS}


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
