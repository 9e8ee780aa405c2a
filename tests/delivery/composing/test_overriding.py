"""A list's own look in the mails that go out: used if it can be, and never in the way of a mail."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from house import House
from sqlalchemy import Engine, update
from structlog.testing import capture_logs

from newsletter.audience.brand import set_brand
from newsletter.delivery import ledger
from newsletter.delivery.composing.letters import Letters
from newsletter.mail import overriding
from newsletter.mail.templates import shipped_source
from newsletter.settings import Settings
from newsletter.tables import lists

XHTML = """<?xml version="1.0" encoding="utf-8"?>
<html><head>[[styles]]</head><body>[[content]] {{ postal_address }} {{ unsubscribe_url }}</body></html>"""
LOGO = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (224).to_bytes(4) + (112).to_bytes(4) + bytes(10)


@pytest.fixture
def house(engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(overriding, "CHECKED_FOR", 0)
    return House(engine, settings).create()


def own(house: House, name: str, text: str | bytes) -> None:
    file = house.settings.home / "templates" / "rutas" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)


def sent(house: House, relay) -> EmailMessage:
    """A digest as it goes out now."""
    count = len(relay.messages)
    house.publish(f"Item number {count}")
    house.pass_time(days=1)
    house.tick()
    house.send()
    assert len(relay.messages) == count + 1
    return message_from_bytes(relay.messages[-1][2], policy=policy.default)


def html_of(message: EmailMessage) -> str:
    return message.get_body(("html",)).get_content()


def test_own_files(house: House, relay) -> None:
    """A list's own files are used from the next mail on, without a restart; what it has no file for is as shipped."""
    house.subscribe("ana@example.org")
    assert "Our own way" not in html_of(sent(house, relay))
    own(house, "digest/subject.txt", "Our own way: {{ first_title }}\n")
    own(house, "digest/preheader.txt", "{{ others or list_name }}, {{ teaser }} <{{ subject }}>\n")
    own(house, "digest/body.html", shipped_source("digest/body.html").replace("[[name]]", "Our own way"))
    message = sent(house, relay)
    assert ">Rutas, " in html_of(message)
    assert "&lt;Our own way: Item number 1&gt;</small>" in html_of(message)
    assert message["Subject"] == "Our own way: Item number 1"
    assert "Our own way" in html_of(message)
    assert "24 Calle Segunda" in html_of(message)
    (house.settings.home / "templates/rutas/digest/subject.txt").unlink()
    message = sent(house, relay)
    assert message["Subject"] == "Item number 2"
    assert "Our own way" in html_of(message)


# Files have nothing to do with the kind of database.
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("digest/body.html", "<tr><td>\n{% for group in groupes %}{% endfor %}</td></tr>", ("digest/body.html", 2)),
        ("digest/body.txt", "{{ day }}\n\n{% if %}\n", ("digest/body.txt", 3)),
        ("digest/subject.txt", "{{ first_title.nothing }}", ("digest/subject.txt", 1)),
        ("digest/preheader.txt", "{{ teaser }}\n{{ teaser.nothing }}", ("digest/preheader.txt", 2)),
        ("digest/subject.txt", b"\xff\xfe", ("digest/subject.txt", 0)),
        ("base.html", "<html><body>\n[[content]]\n{{ postal_address }}</body></html>", ("base.html", 0)),
        # As it is while an editor saves it, or somebody copies it.
        ("base.html", "", ("base.html", 0)),
        ("base.html", "<!-- soon -->", ("base.html", 0)),
        ("base.html", "<html>", ("base.html", 0)),
        ("base.html", XHTML, ("base.html", 0)),
        ("style.css", ".page { font-family: 'a\0b' }", ("style.css", 0)),
        (
            "digest/body.txt",
            "{% if direction == 'rtl' %}\n{{ 1 // 0 }}{% endif %}" + shipped_source("digest/body.txt"),
            ("digest/body.txt", 2),
        ),
        ("base.txt", "[[content]]\n{{ unsubscribe_url }}", ("base.txt", 0)),
        ("style.css", ".page { margin: 0 }\n.a > .b { margin: 0 }\n", ("style.css", 2)),
        ("digest/body.txt", "{{ ().__class__.__base__.__subclasses__() }}", ("digest/body.txt", 1)),
        ("digest/body.html", "{% include '/etc/hostname' %}", ("digest/body.html", 1)),
    ],
)
def test_broken_files(house: House, relay, name: str, text: str | bytes, place: tuple[str, int]) -> None:
    """A broken file stops no mail: it goes out in the shipped look, and one warning names list, file and line."""
    house.subscribe("ana@example.org")
    usual = html_of(sent(house, relay))
    own(house, name, text)
    with capture_logs() as logs:
        first = html_of(sent(house, relay))
        sent(house, relay)
    assert len(first) == pytest.approx(len(usual), abs=40)
    warnings = [entry for entry in logs if entry.get("kind") == "digest" and "own template" in entry["event"]]
    (warning,) = warnings
    assert (warning["list"], warning["file"], warning["line"]) == ("rutas", *place)


