"""What every answer of the site carries, and what it answers to requests that it need not serve."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.robotparser import RobotFileParser

import pytest
import structlog
from commanding import KEY
from house import House
from rawly import FORM, Raw, Wire
from sqlalchemy import Engine, update
from starlette.routing import Mount

from newsletter.audience.links import make_expiring, make_token
from newsletter.database import connect
from newsletter.hosts import host_names, is_ours
from newsletter.settings import Settings, load_settings
from newsletter.tables import lists
from subscribers import guarding
from subscribers.app import site_app
from subscribers.vetting import PROBES

Make = Callable[..., Wire]


@pytest.fixture
def house(sqlite_engine: Engine, tmp_path) -> House:
    settings = load_settings(home=tmp_path / "home", base_url="https://news.example.org", secret_key=KEY)
    return House(sqlite_engine, settings).create()


@pytest.fixture
def make(house: House) -> Iterator[Make]:
    """The site with these settings changed."""
    made: list[Wire] = []

    def build(**values: object) -> Wire:
        made.append(Wire(site_app(house.engine, house.settings.model_copy(update=values), house.clock)))
        return made[-1]

    yield build
    for wire in made:
        wire.close()


@pytest.fixture
def wire(make: Make) -> Wire:
    return make()


def strict(answer: Raw) -> bool:
    policy = answer.header("content-security-policy")
    return (
        "unsafe" not in policy
        and "default-src 'none'" in policy
        and "frame-ancestors 'none'" in policy
        and answer.header("referrer-policy") == "no-referrer"
        and answer.header("x-content-type-options") == "nosniff"
        and "camera=()" in answer.header("permissions-policy")
        and answer.header("cross-origin-opener-policy") == "same-origin"
        and answer.header("cross-origin-resource-policy") == "same-origin"
        and answer.header("strict-transport-security").startswith("max-age=")
    )


def test_every_answer_is_guarded(house: House, wire: Wire) -> None:
    """Pages, files, redirects and refusals carry the headers; what is about one reader may not be kept by anybody."""
    reader = house.subscribe("ana@example.org")
    paths = ["/", "/rutas", "/nothing", "/p/x", "/%00", "/rutas?country=%ff", "/static/site.css", "/static/none"]
    token = make_expiring(KEY, "confirm", reader, house.now + timedelta(days=1))
    private = [f"/u/{make_token(KEY, 'unsubscribe', reader)}", f"/p/{make_token(KEY, 'preferences', reader)}"]
    for path in (*paths, *private, f"/c/{token}"):
        for method in ("GET", "HEAD", "PUT", "BREW"):
            answer = wire(method, path)
            assert strict(answer), (method, path, answer.headers)
            assert answer.header("cache-control")
    for path in (*private, f"/c/{token}", "/p/x"):
        assert wire("GET", path).header("cache-control") == "no-store"
    assert "max-age=600" in wire("GET", "/static/site.css").header("cache-control")
    assert strict(wire("POST", "/rutas", body=b"email=a@b.example&preview=1"[:0]))


def test_only_the_form_for_other_sites_can_be_framed(wire: Wire) -> None:
    """/LIST/embed, also when it says what is wrong, and no other page."""
    for answer in (
        wire("GET", "/rutas/embed"),
        wire("POST", "/rutas/embed", [("content-type", FORM)], b"email=no"),
    ):
        assert "frame-ancestors *" in answer.header("content-security-policy")
        assert "unsafe" not in answer.header("content-security-policy")
    assert "frame-ancestors 'none'" in wire("GET", "/rutas").header("content-security-policy")


def test_https_is_remembered_only_where_there_is_https(make: Make) -> None:
    """By a base URL of https, or because a proxy that is trusted says so; nobody else is believed."""
    plain = make(base_url="http://news.example.org")
    said = [("x-forwarded-proto", "https")]
    assert not plain("GET", "/rutas").header("strict-transport-security")
    assert plain("GET", "/rutas", said).header("strict-transport-security")
    assert not plain("GET", "/rutas", said, client="203.0.113.9").header("strict-transport-security")
    trusting = make(base_url="http://news.example.org", trusted_proxies="203.0.113.0/24")
    for client in ("203.0.113.9", "::ffff:203.0.113.9"):
        assert trusting("GET", "/rutas", said, client=client).header("strict-transport-security")
    assert not make(base_url="http://news.example.org", trusted_proxies="none")("GET", "/rutas", said).header(
        "strict-transport-security"
    )


def test_names_of_the_site(tmp_path) -> None:
    """Its base URL's, those of NEWSLETTER_SITE_HOSTS and this machine's own, with any port and in any case."""
    settings = load_settings(
        home=tmp_path,
        base_url="https://News.Example.org:8443",
        site_hosts="www.example.org nachrichten.bücher.example straße.example [2001:DB8::7]",
    )
    names = host_names(settings.base_url, settings.site_hosts.split())
    for good in (
        "news.example.org",
        "NEWS.example.org.",
        "news.example.org:8443",
        "www.example.org",
        "nachrichten.xn--bcher-kva.example",
        "xn--strae-oqa.example",
        "localhost:8026",
        "127.0.0.1",
        "127.3.2.1:80",
        "[::1]:8026",
        "[2001:db8::7]:443",
    ):
        assert is_ours(good, names), good
    for bad in (
        "",
        "evil.example",
        "news.example.org.evil.example",
        "news.example.org@evil.example",
        "a b",
        "[::2]",
        "x:y",
    ):
        assert not is_ours(bad, names), bad
    assert is_ours("anything.example", host_names("", ["more.example"]))
    assert not is_ours("any thing", host_names("", []))


def test_wrong_hosts(wire: Wire) -> None:
    """400 and a page, whatever was asked for; what watches the site may call it by any name."""
    for host in ("evil.example", "", "news.example.org, evil.example"):
        answer = wire("GET", "/rutas", host=host)
        assert answer.status == 400
        assert "This site has another address" in answer.text
    assert wire("GET", "/rutas", [("host", "evil.example")], host="news.example.org").status == 400
    for path in PROBES:
        assert wire("GET", path, host="10.2.3.4:8026").status in (200, 401)


MANY = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n' * 1100 + b"--x--\r\n"
FEW = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n'
PARTS = "multipart/form-data; boundary=x"
REFUSED = {
    "an unknown method": ("BREW", "/rutas", (), b"", 405),
    "a method that no page has": ("DELETE", "/rutas", (), b"", 405),
    "a broken escape in the query": ("GET", "/rutas?country=%zz", (), b"", 400),
    "a query that is no UTF-8": ("GET", "/rutas?country=%ff%fe", (), b"", 400),
    "a control character in the query": ("GET", "/rutas?lang=en%0d%0aSet-Cookie:%20a=b", (), b"", 400),
    "a control character in the path": ("GET", "/ru%00tas", (), b"", 404),
    "a path that is no UTF-8": ("GET", "/%ff%fe", (), b"", 404),
    "a huge query": ("GET", "/rutas?" + "country=GT&" * 2000, (), b"", 414),
    "a huge path": ("GET", "/" + "a" * 20_000, (), b"", 414),
    "huge headers": ("GET", "/rutas", [("x-much", "a" * 40_000)], b"", 431),
    "ten megabytes": ("POST", "/rutas", [("content-type", FORM)], [b"a" * 65_536] * 160, 413),
    "ten megabytes that are announced": ("POST", "/rutas", [("content-length", "10000000")], b"", 413),
    "JSON": ("POST", "/rutas", [("content-type", "application/json")], b"{}", 415),
    "a body of no kind": ("POST", "/rutas", (), b"email=a", 415),
    "a kind that is none": ("POST", "/rutas", [("content-type", "\x01;;=")], b"email=a", 415),
    "another alphabet": (
        "POST",
        "/rutas",
        [("content-type", "multipart/form-data; boundary=x; charset=idna")],
        MANY,
        415,
    ),
    "an alphabet that is none": ("POST", "/rutas", [("content-type", f"{PARTS}; charset=undefined")], MANY, 415),
    "two alphabets": ("POST", "/rutas", [("content-type", f"{PARTS}; charset=utf-8; charset=undefined")], MANY, 415),
    "a parameter in countless parts": ("POST", "/rutas", [("content-type", f"a/b; x*{'9' * 5000}=y")], b"a=b", 415),
    "a parameter in odd parts": ("POST", "/rutas", [("content-type", "a/b; x*=a; x*0=b")], b"a=b", 415),
    "a parameter without an end": ("POST", "/rutas", [("content-type", f'{PARTS}; a="{";" * 400}')], FEW, 415),
    "another alphabet, to get less often": (
        "POST",
        "/u/x/less",
        [("content-type", "multipart/form-data; boundary=x; charset=punycode")],
        FEW,
        415,
    ),
    "a form that is no UTF-8": ("POST", "/rutas", [("content-type", FORM)], b"name=Jos%E9", 400),
    "a form with broken escapes": ("POST", "/rutas", [("content-type", FORM)], b"name=100%", 400),
    "a form with NUL": ("POST", "/rutas", [("content-type", FORM)], b"name=a%00b", 400),
    "a thousand parts": ("POST", "/rutas", [("content-type", "multipart/form-data; boundary=x")], MANY, 400),
    "parts without a boundary": ("POST", "/rutas", [("content-type", "multipart/form-data")], b"--x", 400),
    "parts within parts": (
        "POST",
        "/rutas",
        [("content-type", "multipart/form-data; boundary=x")],
        b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n" * 200,
        400,
    ),
    "a file in place of an address": (
        "POST",
        "/rutas",
        [("content-type", "multipart/form-data; boundary=x")],
        b'--x\r\nContent-Disposition: form-data; name="email"; filename="a"\r\n\r\nb\r\n--x--\r\n',
        400,
    ),
    "a header in an address": (
        "POST",
        "/rutas",
        [("content-type", FORM)],
        b"email=a@b.example%0d%0aBcc:c@d.example",
        422,
    ),
    "two addresses": ("POST", "/rutas", [("content-type", FORM)], b"email=a@b.example&email=no", 422),
    "a form from another site for our own page": ("POST", "/p/x", [("sec-fetch-site", "cross-site")], b"", 403),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(wire: Wire, what: str) -> None:
    """4xx and a page in the reader's language; nothing of it comes back raw."""
    method, target, headers, body, status = REFUSED[what]
    answer = wire(method, target, [("accept-language", "fr"), *headers], body)
    assert answer.status == status
    assert '<html lang="fr"' in answer.text
    assert re.search(r"<h1>\w", answer.text)
    assert strict(answer)
    assert "set-cookie" not in dict(answer.headers)


