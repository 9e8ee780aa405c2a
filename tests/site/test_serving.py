"""What comes over the wire of the real server and is no request, or none that ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

import httpx
import pytest
from house import House
from sqlalchemy import Engine
from visiting import visiting

from newsletter.audience.links import Purpose, make_token
from newsletter.settings import Settings
from subscribers import serving


@pytest.fixture
def house(sqlite_engine: Engine, settings: Settings) -> House:
    return House(sqlite_engine, settings).create()


@pytest.fixture
def site(house: House) -> Iterator[httpx.Client]:
    with visiting(house) as client:
        yield client


def told(site: httpx.Client, sent: bytes, more: bytes = b"", times: int = 0) -> bytes:
    """What the site answers until it hangs up."""
    with socket.create_connection(("127.0.0.1", site.base_url.port or 0), timeout=20) as wire:
        wire.sendall(sent)
        try:
            for _ in range(times):
                wire.sendall(more)
        except OSError:
            # Hung up on, which may take what it said along.
            assert times
        answer = b""
        try:
            while part := wire.recv(65536):
                answer += part
        except ConnectionResetError:
            assert times
        return answer


POST = b"POST /rutas HTTP/1.1\r\nHost: localhost\r\n"
GARBAGE = {
    "no HTTP": b"EHLO me\r\n\r\n",
    "TLS": bytes.fromhex("16030100a1010000") + b"\x00" * 60,
    "a method that nobody knows": b"BREW /rutas HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a tunnel": b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
    "a header without a name": b"GET / HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a length and chunks": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bytes in an address": b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("what", GARBAGE)
def test_no_request(site: httpx.Client, what: str) -> None:
    """400 and a page with the headers of all others; then it hangs up, and serves the next."""
    answer = told(site, GARBAGE[what])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"<h1>" in body
    for field in (b"Content-Security-Policy: default-src 'none'", b"Connection: close", b"Cache-Control: no-store"):
        assert field.lower() in head.lower()
    assert site.get("/rutas").status_code == 200


@pytest.mark.parametrize(
    ("sent", "more"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nx-much: ", b"a" * 65_536),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"x-some: " + b"a" * 1000 + b"\r\n"),
        (b"GET /", b"a" * 65_536),
        (
            b"POST /rutas HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"x-more: some\r\n" * 500,
        ),
    ],
    ids=["one header", "many headers", "an address", "trailers"],
)
def test_no_end(site: httpx.Client, sent: bytes, more: bytes) -> None:
    """A head, or trailers, of 64 KB or more are read no further: it hangs up, whatever is still to come."""
    answer = told(site, sent, more, 200)
    assert b" 200 " not in answer[:16]
    assert site.get("/rutas").status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        POST + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\nemail",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /",
    ],
    ids=["nothing", "half a head", "half a body", "half of a second one"],
)
def test_no_more(site: httpx.Client, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """A connection over which no request comes to its end is not held for ever."""
    monkeypatch.setattr(serving, "REQUEST_SECONDS", 0.3)
    told(site, sent)
    assert site.get("/rutas").status_code == 200


@pytest.mark.parametrize("path", ["/rutas", "/u/{token}", "/u/{token}/less", "/p/{token}/pause"])
def test_a_writer_that_takes_its_time(house: House, site: httpx.Client, path: str) -> None:
    """While another process writes to SQLite, forms wait for it; whoever only reads does not, however many wait."""
    purpose: Purpose = "preferences" if path.startswith("/p/") else "unsubscribe"
    path = path.format(token=make_token(house.settings.key, purpose, house.subscribe("reader@example.org")))
    forms = ThreadPoolExecutor(50)
    with house.engine.begin():
        waiting = [forms.submit(site.post, path, data={"email": f"ana{n}@example.org"}) for n in range(50)]
        sleep(0.5)
        began = monotonic()
        assert site.get("/rutas").status_code == 200
        assert monotonic() - began < 5
    forms.shutdown()
    assert {answer.result().status_code for answer in waiting} <= {200, 303, 409, 422, 429}
