"""Notices: who gets which, when, how often, and what it says; double opt-in first of all."""

from __future__ import annotations

import re
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from commanding import KEY
from house import START, House
from sqlalchemy import Engine, func, select, update

from newsletter.audience import moving
from newsletter.audience import notices as asking
from newsletter.audience import subscribers as audience
from newsletter.audience.addresses import parse_address
from newsletter.audience.leaving import leave_all
from newsletter.audience.links import LinkError, Purpose, read_expiring, read_token
from newsletter.audience.notices import Kind
from newsletter.audience.picks import Picks
from newsletter.audience.suppressions import suppress
from newsletter.delivery import notices as sending
from newsletter.delivery.composing.wording import Writer
from newsletter.delivery.relays import CONNECTIONS
from newsletter.errors import InputError
from newsletter.settings import Settings
from newsletter.tables import address_changes, lists, notices, subscribers, subscriptions


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    return House(engine, settings).create()


def confirm(house: House) -> int:
    return house.send().counts["notices"]


def test_asked_once(house: House, relay) -> None:
    """A pending reader gets one mail, in their language, whose link confirms them; no digest before. It does not call
    them by the name that came with the address: both may have been entered by anybody."""
    picks = Picks(countries=frozenset({"GT"}), themes=frozenset({"protection"}))
    reader = house.subscribe("ana@example.org", picks, language="es", name="You won: evil.example", due_at=None)
    house.publish("one", countries=("GT",), themes=("protection",))
    house.tick()
    assert confirm(house) == 1
    assert confirm(house) == 0
    house.pass_time(days=1)
    assert confirm(house) == 0
    (sent,) = relay.messages
    message = message_from_bytes(sent[2], policy=policy.default)
    assert message["To"] == "ana@example.org"
    assert b"evil.example" not in sent[2]
    assert message["Auto-Submitted"] == "auto-generated"
    assert one_click(message, "unsubscribe") == reader
    for part in message.walk():
        if part.get_content_maintype() == "text":
            text = part.get_content()
            assert "Guatemala" in text
            (token,) = set(re.findall(r"https://news\.example\.org/c/([\w.-]+)", text))
            assert read_expiring([KEY], "confirm", token, START + timedelta(days=7)) == reader


@pytest.mark.parametrize("gone", ["unsubscribed", "suppressed", "archived", "confirmed"])
def test_nobody_is_asked_who_is_gone(house: House, relay, gone: str) -> None:
    """Who left, was suppressed or confirmed meanwhile is not asked; nor is anybody of an archived list."""
    reader = house.subscribe("ana@example.org", due_at=None)
    with house.engine.begin() as connection:
        if gone == "unsubscribed":
            audience.unsubscribe(connection, reader, "test", house.now)
        elif gone == "confirmed":
            connection.execute(update(subscriptions).values(state="active"))
        elif gone == "suppressed":
            suppress(connection, house.settings.keys, "ana@example.org", "test", house.now)
        else:
            connection.execute(update(lists).values(archived_at=house.now))
    assert confirm(house) == 0
    assert relay.messages == []


def test_deferred_and_refused(house: House, relay) -> None:
    """A 4xx is asked again after a pause, for four days; a 5xx is not."""
    house.subscribe("slow@example.org", due_at=None)
    house.subscribe("never@example.org", due_at=None)
    relay.at_recipient = {"slow@example.org": ["450 later"] * 2, "never@example.org": ["550 no"]}
    assert confirm(house) == 0
    assert confirm(house) == 0
    house.pass_time(minutes=11)
    assert confirm(house) == 0
    house.pass_time(minutes=11)
    assert confirm(house) == 1
    house.pass_time(days=1)
    assert confirm(house) == 0
    assert relay.recipients == ["slow@example.org"]
    house.subscribe("dead@example.org", due_at=None)
    relay.at_recipient = {"dead@example.org": ["450 later"] * 1000}
    for _ in range(5 * 4):
        confirm(house)
        house.pass_time(hours=6)
    left = len(relay.at_recipient["dead@example.org"])
    confirm(house)
    assert len(relay.at_recipient["dead@example.org"]) == left > 900


