"""What an installation stands on, asked for real: each kind of database, and clocks that are wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from servers import Relay, serving
from sqlalchemy import Engine

from newsletter.delivery.relays import Relay as Configured
from newsletter.doctor import house, sending
from newsletter.doctor.resolving import Resolver
from newsletter.doctor.sending import Sender, senders
from newsletter.settings import Settings, load_settings


def test_a_database_that_is_well(engine: Engine, settings: Settings) -> None:
    """Either kind is fine; the clock of one on a server is compared."""
    found = [(one.check, one.level) for one in house.database(engine, settings)]
    assert found == [("database", "ok"), ("clock", "ok")][: 2 if engine.dialect.name == "postgresql" else 1]


@pytest.mark.parametrize(("minutes", "level"), [(0, "ok"), (1, "warning"), (10, "error")])
def test_the_clock_of_a_relay(minutes: int, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that says the time when it greets shows a clock of ours that is wrong."""
    theirs = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes))
    with serving(Relay(), ident=f"ESMTP Exim 4.96 {theirs}") as relay:
        monkeypatch.setenv("NEWSLETTER_SMTP_URL", f"smtp://127.0.0.1:{relay.port}?name=main")
        usable, clock = house.relays(load_settings(), {})
    assert (usable.level, clock.check, clock.about, clock.level) == ("ok", "clock", "relay main", level)


@pytest.mark.parametrize(
    ("said", "clocks"), [("Fri, 27 Nov 2026 08:00:00 -0000", 1), ("Fri, 31 Feb 2026 08:00:00 +0000", 0)]
)
def test_the_odd_date_of_a_relay(said: str, clocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay whose greeting has a date without a zone, or one that there is not, is looked at all the same."""
    with serving(Relay(), ident=f"ESMTP {said}") as relay:
        monkeypatch.setenv("NEWSLETTER_SMTP_URL", f"smtp://127.0.0.1:{relay.port}?name=main")
        usable, *others = house.relays(load_settings(), {})
    assert (usable.level, [one.check for one in others]) == ("ok", ["clock"] * clocks)


def test_where_mails_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said goes before where a relay listens; a relay at home sends from this machine's address."""
    nobody = Resolver(lambda name, kind: [])
    far, home = Configured("far", "1.1.1.1", 25), Configured("home", "10.0.0.7", 25)
    monkeypatch.setattr(sending, "own_addresses", lambda: ["8.8.4.4"])
    assert senders([far, home], [], nobody) == [
        Sender("1.1.1.1", False, "relay far"), Sender("8.8.4.4", True, "this machine")
    ]  # fmt: skip
    assert senders([far], ["2001:DB8::1"], nobody) == [Sender("2001:db8::1", True, "--address")]
