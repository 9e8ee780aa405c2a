"""The readers' site over HTTP: a GET is inert, a POST does what its button says, hostile requests get a page."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import quote

import httpx
import pytest
from commanding import KEY
from house import START, House
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from visiting import visiting

from newsletter.audience.links import LIFETIME, make_expiring, make_token
from newsletter.audience.picks import Picks
from newsletter.catalogue.items import withdraw
from newsletter.settings import Settings
from newsletter.tables import consents, metadata, subscriptions


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    return House(engine, settings).create(name="Rutas <b>")


@pytest.fixture
def site(house: House) -> Iterator[httpx.Client]:
    """The site on a free port."""
    with visiting(house) as client:
        yield client


@pytest.fixture
def reader(house: House) -> int:
    return house.subscribe("ana@example.org", Picks(countries=frozenset({"GT"}), themes=frozenset({"protection"})))


def link(purpose: str, number: int) -> str:
    if purpose == "confirm":
        return f"/c/{make_expiring(KEY, purpose, number, START + LIFETIME[purpose])}"
    return {"unsubscribe": "/u/", "preferences": "/p/"}[purpose] + make_token(KEY, purpose, number)


def state(house: House, reader: int) -> str:
    with house.engine.connect() as connection:
        return connection.execute(select(subscriptions.c.state).where(subscriptions.c.id == reader)).scalar_one()


def everything(house: House) -> dict[str, list]:
    with house.engine.connect() as connection:
        return {t.name: sorted(map(tuple, connection.execute(select(t))), key=str) for t in metadata.sorted_tables}


@pytest.mark.parametrize("purpose", ["unsubscribe", "confirm", "preferences"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_get_changes_nothing(house: House, site: httpx.Client, reader: int, purpose: str, method: str) -> None:
    """Mail scanners open every link of a mail: nothing in the database changes by it."""
    house.set(reader, state="pending" if purpose == "confirm" else "active")
    before = everything(house)
    for _ in range(3):
        answer = site.request(method, link(purpose, reader))
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
    assert everything(house) == before


def test_one_click(house: House, site: httpx.Client, reader: int) -> None:
    """RFC 8058: a POST without cookie, with the body that mail programs send, unsubscribes; twice does no harm."""
    for _ in range(2):
        answer = site.post(link("unsubscribe", reader), data={"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
        assert "You are unsubscribed" in answer.text
    assert state(house, reader) == "unsubscribed"
    with house.engine.connect() as connection:
        events = connection.scalars(select(consents.c.event).order_by(consents.c.id)).all()
    assert events == ["confirmed", "unsubscribed"]


def test_one_click_as_form_data(house: House, site: httpx.Client, reader: int) -> None:
    """So does the multipart form that RFC 8058 also allows."""
    site.post(link("unsubscribe", reader), files={"List-Unsubscribe": (None, "One-Click")})
    assert state(house, reader) == "unsubscribed"


def test_confirming(house: House, site: httpx.Client, reader: int) -> None:
    """The button confirms a pending subscription, which then has a due moment; it brings nobody back who left."""
    house.set(reader, state="pending", due_at=None)
    assert "Yes, subscribe me" in site.get(link("confirm", reader)).text
    assert "is confirmed" in site.post(link("confirm", reader)).text
    assert state(house, reader) == "active"
    site.post(link("unsubscribe", reader))
    assert "You are not subscribed" in site.post(link("confirm", reader)).text
    assert state(house, reader) == "unsubscribed"


def test_names_are_escaped(site: httpx.Client, reader: int) -> None:
    """Markup in a list's name is shown as it was written."""
    assert "Rutas &lt;b&gt;" in site.get(link("preferences", reader)).text


@pytest.mark.parametrize("language", ["es", "fr"])
def test_in_the_readers_language(house: House, site: httpx.Client, language: str) -> None:
    """Pages come in the language of the reader's mails."""
    reader = house.subscribe("bea@example.org", language=language)
    assert f'lang="{language}"' in site.get(link("preferences", reader)).text


def test_a_token_opens_one_thing(house: House, site: httpx.Client, reader: int) -> None:
    """A token for one purpose opens no other, and a changed one nothing: 404, and nothing happens."""
    token = make_token(KEY, "preferences", reader)
    for path in (f"/u/{token}", f"/c/{token}", f"/u/{token}x", f"/u/{reader}", "/u/x", "/c/" + "9" * 5000):
        for method in ("GET", "POST"):
            assert site.request(method, path).status_code == 404
    other_key = make_token("o" * 40, "unsubscribe", reader)
    assert site.post(f"/u/{other_key}").status_code == 404
    assert state(house, reader) == "active"


def test_item_pages(house: House, site: httpx.Client) -> None:
    """An item without URL has its page; a withdrawn one says so (410); any other number is not there."""
    (number,) = house.publish("one", countries=("GT",), body="<p>Body <strong>text</strong></p>")
    page = site.get(f"/items/{number}", headers={"accept-language": "es-GT,es;q=0.9"})
    assert "<strong>text</strong>" in page.text
    assert 'lang="es"' in page.text
    assert page.headers["cache-control"] == "public, max-age=60"
    with house.engine.begin() as connection:
        withdraw(connection, number, house.now)
    assert site.get(f"/items/{number}").status_code == 410
    for other in ("0", "-1", "x", "99", "9" * 30, "1e3", "%00", "1/../2"):
        assert site.get(f"/items/{other}").status_code == 404


def test_headers(site: httpx.Client, reader: int) -> None:
    """Every answer forbids scripts, frames and referrers; pages load nothing from elsewhere."""
    for path in ("/healthz", "/nothing", link("preferences", reader)):
        answer = site.get(path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "//" not in answer.text.replace("http://www.w3.org", "").replace("<!--", "")


def test_large_bodies(house: House, site: httpx.Client, reader: int) -> None:
    """A body beyond 64 KB is refused, announced or not, before it is read whole."""
    path = link("unsubscribe", reader)
    assert site.post(path, content=b"x" * 70_000).status_code == 413
    assert site.post(path, content=(b"x" * 1000 for _ in range(100))).status_code == 413
    assert state(house, reader) == "active"


def test_other_methods(site: httpx.Client, reader: int) -> None:
    """Methods that mean nothing here are refused with a page."""
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"):
        assert site.request(method, link("unsubscribe", reader)).status_code == 405
    assert site.request("BREW", link("unsubscribe", reader)).status_code == 400
    assert site.post("/items/1").status_code == 405


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_path(site: httpx.Client, path: str) -> None:
    """Any address has an answer that is a page, never a fault."""
    answer = site.post("/u/" + quote(path, safe=""))
    assert answer.status_code in (404, 405)


def test_raw_requests(site: httpx.Client) -> None:
    """Bytes that are no path do no harm."""
    for target in ("/u/%ff%fe", "/static/../app.py", "/static/%2e%2e/app.py", "//evil.example/u/x"):
        connection = HTTPConnection("127.0.0.1", site.base_url.port)
        connection.putrequest("GET", target, skip_host=False)
        connection.endheaders()
        assert connection.getresponse().status == 404
