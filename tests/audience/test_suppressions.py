"""Suppressions: who must not be mailed is known by a keyed hash, also after keys were rotated."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from house import House
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, select

from newsletter.audience.addresses import address_hash
from newsletter.audience.suppressions import (
    counts_by_key,
    fingerprint,
    keyed_hash,
    suppress,
    suppressed,
    suppression_hashes,
)
from newsletter.errors import StateError
from newsletter.settings import Settings
from newsletter.tables import subscribers, suppressions

OLD, NEW, OTHER = "o" * 40, "n" * 40, "x" * 40
ANA, BEN = "ana@example.org", "ben@example.org"
NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


def rows(engine: Engine) -> list[tuple[str, str, str | None]]:
    with engine.connect() as connection:
        columns = (suppressions.c.address_hash, suppressions.c.reason, suppressions.c.key_print)
        return [tuple(row) for row in connection.execute(select(*columns).order_by(suppressions.c.reason))]


def test_by_each_key(engine: Engine) -> None:
    """An address stays suppressed after a rotation, until its key is dropped; nobody can make its hash without."""
    with engine.begin() as connection:
        suppress(connection, [OLD], ANA, "complaint", NOW)
        assert suppressed(connection, [OLD], [ANA, BEN]) == {ANA: "complaint"}
        assert suppressed(connection, [NEW, OLD], [BEN, ANA]) == {ANA: "complaint"}
        assert suppressed(connection, [NEW], [ANA]) == {}
        assert counts_by_key(connection) == {fingerprint(OLD): 1}
    ((kept, _, _),) = rows(engine)
    assert kept not in {hashlib.sha256(text.encode()).hexdigest() for text in (ANA, OLD + ANA, ANA + OLD)}


def test_again_under_the_newest_key(engine: Engine) -> None:
    """Suppressing again keeps reason and time, and one row, under the newest key; so with those of earlier versions."""
    with engine.begin() as connection:
        values = {"address_hash": address_hash(ANA), "reason": "a bounce", "at": NOW}
        connection.execute(insert(suppressions).values(values))
        assert suppressed(connection, [OLD], [ANA]) == {ANA: "a bounce"}
        for keys in ([OLD], [NEW, OLD], [NEW, OLD], [NEW]):
            suppress(connection, keys, ANA, "another", NOW.replace(year=2027))
        suppress(connection, [OLD, NEW], BEN, "b", NOW)
        assert connection.scalar(select(suppressions.c.at).where(suppressions.c.reason == "a bounce")) == NOW
    assert rows(engine) == [
        (keyed_hash(NEW, "suppression", ANA), "a bounce", fingerprint(NEW)),
        (keyed_hash(OLD, "suppression", BEN), "b", fingerprint(OLD)),
    ]


def test_nobody_stands_in_for_another(engine: Engine) -> None:
    """Suppressing an address leaves that of another whose letters fold to the same as it was."""
    strasse, sharp = "strasse@example.org", "straße@example.org"
    with engine.begin() as connection:
        suppress(connection, [OLD], strasse, "complaint", NOW)
        suppress(connection, [NEW, OLD], sharp, "erased", NOW)
        assert suppressed(connection, [NEW, OLD], [strasse]) == {strasse: "complaint"}
        assert suppressed(connection, [NEW], [sharp]) == {sharp: "erased"}


def test_the_subscriber_is_marked(engine: Engine, settings: Settings) -> None:
    """A subscriber whose address is suppressed is marked with the moment, once; who is suppressed is not subscribed."""
    house = House(engine, settings).create()
    house.subscribe(ANA)
    house.subscribe(BEN)
    with engine.begin() as connection:
        suppress(connection, settings.keys, ANA, "complaint", NOW)
        suppress(connection, settings.keys, ANA, "complaint", NOW.replace(year=2027))
        suppress(connection, settings.keys, "cas@example.org", "complaint", NOW)
        marks = dict(connection.execute(select(subscribers.c.email, subscribers.c.suppressed_at)).all())
    assert marks == {ANA: NOW, BEN: None}
    with pytest.raises(StateError, match="must not be mailed: complaint"):
        house.subscribe("Cas@Example.org")
    with pytest.raises(StateError, match="must not be mailed"):
        house.subscribe("cas@example.org", keys=(NEW, *settings.keys))


def test_many_at_once(sqlite_engine: Engine) -> None:
    """More addresses than a statement has room for are asked about at once."""
    wanted = [f"r{number}@example.org" for number in range(3000)]
    with sqlite_engine.begin() as connection:
        for address in wanted[::500]:
            suppress(connection, [OLD], address, "x", NOW)
        assert set(suppressed(connection, [NEW, OLD], wanted)) == set(wanted[::500])


@given(st.lists(st.tuples(st.sampled_from((OLD, NEW, OTHER)), st.text(max_size=30)), unique=True, max_size=8))
def test_no_two_share_a_hash(pairs: list[tuple[str, str]]) -> None:
    """Two keys, two addresses or two purposes give two hashes."""
    found = [keyed_hash(key, purpose, text) for key, text in pairs for purpose in ("suppression", "consent")]
    assert len(set(found)) == 2 * len(pairs)
    for key, text in pairs:
        assert suppression_hashes([key, OTHER], text)[0] == keyed_hash(key, "suppression", text)
