"""Erasure: after one command nothing of the person is left, in the database or in its files, but a keyed hash."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from commanding import CommandLine
from house import START, House
from sqlalchemy import Engine, insert, inspect, select, text, update

from newsletter.audience import moving
from newsletter.audience.addresses import parse_address
from newsletter.audience.consents import Proof
from newsletter.audience.erasing import erase, erase_subscriber
from newsletter.audience.exporting import person_data
from newsletter.audience.lists import edit_list
from newsletter.audience.notices import ask
from newsletter.audience.suppressions import suppress, suppressed
from newsletter.database import empty_log, engine_for
from newsletter.delivery import outbox, settling
from newsletter.delivery.settling import Outcome
from newsletter.delivery.smtp.conversation import Answer, Verdict
from newsletter.errors import UnknownName
from newsletter.settings import load_settings
from newsletter.tables import (
    address_changes,
    consents,
    deliveries,
    lists,
    metadata,
    notices,
    relays,
    requests,
    subscribers,
    subscriptions,
    tokens,
)

EMAIL, TRACES = "Ana.Secret@example.org", ("ana.secret", "peña", "198.51.100", "moved.secret", "wörding")


def texts(engine: Engine) -> str:
    """Every value of every column of every table, in small letters."""
    with engine.connect() as connection:
        assert {*metadata.tables} <= {*inspect(connection).get_table_names()}
        return "\n".join(
            str(tuple(row)).lower()
            for table in inspect(connection).get_table_names()
            for row in connection.execute(text(f'SELECT * FROM "{table}"'))
        )


def leave_traces(house: House) -> int:
    """A reader whose address stands wherever one can stand; the subscription's number."""
    proof = Proof(network="198.51.100.0/24", page="1", wording="A wörding")
    reader = house.subscribe(EMAIL, name="Ana Peña", proof=proof, source=f"form filled in by {EMAIL}")
    other = house.subscribe("ben@example.org")
    with house.engine.begin() as connection:
        number = connection.scalar(select(subscriptions.c.subscriber_id).where(subscriptions.c.id == reader))
        ben = connection.scalar(select(subscriptions.c.subscriber_id).where(subscriptions.c.id == other))
        said = f"550 no such user <{EMAIL}>"
        values = {"failed_at": house.now, "failure_code": 550, "failure": said, "language": "es"}
        connection.execute(update(subscribers).where(subscribers.c.id == number).values(values))
        keys = house.settings.keys
        moving.ask(connection, keys, number, parse_address("moved.secret@example.org"), house.now)
        moving.ask(connection, keys, ben, parse_address(EMAIL), house.now)
        ask(connection, "welcome", subscriber_id=number, list_id=house.list_id, now=house.now, data={"to": EMAIL})
        ask(connection, "address_new", subscriber_id=ben, list_id=None, now=house.now, email=EMAIL)
        connection.execute(update(notices).where(notices.c.subscriber_id == number).values(answer=said))
        connection.execute(insert(relays).values(name="main", last_error=said))
        token = {"name": "t", "token_hash": "t", "scopes": [], "created_at": house.now}
        connection.execute(insert(tokens).values(token))
        answered = {"token_id": 1, "key": "k", "body_hash": "h", "at": house.now, "status": 200, "answer": f"[{EMAIL}]"}
        connection.execute(insert(requests).values(answered))
        suppress(connection, keys, EMAIL.lower(), said, house.now)
        connection.execute(update(subscribers).values(suppressed_at=None))
    house.publish("one")
    house.tick()
    with house.engine.begin() as connection:
        connection.execute(update(deliveries).where(deliveries.c.subscription_id == reader).values(answer=said))
    return reader


def test_nothing_is_left(house: House) -> None:
    """No table holds address, name, network or wording any more; other people's rows stay as they were."""
    reader = leave_traces(house)
    before = texts(house.engine)
    assert all(trace in before for trace in TRACES)
    with house.engine.begin() as connection:
        erase(connection, house.settings.keys, EMAIL, house.now)
        erased = connection.scalar(select(subscriptions.c.subscriber_id).where(subscriptions.c.id == reader))
        assert person_data(connection, house.settings.keys, erased) == {}
        for table in (consents, notices, address_changes):
            assert connection.scalars(select(table.c.id).where(table.c.subscriber_id == erased)).all() == []
        assert suppressed(connection, house.settings.keys, [EMAIL.lower()])
        ben = connection.execute(select(subscribers).where(subscribers.c.email == "ben@example.org")).one()
        assert person_data(connection, house.settings.keys, ben.id)["consents"]
        # A second time there is nothing to do.
        erase_subscriber(connection, house.settings.keys, erased, house.now)
        with pytest.raises(UnknownName):
            erase(connection, house.settings.keys, EMAIL, house.now)
    after = texts(house.engine)
    assert [trace for trace in TRACES if trace in after] == []
    assert house.states(reader) == ["dropped"]


