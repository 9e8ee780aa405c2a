"""Reports on runs: what an admin hears of one that waits and of one that is done, and how often."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from house import House
from sqlalchemy import Engine, select, update
from structlog.testing import capture_logs

from newsletter.audience.lists import edit_list
from newsletter.audience.picks import Picks
from newsletter.audience.suppressions import suppress
from newsletter.delivery import ledger
from newsletter.delivery.reporting import report_of, without_addresses
from newsletter.digests import oversight, runs
from newsletter.settings import Settings
from newsletter.tables import deliveries, notices, subscribers

ADMINS = ["ana@example.org", "ben@example.org"]


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    made = House(engine, settings).create(timezone="America/Guatemala")
    configure(made, reports_to=ADMINS, needs_approval=True)
    return made


def configure(house: House, **values: Any) -> None:
    with house.engine.begin() as connection:
        edit_list(connection, "rutas", values)


def approve(house: House) -> None:
    with house.engine.begin() as connection:
        oversight.approve(connection, 1, house.now)


def reports(relay: Any) -> list[tuple[str, EmailMessage, str]]:
    """To whom, the message and its text part as one line, of each mail to an admin."""
    found = []
    for _, (to,), content in relay.messages:
        message = message_from_bytes(content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        if to in ADMINS:
            found.append((to, message, " ".join(message.get_body(("plain",)).get_content().split())))
    return found


def test_a_run_that_waits(house: House, relay) -> None:
    """Each admin hears once of a run that waits: slot, digests, items, newest headlines, and what to type."""
    for number in range(3):
        house.subscribe(f"r{number}@example.org")
    house.subscribe("gt@example.org", Picks(countries=frozenset({"GT"})))
    house.publish(*(f"Story {number}" for number in range(6)), countries=("GT",))
    house.publish("Elsewhere", countries=("FR",))
    for _ in range(3):
        house.tick()
        house.send()
    assert sorted(to for to, *_ in reports(relay)) == ADMINS
    _, message, text = reports(relay)[0]
    assert message["Subject"] == "Rutas: run 1 waits for your approval"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "Run 1, Tuesday, November 24, 2026, 2:00" in text
    assert "4 digests 7 different items" in text
    for command in ("runs show 1", "deliveries list --run 1", "runs approve 1", "runs cancel 1"):
        assert f"newsletter {command}" in text
    assert "Elsewhere" in text
    assert "Story 5" in text
    assert "Story 1" not in text


def test_approved_before_it_was_told(house: House, relay) -> None:
    """A run that does not wait any more is not reported as one that does, nor any to who gets no reports any more."""
    house.subscribe("r@example.org")
    house.publish("one")
    house.tick()
    approve(house)
    house.send()
    assert reports(relay) == []
    configure(house, reports_to=ADMINS[:1])
    house.send()
    assert [(to, message["Subject"]) for to, message, _ in reports(relay)] == [(ADMINS[0], "Rutas: run 1 is done")]


def test_a_run_that_is_done(house: House, relay) -> None:
    """Each admin hears once what a run came to: sent, refused, why most often without an address, how long it took."""
    for name in ("ok", "fine", "no", "never", "full"):
        house.subscribe(f"{name}@example.org")
    gone = house.subscribe("gone@example.org")
    house.publish("one")
    relay.at_recipient = {
        "no@example.org": ["550 5.1.1 <no@example.org>: user unknown"],
        "never@example.org": ["550 5.1.1 <never@example.org>: user unknown"],
        "full@example.org": ["552 5.2.2 full"],
    }
    house.tick()
    approve(house)
    house.set(gone, state="paused")
    house.pass_time(minutes=3)
    for _ in range(3):
        house.send()
        house.tick()
    assert sorted(to for to, *_ in reports(relay)) == ADMINS
    _, message, text = reports(relay)[0]
    assert message["Subject"] == "Rutas: run 1 is done"
    assert "6 digests 1 item in all of them together" in text
    assert "Sent: 2" in text
    assert "Refused for good: 3" in text
    assert "must not be mailed: 1" in text
    assert "550 5.1.1 …: user unknown (2)" in text
    assert "552 5.2.2 full (1)" in text
    assert "It took 3 minutes." in text
    assert "never@example.org" not in text


def test_taken_up_again(house: House, relay) -> None:
    """A run that is done, and has failed digests tried once more, is not reported a second time."""
    configure(house, needs_approval=False)
    house.subscribe("no@example.org")
    house.publish("one")
    relay.at_recipient = {"no@example.org": ["550 no"]}
    house.tick()
    house.send()
    with house.engine.begin() as connection:
        assert ledger.retry(connection, house.now, run_id=1) == 1
        assert oversight.find_run(connection, 1).state == "sending"
    for _ in range(2):
        house.send()
    with house.engine.connect() as connection:
        assert oversight.find_run(connection, 1).state == "done"
    assert sorted(to for to, *_ in reports(relay)) == ADMINS


def test_nothing_to_report(house: House, relay) -> None:
    """A run without a digest is not reported, nor one of a list that names nobody."""
    house.subscribe("r@example.org", Picks(countries=frozenset({"GT"})))
    house.publish("elsewhere", countries=("FR",))
    house.tick()
    configure(house, reports_to=[], needs_approval=False)
    house.publish("here", countries=("GT",))
    house.pass_time(days=1)
    house.tick()
    house.send()
    with house.engine.connect() as connection:
        assert connection.execute(select(notices)).all() == []
    assert relay.recipients == ["r@example.org"]


def test_told_once_if_the_worker_dies(house: House, relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happened and that it is to be reported are one transaction: cut off within, neither is there."""
    house.subscribe("r@example.org")
    house.publish("one")
    close = runs.close_finished

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "close_finished", killed)
    with pytest.raises(KeyboardInterrupt):
        house.tick()
    monkeypatch.setattr(runs, "close_finished", close)
    with house.engine.connect() as connection:
        assert connection.execute(select(notices)).all() == []
    for _ in range(2):
        house.tick()
        house.send()
    assert sorted(to for to, *_ in reports(relay)) == ADMINS


