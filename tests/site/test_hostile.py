"""Whatever is sent to whichever route: an answer below 500, and a page that says something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from commanding import KEY
from house import House
from hypothesis import given, settings
from hypothesis import strategies as st
from rawly import FORM, Raw, Wire
from servers import Postgres
from sqlalchemy import Engine
from starlette.routing import Mount

from newsletter.audience.links import make_expiring, make_token
from newsletter.database import connect
from newsletter.machines.tokens import SCOPES, create_token
from newsletter.settings import load_settings
from subscribers import timing
from subscribers.app import site_app
from subscribers.limiting import RATES

PARTS = "multipart/form-data; boundary=x"
FIELDS = ("email", "name", "country", "region", "theme", "language", "frequency", "weekday", "hour", "timezone")
MORE = ("lang", "moment", "website", "until", "mark", "before", "after", "confirm", "preview", "list", "limit", "since")
VALUES = (
    "ana@example.org",
    "GT",
    "019",
    "es",
    "daily",
    "mon",
    "8",
    "UTC",
    "2026-12-24",
    "9" * 30,
    "-1",
    "a\r\nBcc: b@c.example",
)


class Target:
    """The site with readers, without limits and without pauses, and the addresses of all its routes."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        values = {"home": folder / "home", "base_url": "https://news.example.org", "secret_key": KEY}
        self.house = House(engine, load_settings(**values)).create()
        app = site_app(engine, self.house.settings, self.house.clock)
        self.wire = Wire(app)
        self.house.publish("one", countries=("GT",))
        reader = self.house.subscribe("ana@example.org")
        later = self.house.now + timedelta(days=1)
        with engine.begin() as connection:
            self.machine = create_token(connection, "fuzz", SCOPES, None, self.house.now)
        tokens = {
            "u": make_token(KEY, "unsubscribe", reader),
            "p": make_token(KEY, "preferences", reader),
            "d": make_token(KEY, "copy", 1),
            "c": make_expiring(KEY, "confirm", reader, later),
            "a": make_expiring(KEY, "account", 1, later),
            "address": make_expiring(KEY, "address", 1, later),
        }
        self.paths: list[str] = []
        for route in app.routes:
            inner = route.app.routes if isinstance(route, Mount) and hasattr(route.app, "routes") else [route]
            for one in inner:
                path = (route.path if isinstance(route, Mount) else "") + getattr(one, "path", "/site.css")
                token = tokens.get(path.split("/")[1], "x")
                self.paths.append(path.replace("{slug}", "rutas").replace("{item_id}", "1").replace("{token}", token))

    @property
    def allowed(self) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.machine}")]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Target]:
    """On PostgreSQL, which is particular about characters and numbers."""
    folder = tmp_path_factory.mktemp("hostile")
    engine = connect(postgres.migrated())
    with pytest.MonkeyPatch.context() as patched:
        for kind in RATES:
            patched.setitem(RATES, kind, "1000000/hour")
        patched.setattr(timing, "ANSWER_TIME", 0.0001)
        made = Target(engine, folder)
        yield made
        made.wire.close()
    engine.dispose()


def multipart(pairs: list[tuple[str, str]]) -> bytes:
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode("utf-8", "replace")
        for name, value in pairs
    ]
    return b"".join(parts) + b"--x--\r\n"


def sound(answer: Raw, asked: object) -> None:
    assert answer.status < 500, asked
    assert "Traceback" not in answer.body.decode("utf-8", "replace")
    assert "set-cookie" not in dict(answer.headers)
    if answer.status >= 400 and answer.header("content-type").startswith("text/html"):
        assert re.search(r"<h1[^>]*>\s*\S", answer.text)


NASTY = [
    ("", b""),
    (FORM, urlencode([(name, value) for name in (*FIELDS, *MORE) for value in VALUES]).encode()),
    (FORM, b"&&==&email&=x&%00=%00"),
    (PARTS, multipart([(name, "\x00\ud800 \u202e" + "é" * 300) for name in (*FIELDS, *MORE)])),
    (PARTS, b"--x\r\nContent-Disposition: form-data; name=email; filename*=utf-8''%ff\r\n\r\n\xff\r\n--x--\r\n"),
    ("application/json", b'{"title": "\\ud800", "items": [[[[]]]], "email": 1e400}'),
    ("application/json", b"[" * 30_000),
]


def test_every_route_takes_nasty_bodies(target: Target) -> None:
    """Each route, each method, forms of both kinds and JSON that no client would send."""
    queries = (
        "",
        "?" + urlencode([(name, VALUES[5]) for name in (*FIELDS, *MORE)]),
        "?before=0&after=x&limit=-1&lang=xx",
    )
    for path in target.paths:
        for query in queries:
            sound(target.wire("GET", path + query, target.allowed), ("GET", path + query))
        for kind, body in NASTY:
            headers = [*target.allowed, ("content-type", kind)] if kind else target.allowed
            sound(target.wire("POST", path, headers, body), ("POST", path, kind, body[:60]))
        for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "BREW"):
            sound(target.wire(method, path), (method, path))


TEXT = st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace"))
ESCAPED = TEXT.map(quote) | st.from_regex(r"[!-~]{0,40}", fullmatch=True)
HEADERS = (
    *("accept-language", "accept", "host", "cookie", "content-type", "content-length", "x-forwarded-for", "range"),
    *("if-none-match", "if-modified-since", "x-forwarded-proto", "origin", "sec-fetch-site", "idempotency-key"),
)
HEADER = st.tuples(
    st.sampled_from(HEADERS),
    st.text(st.characters(max_codepoint=255), max_size=60),
)
PAIRS = st.lists(
    st.tuples(st.sampled_from((*FIELDS, *MORE)), st.sampled_from(VALUES) | st.text(max_size=60)), max_size=12
)


@settings(max_examples=150)
@given(data=st.data())
def test_anything_at_all(target: Target, data: Any) -> None:
    """Paths, methods, queries, headers and bodies at random, at every route and beside them."""
    path = data.draw(st.sampled_from(target.paths), "path")
    path += data.draw(st.just("") | ESCAPED.map(lambda text: "/" + text), "more")
    query = data.draw(ESCAPED | PAIRS.map(lambda pairs: urlencode(pairs, errors="replace")), "query")
    method = data.draw(st.sampled_from(("GET", "HEAD", "POST", "POST", "POST", "PUT", "BREW")), "method")
    pairs = data.draw(PAIRS, "pairs")
    kind, body = data.draw(
        st.sampled_from([(FORM, urlencode(pairs, errors="replace").encode()), (PARTS, multipart(pairs))])
        | st.tuples(st.sampled_from((FORM, PARTS, "application/json", "text/plain")), st.binary(max_size=200)),
        "body",
    )
    headers = [*target.allowed, ("content-type", kind), *data.draw(st.lists(HEADER, max_size=4), "headers")]
    asked = (method, f"{path}?{query}", headers, body)
    sound(target.wire(method, f"{path.partition('?')[0]}?{query}", headers, body), asked)
