"""How often mail can be asked for: by network and address, over all processes, whatever becomes of Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from commanding import KEY
from house import House
from rawly import FORM, Wire
from sqlalchemy import Engine, func, select
from valkeys import Valkey, running_valkey

from newsletter.audience.links import make_expiring
from newsletter.settings import load_settings
from newsletter.tables import notices
from subscribers.app import site_app
from subscribers.limiting import RATES, Kind, Limiter, TooMany

SENT = [("content-type", FORM)]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey of our own."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture
def house(sqlite_engine: Engine, tmp_path: Path) -> House:
    settings = load_settings(home=tmp_path / "home", base_url="https://news.example.org", secret_key=KEY)
    return House(sqlite_engine, settings).create()


def asked(house: House) -> int:
    with house.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(notices)) or 0


def is_free(limiter: Limiter, kind: Kind, who: str) -> bool:
    """Count one more; whether it is not too many."""
    return limiter.wait((kind, who)) == 0


def test_all_processes_count_together(valkey: Valkey) -> None:
    """Two processes share one count of three, each network has its own, and Redis holds the name of none."""
    one, other = (Limiter(KEY, valkey.url, {**RATES, "signup": "3/hour"}) for _ in range(2))
    network = "192.0.2.0/24"
    assert [is_free(limiter, "signup", network) for limiter in (one, other, one, other, one)] == [True] * 3 + [
        False
    ] * 2
    assert is_free(one, "signup", "198.51.100.0/24")
    assert 0 < one.wait(("signup", network)) <= 7200
    keys = b" ".join(valkey.client.keys())
    assert keys
    assert b"192.0.2" not in keys


def test_a_window_passes(valkey: Valkey) -> None:
    """What was too often is right again after a while, which is named."""
    limiter = Limiter(KEY, valkey.url, {**RATES, "resend": "1/second"})
    assert is_free(limiter, "resend", "a")
    assert 0 < limiter.wait(("resend", "a")) <= 2
    assert any(is_free(limiter, "resend", "a") for _ in range(100_000))


def test_one_trip(valkey: Valkey) -> None:
    """Network and address, by the hour and by the day, are asked for at once; what is refused has not counted on."""
    limiter = Limiter(KEY, valkey.url, {**RATES, "signup": "1/hour; 9/day"})
    limiter.admit("signup", "once", "ana@example.org")
    before = valkey.client.info("commandstats")["cmdstat_evalsha"]["calls"]
    limiter.admit("signup", "twice", "ana@example.org")
    assert valkey.client.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 1
    for _ in range(9):
        with pytest.raises(TooMany):
            limiter.admit("signup", "twice", "ana@example.org")
    for network in ("a", "b", "c"):
        limiter.admit("signup", network, "ana@example.org")
    with pytest.raises(TooMany):
        limiter.admit("signup", "d", "ana@example.org")


def test_without_redis(tmp_path: Path) -> None:
    """A Redis that goes away is not waited for, is missed once in the log, and the limits hold in the process."""
    with running_valkey(tmp_path) as mine:
        limiter = Limiter(KEY, mine.url, {**RATES, "signup": "2/hour"})
        assert is_free(limiter, "signup", "a")
        mine.kill()
        with structlog.testing.capture_logs() as logs:
            assert [is_free(limiter, "signup", "a") for _ in range(3)] == [True, True, False]
        assert [entry["log_level"] for entry in logs] == ["warning"]
    alone = Limiter(KEY, "", {**RATES, "signup": "1/hour"})
    assert [is_free(alone, "signup", "a") for _ in range(2)] == [True, False]


def test_one_network_does_not_use_up_an_address() -> None:
    """Who is refused for its network has not counted against the address."""
    limiter = Limiter(KEY, "", {**RATES, "account": "1/hour", "account_address": "2/hour"})
    limiter.admit("account", "a", "ana@example.org")
    for _ in range(5):
        with pytest.raises(TooMany):
            limiter.admit("account", "a", "ana@example.org")
    limiter.admit("account", "b", "ana@example.org")
    with pytest.raises(TooMany):
        limiter.admit("account", "c", "ana@example.org")


def test_too_many_sign_ups_from_a_network(house: House, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """429, a calm page in the reader's language and when to come back; by the network that a trusted proxy names."""
    monkeypatch.setitem(RATES, "signup_plain", "2/hour")
    wire = Wire(site_app(house.engine, house.settings, house.clock))

    def sign_up(number: int, network: str, client: str = "127.0.0.1") -> object:
        headers = [*SENT, ("accept-language", "es"), ("x-forwarded-for", f"{network}.{number}")]
        return wire("POST", "/rutas", headers, f"email=r{number}@example.org".encode(), client=client)

    statuses = [sign_up(number, "192.0.2").status for number in range(3)]
    assert statuses == [303, 303, 429]
    answer = sign_up(9, "192.0.2")
    assert 0 < int(answer.header("retry-after")) <= 7200
    assert "Un momento, por favor" in answer.text
    assert "inténtelo de nuevo dentro de" in answer.text
    assert sign_up(10, "198.51.100").status == 303
    # Whoever is no proxy of ours may say what it likes: it is counted as itself.
    statuses = [sign_up(number, f"10.0.{number}", client="203.0.113.7").status for number in range(20, 23)]
    assert statuses == [303, 303, 429]
    assert wire("GET", "/rutas", [("x-forwarded-for", "192.0.2.1")]).status == 200
    wire.close()
    assert asked(house) == 5


def test_an_address_is_not_bombed(house: House, wire: Wire) -> None:
    """From however many networks: one mail an hour; after five requests the page says so, known address or not."""
    house.subscribe("known@example.org")
    for email in ("known@example.org", "unknown@example.org"):
        before = asked(house)
        statuses = []
        for number in range(7):
            headers = [*SENT, ("x-forwarded-for", f"10.{number}.0.1")]
            statuses.append(wire("POST", "/rutas", headers, f"email={email}".encode()).status)
        assert statuses == [303] * 5 + [429] * 2
        assert asked(house) == before + 1


def test_asking_again_is_limited(house: House, wire: Wire) -> None:
    """A link that has expired can be asked for anew, three times an hour."""
    reader = house.subscribe("ana@example.org")
    house.set(reader, state="pending")
    token = make_expiring(KEY, "confirm", reader, house.now)
    house.pass_time(days=1)
    assert [wire("POST", f"/c/{token}/again").status for _ in range(4)] == [200, 200, 200, 429]