def test_an_address_that_ends_alike(house: House) -> None:
    """Erasing one person leaves alone what waits for another whose new address only ends like theirs."""
    house.subscribe("ana@example.org")
    other = house.subscribe("mariana@example.org")
    with house.engine.begin() as connection:
        mariana = connection.scalar(select(subscriptions.c.subscriber_id).where(subscriptions.c.id == other))
        moving.ask(connection, house.settings.keys, mariana, parse_address("diana@example.org"), house.now)
        waiting = connection.scalars(select(notices.c.id).where(notices.c.subscriber_id == mariana)).all()
        erase(connection, house.settings.keys, "ana@example.org", house.now)
        kept = connection.scalars(select(notices.c.id).where(notices.c.subscriber_id == mariana)).all()
    assert kept == waiting
    assert len(kept) == 2


def test_an_address_in_other_letters(house: House) -> None:
    """However an address is spelled in a change of somebody else's, in a relay's answer or among the addresses that a
    list reports to, nothing of it is left."""
    house.subscribe("josé@example.org")
    other = house.subscribe("ben@example.org")
    with house.engine.begin() as connection:
        ben = connection.scalar(select(subscriptions.c.subscriber_id).where(subscriptions.c.id == other))
        moving.ask(connection, house.settings.keys, ben, parse_address("JOSÉ@Example.org"), house.now)
        ask(connection, "address_new", subscriber_id=ben, list_id=None, now=house.now, email="JosÉ@example.org")
        connection.execute(insert(relays).values(name="main", last_error="550 <JOSÉ@example.org>"))
        edit_list(connection, "rutas", {"reports_to": ["José@example.org", "eva@example.org"]})
        erase(connection, house.settings.keys, "josé@example.org", house.now)
        assert connection.scalar(select(lists.c.reports_to)) == ["eva@example.org"]
    assert "jos" not in texts(house.engine)


def test_an_answer_that_comes_later(house: House) -> None:
    """What a relay says of a digest that was on its way when its reader was erased is not written down."""
    reader = house.subscribe(EMAIL)
    house.publish("one")
    house.tick()
    for verdict, code in ((Verdict.REFUSED, 550), (Verdict.DEFERRED, 450), (Verdict.ACCEPTED, 250)):
        with house.engine.begin() as connection:
            claimed = outbox.claim(connection, "here", house.now, timedelta(minutes=5), 50)
            if code == 550:
                (delivery,) = claimed
                erase(connection, house.settings.keys, EMAIL, house.now)
            answer = Answer(verdict, code, f"<{EMAIL}>")
            settling.settle(connection, [Outcome(delivery, answer)], house.now)
    assert "ana.secret" not in texts(house.engine)
    assert house.states(reader) == ["dropped"]


def test_the_file_of_sqlite(newsletter: CommandLine, tmp_path: Path) -> None:
    """After `erase` not one byte of the address is in SQLite's files, and an import does not bring it back."""
    newsletter(
        "lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@e.example", "--postal-address", "1 St"
    )
    engine = engine_for(load_settings().database)
    files = [newsletter.home / f"newsletter.db{end}" for end in ("", "-wal")]

    def held() -> bool:
        return any(b"na.secret" in file.read_bytes() or b"oved.sec" in file.read_bytes() for file in files)

    newsletter("subscribers", "add", EMAIL, "--confirmed", "--name", "Ana Peña", "--source", f"told by {EMAIL}")
    for number in range(3):
        newsletter("subscribers", "edit", EMAIL, "--name", f"ana.secret {number * 'x'}")
    with engine.begin() as connection:
        moving.ask(connection, load_settings().keys, 1, parse_address("moved.secret@example.org"), START)
    assert held()
    newsletter("subscribers", "erase", EMAIL, "--yes")
    assert not held()
    (tmp_path / "r.csv").write_text(f"email\n{EMAIL}\n")
    newsletter("keys", "rotate")
    assert "1 suppressed" in newsletter("subscribers", "import", str(tmp_path / "r.csv"), "--apply").out
    assert newsletter("subscribers", "list", "--json").json == []
    assert "must not be mailed" in newsletter("subscribers", "add", EMAIL, code=1).err
    empty_log(engine)
    assert not held()