def test_in_the_language_of_the_list(house: House, relay) -> None:
    """A report comes in the list's first language."""
    configure(house, languages=["es", "en"])
    house.subscribe("r@example.org", language="en")
    house.publish("one")
    house.tick()
    house.send()
    _, message, text = reports(relay)[0]
    assert message["Content-Language"] == "es"
    assert "Envío 1, martes, 24 de noviembre de 2026" in text


def test_an_admin_is_no_subscriber(house: House, relay) -> None:
    """A refused report leaves no mark on a subscriber, one to a suppressed address is not sent; no log names either."""
    house.subscribe("r@example.org")
    house.publish("one")
    with house.engine.begin() as connection:
        suppress(connection, house.settings.keys, ADMINS[1], "test", house.now)
    relay.at_recipient = {ADMINS[0]: ["550 no"]}
    with capture_logs() as logged:
        house.tick()
        house.send()
    assert reports(relay) == []
    assert not any(admin in str(logged) for admin in ADMINS)
    with house.engine.connect() as connection:
        assert connection.scalars(select(subscribers.c.failed_at)).all() == [None]
        found = connection.execute(select(notices.c.code, notices.c.due_at).order_by(notices.c.id)).all()
    assert [tuple(row) for row in found] == [(550, None), (None, None)]


def test_answers_lose_their_addresses() -> None:
    """Whom a server refuses is taken out of what it says, however it is written; and a long answer is cut."""
    for answer, left in {
        "5.1.1 <ana@example.org>: unknown": "5.1.1 …: unknown",
        "no such user: ana.p+x@sub.example.org.": "no such user: …",
        "josé@correo.example (rcpt=ana@example.org)\r\n gone": "… (…) gone",
        "4.2.2 full": "4.2.2 full",
    }.items():
        assert without_addresses(answer) == left
    assert len(without_addresses("x" * 500)) == 160


def test_the_ledger_is_read_by_code(house: House) -> None:
    """Of several answers with a code the commonest is named; those without a code are left out."""
    configure(house, needs_approval=False)
    for number in range(6):
        house.subscribe(f"r{number}@example.org")
    house.publish("one")
    house.tick()
    told = [(550, "a"), (550, "b"), (550, "b"), (450, "later"), (None, "Not accepted by then"), (250, "ok")]
    with house.engine.begin() as connection:
        for number, (code, answer) in enumerate(told, 1):
            state = "sent" if code == 250 else "failed" if code == 550 else "expired"
            values = {"code": code, "answer": answer, "state": state}
            connection.execute(update(deliveries).where(deliveries.c.id == number).values(**values))
        report, _ = report_of(connection, 1, 5)
    assert report.refusals == (("550 b", 3), ("450 later", 1))
    assert report.counts == {"sent": 1, "failed": 3, "expired": 2}