def test_slow_bodies(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not come to an end is not waited for: 408."""
    monkeypatch.setattr(guarding, "SECONDS", -1.2)
    assert wire("POST", "/rutas", [("content-type", FORM)], ()).status == 408


def test_leaving_takes_whatever_comes_along(house: House, wire: Wire) -> None:
    """RFC 8058: the token alone decides; neither kind nor text of a body nor another site stand against it."""
    reader = house.subscribe("ana@example.org")
    path = f"/u/{make_token(KEY, 'unsubscribe', reader)}"
    for kind, body in ((FORM, b"List-Unsubscribe=One-Click"), ("text/plain", b"\xff%zz"), ("", b"x")):
        headers = [("content-type", kind), ("sec-fetch-site", "cross-site"), ("origin", "null")]
        assert wire("POST", path, headers, body).status == 200


def test_a_list_that_begins_as_a_page_of_ours_does(house: House, wire: Wire) -> None:
    """It has its form on other sites, as any list has, and search engines may find it."""
    with house.engine.begin() as connection:
        connection.execute(update(lists).values(slug="accountability"))
    headers = [("content-type", FORM), ("sec-fetch-site", "cross-site")]
    assert wire("POST", "/accountability", headers, b"email=ana@example.org").status == 303
    assert wire("POST", "/account", headers, b"email=ana@example.org").status == 403
    robots = RobotFileParser()
    robots.parse(wire("GET", "/robots.txt").text.splitlines())
    assert robots.can_fetch("any", "/accountability")
    assert not robots.can_fetch("any", "/a/x")


def test_what_fails_unexpectedly(house: House) -> None:
    """A page of its own, without a trace; the log says where it failed, and not with what."""
    app = site_app(house.engine, house.settings, house.clock)

    def fail() -> None:
        secret = "ana@example.org"
        raise RuntimeError(f"cannot do it for {secret}")

    app.add_api_route("/fails/badly", fail)
    app.router.routes.insert(0, app.router.routes.pop())
    wire = Wire(app)
    with structlog.testing.capture_logs() as logs:
        answer = wire("GET", "/fails/badly", [("accept-language", "es")])
    wire.close()
    assert answer.status == 500
    assert "Algo ha fallado por nuestra parte" in answer.text
    assert strict(answer)
    assert "ana" not in answer.text + str(logs)
    assert "Traceback" not in answer.text
    failed = next(entry for entry in logs if entry["event"] == "failed")
    assert failed["error"] == "RuntimeError"
    assert re.match(r"test_guarding\.py:\d+ fail < ", failed["at"])


def test_a_database_that_is_away(house: House) -> None:
    """Pages and machines are told to come back, and the log says why; nothing of the password."""
    wire = Wire(site_app(connect("postgresql://user:geheim@127.0.0.1:1/x"), house.settings, house.clock))
    with structlog.testing.capture_logs() as logs:
        answers = [
            wire("GET", "/rutas"),
            wire("GET", "/api/v1/items?list=rutas", [("authorization", "Bearer nl_" + "a" * 43)]),
        ]
    wire.close()
    assert [(answer.status, answer.header("retry-after")) for answer in answers] == [(503, "120")] * 2
    told = [entry["refused"] for entry in logs if entry["event"] == "request"]
    assert len(told) == 2
    assert all("connection" in why.lower() for why in told)
    assert "geheim" not in str(logs)


def test_machines_are_told_as_machines(wire: Wire) -> None:
    """What is refused below /api/v1 is a problem in JSON, not a page."""
    for method, target, host, status in (
        ("GET", "/api/v1/items?list=%ff", "localhost", 401),
        ("GET", "/api/v1/items", "evil.example", 400),
        ("BREW", "/api/v1/items", "localhost", 405),
        ("GET", "/api/v1/" + "a" * 20_000, "localhost", 414),
    ):
        answer = wire(method, target, host=host)
        assert (answer.status, answer.header("content-type")) == (status, "application/problem+json")


def test_nothing_has_a_session(house: House, wire: Wire) -> None:
    """No answer of any route sets a cookie, and so no form needs protection from other sites' forms."""
    reader = house.subscribe("ana@example.org")
    tokens = {"u": "unsubscribe", "p": "preferences"}
    for route in site_app(house.engine, house.settings).routes:
        if isinstance(route, Mount):
            continue
        path = getattr(route, "path", "/").replace("{slug}", "rutas").replace("{item_id}", "1")
        purpose = tokens.get(path.split("/")[1])
        path = path.replace("{token}", make_token(KEY, purpose, reader) if purpose else "x")
        for method in ("GET", "POST"):
            answer = wire(method, path, [("content-type", FORM)], b"email=bea@example.org")
            assert "set-cookie" not in dict(answer.headers), path


def test_settings_name_networks(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is no address is refused when a command starts."""
    monkeypatch.setenv("NEWSLETTER_TRUSTED_PROXIES", "10.0.0.0/8 nginx")
    with pytest.raises(Exception, match="NEWSLETTER_TRUSTED_PROXIES is not usable: 'nginx'"):
        load_settings()
    monkeypatch.setenv("NEWSLETTER_TRUSTED_PROXIES", "10.0.0.0/8 ::1")
    assert load_settings().proxies == ("10.0.0.0/8", "::1")
    assert isinstance(load_settings(), Settings)