def test_pauses(house: House, relay) -> None:
    """A confirmation that a relay could not take is tried again after a minute; pauses double, up to ten minutes."""
    house.subscribe("ana@example.org", due_at=None)
    relay.at_recipient = {"ana@example.org": ["450 later"] * 9}
    tried_at = []
    for minute in range(40):
        left = len(relay.at_recipient["ana@example.org"])
        confirm(house)
        if len(relay.at_recipient["ana@example.org"]) < left:
            tried_at.append(minute)
        house.pass_time(minutes=1)
    assert tried_at == [0, 1, 2, 4, 8, 16, 26, 36]


def test_a_notice_with_a_defect(house: House, relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes of writing one notice, the others go out, and it is tried again after a pause."""
    write = Writer.write

    def broken(writer: Writer, row: Any) -> Any:
        if row.own_email == "ana@example.org":
            raise AttributeError("a defect of ours")
        return write(writer, row)

    monkeypatch.setattr(Writer, "write", broken)
    for name in ("ana", "ben"):
        house.subscribe(f"{name}@example.org", due_at=None)
    assert confirm(house) == 1
    monkeypatch.undo()
    assert confirm(house) == 0
    house.pass_time(minutes=11)
    assert confirm(house) == 1
    assert relay.recipients == ["ben@example.org", "ana@example.org"]


def test_many(house: House, relay) -> None:
    """More than one batch is asked in one go, over a few connections."""
    for number in range(120):
        house.subscribe(f"r{number}@example.org", due_at=None)
    assert confirm(house) == 120
    assert len(set(relay.recipients)) == 120
    assert relay.connections <= CONNECTIONS


def test_asked_anew(house: House, relay) -> None:
    """Who left and asks again gets a new mail, not a copy of the first; but only one an hour."""
    reader = house.subscribe("ana@example.org", due_at=None)
    confirm(house)
    for minutes, more in ((30, 0), (31, 1)):
        house.pass_time(minutes=minutes)
        with house.engine.begin() as connection:
            audience.unsubscribe(connection, reader, "test", house.now)
        house.subscribe("ana@example.org", due_at=None)
        assert confirm(house) == more
    first, second = (message_from_bytes(m[2])["Message-ID"] for m in relay.messages)
    assert first != second


def test_left_before_it_went_out(house: House, relay) -> None:
    """Who left before the mail went out, and asks again at once, gets it."""
    reader = house.subscribe("ana@example.org", due_at=None)
    with house.engine.begin() as connection:
        audience.unsubscribe(connection, reader, "test", house.now)
    assert confirm(house) == 0
    house.subscribe("ana@example.org", due_at=None)
    assert confirm(house) == 1


def ask(house: House, kind: Kind, reader: int, of_list: bool = True, email: str | None = None) -> bool:
    with house.engine.begin() as connection:
        whose = connection.scalar(select(subscriptions.c.subscriber_id).where(subscriptions.c.id == reader))
        list_id = house.list_id if of_list else None
        return asking.ask(connection, kind, subscriber_id=whose, list_id=list_id, now=house.now, email=email)


def move(house: House, reader: int, email: str) -> int:
    """Ask for a change of address; its number."""
    with house.engine.begin() as connection:
        whose = connection.execute(
            select(subscriptions.c.subscriber_id).where(subscriptions.c.id == reader)
        ).scalar_one()
        moving.ask(connection, house.settings.keys, whose, parse_address(email), house.now)
        return connection.execute(select(func.max(address_changes.c.id))).scalar_one()


def sent(relay, number: int = -1) -> tuple[list[str], EmailMessage, str]:
    """The addresses, the message and its text part."""
    _, to, content = relay.messages[number]
    message = message_from_bytes(content, policy=policy.default)
    text = message.get_body(("plain",)).get_content()
    assert message["List-Id"] == '"Rutas" <rutas.rutas.example>'
    assert message["Auto-Submitted"] == "auto-generated"
    return to, message, text


def token(text: str, path: str) -> str:
    (found,) = set(re.findall(rf"https://news\.example\.org/{path}/([\w.-]+)", text))
    return found


def one_click(message: EmailMessage, purpose: Purpose) -> int:
    """The number that its one-click link (RFC 8058) names for this purpose."""
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    (found,) = re.findall(r"<https://news\.example\.org/u/([\w.-]+)>", message["List-Unsubscribe"])
    return read_token([KEY], purpose, found)


def test_one_click_leaves_the_list_it_came_from(house: House, relay) -> None:
    """One click in a mail about the whole account leaves the list whose name it bears."""
    house.subscribe("first@example.org")
    reader = house.subscribe("ana@example.org")
    move(house, reader, "ana@new.example")
    ask(house, "account", reader, False)
    assert confirm(house) == 3
    own = [message for to, message, _ in (sent(relay, number) for number in range(3)) if to == ["ana@example.org"]]
    assert [one_click(message, "unsubscribe") for message in own] == [reader, reader]
    with house.engine.begin() as connection:
        leave_all(connection, 2, "test", house.now)
    ask(house, "goodbye", reader, False)
    assert confirm(house) == 1
    _, goodbye, text = sent(relay)
    assert one_click(goodbye, "unsubscribe") == reader
    assert "/u/" not in text


def test_a_new_address_cannot_leave(house: House, relay) -> None:
    """A link at an address that is not proved to be the reader's declines the change, and unsubscribes nobody."""
    reader = house.subscribe("ana@example.org")
    move(house, reader, "stranger@new.example")
    assert confirm(house) == 2
    ((message, text),) = ((m, t) for to, m, t in (sent(relay, 0), sent(relay, 1)) if to == ["stranger@new.example"])
    with pytest.raises(LinkError):
        one_click(message, "unsubscribe")
    notice = one_click(message, "decline")
    with house.engine.connect() as connection:
        assert connection.scalar(select(notices.c.kind).where(notices.c.id == notice)) == "address_new"
    assert "/p/" not in text


def test_welcome(house: House, relay) -> None:
    """Who confirms is welcomed once: what they get, the next digest in their own zone, both links."""
    picks = Picks(countries=frozenset({"GT"}))
    zone = "America/Guatemala"
    reader = house.subscribe("ana@example.org", picks, timezone=zone, due_at=None)
    confirm(house)
    due_at = house.now + timedelta(hours=6)
    for _ in range(2):
        with house.engine.begin() as connection:
            audience.confirm(connection, house.settings.keys, reader, "test", due_at, house.now)
    assert confirm(house) == 1
    _, message, text = sent(relay)
    assert message["Subject"] == "Welcome to Rutas"
    assert "Places: Guatemala" in text
    assert "Tuesday, November 24, 2026, 8:00" in " ".join(text.split())
    assert read_token([KEY], "preferences", token(text, "p")) == reader
    assert read_token([KEY], "unsubscribe", token(text, "u")) == reader
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "latest" not in text


def test_welcome_with_the_latest(house: House, relay) -> None:
    """If the list wants it so, the welcome holds the newest five items that fit, with their pictures, and none that a
    digest will bring."""
    with house.engine.begin() as connection:
        connection.execute(update(lists).values(welcomes=True))
    house.publish(*(f"gt{n}" for n in range(7)), countries=("GT",), image="https://i.example/a.jpg", image_alt="A desk")
    house.publish("elsewhere", countries=("FR",))
    cursor = 8
    house.publish("to come", countries=("GT",))
    picks = Picks(countries=frozenset({"GT"}))
    reader = house.subscribe("ana@example.org", picks, cursor=cursor, due_at=None)
    with house.engine.begin() as connection:
        audience.confirm(connection, house.settings.keys, reader, "test", house.now + timedelta(days=1), house.now)
    assert confirm(house) == 1
    _, message, text = sent(relay)
    assert re.findall(r"https://e\.example/(\w+)", text) == ["gt6", "gt5", "gt4", "gt3", "gt2"]
    assert "to come" not in text
    assert text.count("Picture: A desk\r\nhttps://i.example/a.jpg") == 5
    assert message.get_body(("html",)).get_content().count('src="https://i.example/a.jpg" alt="A desk"') == 5


@pytest.mark.parametrize(("state", "mails"), [("active", 1), ("paused", 1), ("pending", 0), ("unsubscribed", 0)])
def test_known(house: House, relay, state: str, mails: int) -> None:
    """Whose address is entered again hears that it is known, as long as that is so; paused digests are named."""
    reader = house.subscribe("ana@example.org")
    house.set(reader, state=state)
    assert ask(house, "known", reader)
    assert confirm(house) == mails
    if mails:
        text = sent(relay)[2]
        assert ("paused" in text) == (state == "paused")
        assert read_token([KEY], "preferences", token(text, "p")) == reader


def test_account(house: House, relay) -> None:
    """A fresh link to all subscriptions names the subscriber and works for a day from when it was written."""
    house.subscribe("first@example.org")
    reader = house.subscribe("ana@example.org")
    assert ask(house, "account", reader, False)
    assert not ask(house, "account", reader, False)
    relay.at_recipient = {"ana@example.org": ["450 later"]}
    assert confirm(house) == 0
    house.pass_time(minutes=30)
    assert confirm(house) == 1
    _, message, text = sent(relay)
    found = token(text, "a")
    assert read_expiring([KEY], "account", found, house.now + timedelta(hours=24)) == 2
    with pytest.raises(InputError, match="expired"):
        read_expiring([KEY], "account", found, house.now + timedelta(hours=25))
    assert one_click(message, "unsubscribe") == reader
    assert "Wednesday, November 25, 2026, 8:30" in " ".join(text.split())


def test_asked_while_it_waits(house: House, relay) -> None:
    """Who asks again for what could not be sent yet gets one mail, tried for four days from the last time."""
    reader = house.subscribe("ana@example.org")
    relay.at_recipient = {"ana@example.org": ["450 later"] * 2}
    assert ask(house, "account", reader, False)
    assert confirm(house) == 0
    house.pass_time(days=3)
    assert not ask(house, "account", reader, False)
    assert confirm(house) == 0
    house.pass_time(days=3)
    assert confirm(house) == 1
    house.pass_time(days=1)
    assert confirm(house) == 0


def test_changing_the_address(house: House, relay) -> None:
    """Both ends of a change are asked, each with a link of its own; only the old one is told the other address,
    and neither the reader's name: the new one may be a stranger's."""
    reader = house.subscribe("ana@example.org", name="Ana")
    number = move(house, reader, "ana@new.example")
    assert confirm(house) == 2
    found = {to[0]: (message, text) for to, message, text in (sent(relay, 0), sent(relay, 1))}
    numbers = set()
    for to in ("ana@example.org", "ana@new.example"):
        message, text = found[to]
        assert message["To"] == to
        assert ("ana@new.example" in text) == (to == "ana@example.org")
        assert "ana@example.org" not in text
        numbers.add(read_expiring([KEY], "address", token(text, "address"), house.now))
    assert len(numbers) == 2
    assert {n // 2 for n in numbers} == {number}


def test_a_change_that_is_over(house: House, relay) -> None:
    """A change that was given up, or that one end confirmed already, is not asked for; nor at an address suppressed."""
    reader = house.subscribe("ana@example.org")
    move(house, reader, "ana@new.example")
    with house.engine.begin() as connection:
        connection.execute(update(address_changes).values(old_confirmed_at=house.now))
        suppress(connection, house.settings.keys, "ana@new.example", "test", house.now)
    assert confirm(house) == 0
    other = house.subscribe("ben@example.org")
    move(house, other, "ben@new.example")
    with house.engine.begin() as connection:
        connection.execute(update(address_changes).values(closed_at=house.now))
    assert confirm(house) == 0
    assert relay.messages == []


def test_refused_at_the_new_address(house: House, relay) -> None:
    """That an address to come is refused is no failure of the present one."""
    reader = house.subscribe("ana@example.org")
    move(house, reader, "ana@new.example")
    relay.at_recipient = {"ana@new.example": ["550 no"]}
    assert confirm(house) == 1
    with house.engine.connect() as connection:
        assert connection.scalar(select(subscribers.c.failed_at)) is None
        rows = connection.execute(select(notices).order_by(notices.c.id)).all()
    assert [(row.kind, row.due_at, row.code) for row in rows] == [
        ("address_old", None, 250),
        ("address_new", None, 550),
    ]


def test_goodbye(house: House, relay) -> None:
    """A goodbye, if one is asked for, leads to the page to subscribe; who came back meanwhile gets none."""
    reader = house.subscribe("ana@example.org")
    assert ask(house, "goodbye", reader)
    assert confirm(house) == 0
    with house.engine.begin() as connection:
        audience.unsubscribe(connection, reader, "test", house.now)
    assert ask(house, "goodbye", reader)
    assert confirm(house) == 1
    assert "https://news.example.org/rutas\n" in sent(relay)[2].replace("\r", "")


def test_the_same_message_again(house: House, relay) -> None:
    """A notice that is sent again, as its answer was lost, has the same Message-ID, Date and return path."""
    reader = house.subscribe("ana@example.org")
    ask(house, "account", reader, False)
    assert confirm(house) == 1
    with house.engine.begin() as connection:
        connection.execute(update(notices).values(due_at=house.now, closed_at=None))
    house.pass_time(hours=1)
    assert confirm(house) == 1
    first, second = relay.messages
    assert first[0] == second[0]
    one, other = (message_from_bytes(m[2]) for m in (first, second))
    assert one["Message-ID"] == other["Message-ID"]
    assert one["Date"] == other["Date"]


def test_whoever_dies_with_it(house: House, relay) -> None:
    """A notice in the hands of a worker that died is due again ten minutes later."""
    house.subscribe("ana@example.org", due_at=None)
    with house.engine.begin() as connection:
        assert len(sending.claim(connection, house.settings, house.now)) == 1
    assert confirm(house) == 0
    house.pass_time(minutes=11)
    assert confirm(house) == 1


def test_one_that_cannot_be_written(house: House, relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notice that cannot be composed waits; the others go out."""
    house.subscribe("ana@example.org", due_at=None)
    house.subscribe("ben@example.org", due_at=None)
    write = Writer.write

    def broken(self: Writer, row: Any) -> Any:
        if row.own_email.startswith("ana"):
            raise ValueError("broken")
        return write(self, row)

    monkeypatch.setattr(Writer, "write", broken)
    assert confirm(house) == 1
    monkeypatch.undo()
    house.pass_time(minutes=11)
    assert confirm(house) == 1
    assert relay.recipients == ["ben@example.org", "ana@example.org"]


def test_in_the_language_of_the_reader(house: House, relay) -> None:
    """A notice comes in the reader's language, also if the list does not come in it, whose digests come in its first
    one; in that if there are no sentences in theirs."""
    with house.engine.begin() as connection:
        connection.execute(update(lists).values(languages=["en", "es"]))
    house.subscribe("ana@example.org", language="ar", due_at=None)
    house.subscribe("ben@example.org", language="de", due_at=None)
    assert confirm(house) == 2
    found = {to[0]: message["Content-Language"] for to, message, _ in (sent(relay, 0), sent(relay, 1))}
    assert found == {"ana@example.org": "ar", "ben@example.org": "en"}
    house.subscribe("eva@example.org", language="ar")
    house.publish("one")
    house.pass_time(days=1)
    house.tick()
    house.send()
    to, message, _ = sent(relay, 2)
    assert (to, message["Content-Language"]) == (["eva@example.org"], "en")