def test_broken_by_data(house: House, relay) -> None:
    """A template that fails with one reader's data only, after it was tried, stops no mail either."""
    for number in range(3):
        house.subscribe(f"reader{number}@example.org", language="ar" if number else "en")
    body = shipped_source("digest/body.html")
    own(house, "digest/body.html", "{% if groups[0].cards[0].title == 'one' %}{{ 1 // 0 }}{% endif %}" + body)
    house.publish("one")
    house.tick()
    with capture_logs() as logs:
        house.send()
    assert sorted(relay.recipients) == [f"reader{number}@example.org" for number in range(3)]
    assert len([entry for entry in logs if "own template" in entry["event"]]) == 1


def test_notices(house: House, relay) -> None:
    """Notices have the list's own files, and the shipped ones if those are broken."""
    own(house, "confirm/subject.txt", "Please say yes to {{ list_name }}")
    own(house, "confirm/preheader.txt", "{{ subject }}, {{ schedule_line }}\n")
    own(house, "welcome/body.txt", "{{ nothing }}")
    house.subscribe("ana@example.org", due_at=None)
    house.send()
    message = message_from_bytes(relay.messages[0][2], policy=policy.default)
    assert message["Subject"] == "Please say yes to Rutas"
    assert ">Please say yes to Rutas, " in html_of(message)


def test_brand(house: House, relay) -> None:
    """Mails have the list's colours in light and dark, and its logo with the name where pictures are blocked."""
    house.subscribe("ana@example.org")
    with house.engine.begin() as connection:
        set_brand(connection, "rutas", accent="#8a1c1c", accent_dark="#ffb3a7", logo=LOGO)
        connection.execute(update(lists).values(name="Rutas & Co"))
    html = html_of(sent(house, relay))
    assert "#8a1c1c" in html
    assert "#ffb3a7" in html
    assert not {"#0b6e6e", "#7fd1c7", "#4fb3a9"} & set(html.replace(";", " ").replace("!", " ").split())
    assert 'src="https://news.example.org/rutas/logo?v=' in html
    assert 'alt="Rutas &amp; Co" width="112" height="56"' in html


def test_same_bytes(house: House) -> None:
    """What is composed twice has the same bytes, as long as no file was edited in between."""
    reader = house.subscribe("ana@example.org")
    own(house, "digest/subject.txt", "A: {{ first_title }}")
    house.publish("one")
    house.tick()
    with house.engine.connect() as connection:
        claimed = ledger.as_claimed(ledger.find_delivery(connection, house.delivery(reader).id), house.now)
    one, other = (Letters(house.engine, house.settings).compose(claimed) for _ in range(2))
    assert one.content == other.content
