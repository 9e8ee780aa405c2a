"""The consent history: each event with what proves it, never altered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commanding import CHECKOUT, CommandLine
from house import House
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from newsletter.audience import subscribers as audience
from newsletter.audience.consents import Proof, as_shown, consent_hash, consent_history, network_of, was_given_for
from newsletter.audience.picks import Picks
from newsletter.audience.schedule import Schedule
from newsletter.cli import output
from newsletter.database import engine_for
from newsletter.digests.calendar import next_due
from newsletter.settings import Settings, load_settings

PICKS = Picks(countries=frozenset({"GT", "HN"}), themes=frozenset({"trade"}))
PROOF = Proof(network="203.0.113.0/24", page="2026-11-24", wording="Send me <Rutas> & nothing else.")


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        ("testclient", None),
        ("203.0.113.77, 10.0.0.1", None),
        ("", None),
        (None, None),
    ],
)
def test_networks(host: str | None, network: str | None) -> None:
    """Of an address only a prefix is kept, /24 or /48; of what is none, nothing."""
    assert network_of(host) == network


@given(st.ip_addresses())
def test_no_network_tells_one_address(host: object) -> None:
    """Whatever the address, at least 256 share its network, and it fits its column."""
    network = network_of(str(host))
    assert network is not None
    assert int(network.rpartition("/")[2]) in (24, 48)
    assert len(network) <= 64


@pytest.fixture
def altered(engine: Engine) -> list[str]:
    """The statements that alter or delete consents."""
    found: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def look(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if re.match(r"\s*(UPDATE|DELETE FROM)\s+consents\b", statement, re.IGNORECASE):
            found.append(statement)

    return found


def test_a_life(engine: Engine, settings: Settings, altered: list[str]) -> None:
    """Asking, confirming, changing, pausing and leaving each keep address, network, page, wording, picks and source of
    that time; what stands there already stays as it was.
    """
    house = House(engine, settings).create()
    reader = house.subscribe("Ana@example.org", PICKS, "weekly", due_at=None, source="the site", proof=PROOF)
    with engine.begin() as connection:
        row = audience.find_subscription(connection, "ana@example.org", house.list_id)
        first = [as_shown(kept) for kept in consent_history(connection, row.subscriber_id)]
        audience.confirm(connection, house.settings.keys, reader, "link in a mail", house.now, house.now, PROOF)
        schedule, picks = Schedule("daily", 6, 0), Picks(countries=frozenset({"GT"}))
        values = {"person": {}, "picks": picks, "schedule": schedule, "next_due": next_due, "source": "preferences"}
        assert audience.edit(connection, row, **values, now=house.now, proof=PROOF)
        audience.pause(connection, reader, house.now)
        audience.resume(connection, reader, house.now, house.now)
        audience.unsubscribe(connection, reader, "one click", house.now)
        history = [as_shown(kept) for kept in consent_history(connection, row.subscriber_id)]
    assert history[:1] == first
    assert [(h["event"], h["source"]) for h in history] == [
        ("asked", "the site"),
        ("confirmed", "link in a mail"),
        *[("changed", why) for why in ("preferences", "paused", "resumed")],
        ("unsubscribed", "one click"),
    ]
    assert first[0]["network"], first[0]["page"] == ("203.0.113.0/24", "2026-11-24")
    assert first[0]["wording"] == PROOF.wording
    assert was_given_for(settings.keys, first[0]["address_hash"], "ana@example.org")
    assert first[0]["picks"] == {
        **{"countries": ["GT", "HN"], "regions": [], "themes": ["trade"], "languages": []},
        **{"frequency": "weekly", "hour": 8, "weekday": "mon"},
    }
    assert history[1]["picks"] == first[0]["picks"]
    assert history[1]["address_hash"] == first[0]["address_hash"]
    assert [h["picks"]["countries"] for h in history[2:]] == [["GT"]] * 4
    assert [h["picks"]["frequency"] for h in history[2:]] == ["daily"] * 4
    assert altered == []


def test_whose_consent(settings: Settings) -> None:
    """A consent tells whether it was given for an address, also after its key is no longer the newest."""
    old, new = ["o" * 40], ["n" * 40, "o" * 40]
    hashed = consent_hash(old, "ana@example.org")
    assert was_given_for(new, hashed, "ana@example.org")
    assert was_given_for(new, hashed, "ben@example.org") is False
    assert was_given_for(new, None, "ana@example.org") is None
    assert "ana" not in hashed


def test_nothing_alters_consents() -> None:
    """No code updates the history."""
    for path in (CHECKOUT / "src").rglob("*.py"):
        code = path.read_text()
        assert not re.search(r"update\(consents\)|UPDATE consents", code), path


def test_shown_and_imported(newsletter: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports keep address and picks, too; `show` says it all, with each wording once, and `--json` every field."""
    monkeypatch.setattr(output.console, "width", 200)
    newsletter(
        "lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@e.example", "--postal-address", "1 St"
    )
    file = tmp_path / "r.csv"
    file.write_text("email,country,frequency\nana@example.org,GT,weekly\n")
    newsletter("subscribers", "import", str(file), "--apply")
    file.write_text("email,country,state\nana@example.org,HN,\n")
    newsletter("subscribers", "import", str(file), "--apply")
    file.write_text("email,state\nana@example.org,unsubscribed\n")
    newsletter("subscribers", "import", str(file), "--apply")
    newsletter("subscribers", "add", "ana@example.org", "--confirmed")
    settings = load_settings()
    with engine_for(settings.database).begin() as connection:
        row = audience.find_subscription(connection, "ana@example.org", 1)
        audience.unsubscribe(connection, row.id, "the site", row.created_at, PROOF)
    shown = newsletter("subscribers", "show", "ana@example.org", "--json").json["consents"]
    assert [(c["event"], c["picks"]["countries"], c["picks"]["frequency"]) for c in shown] == [
        ("imported", ["GT"], "weekly"),
        ("changed", ["HN"], "weekly"),
        ("unsubscribed", ["HN"], "weekly"),
        ("confirmed", [], "daily"),
        ("unsubscribed", [], "daily"),
    ]
    assert [c["address"] for c in shown] == ["this one"] * 4 + [None]
    assert shown[-1]["wording"] == PROOF.wording
    text = newsletter("subscribers", "show", "ana@example.org").out
    assert "203.0.113.0/24" in text
    assert text.count(str(PROOF.wording)) == 1
