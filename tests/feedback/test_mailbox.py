"""Leaving by mail: a mailbox is announced in each digest and read over IMAP; what is not ours is left alone."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import process_time
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from commanding import KEY, CommandLine
from house import House
from hypothesis import given
from hypothesis import strategies as st
from imap import Folder, serving_imap
from sqlalchemy import Engine, select

from newsletter.audience.consents import was_given_for
from newsletter.audience.links import seal
from newsletter.errors import SettingsError, StateError
from newsletter.feedback import mailbox as room
from newsletter.feedback.mailbox import Mailbox, Read, _named, mailbox_of, read_mailbox
from newsletter.settings import Settings, load_settings
from newsletter.tables import consents, notices, subscribers, subscriptions

PASSWORD = "a b%c"


@pytest.fixture
def folder() -> Iterator[Folder]:
    with serving_imap(Folder(PASSWORD)) as running:
        yield running


def settings_for(folder: Folder, **values: object) -> Settings:
    return load_settings(**{"secret_key": KEY, "leave_mailbox": url_of(folder), **values})


def url_of(folder: Folder) -> str:
    return f"imap://leave:a%20b%25c@127.0.0.1:{folder.port}/INBOX?address=leave@news.example"


def found(settings: Settings) -> Mailbox:
    mailbox = mailbox_of(settings)
    assert mailbox
    return mailbox


def states(house: House) -> list[str]:
    with house.engine.connect() as connection:
        return list(connection.scalars(select(subscriptions.c.state).order_by(subscriptions.c.id)))


def test_leaving_by_mail(engine: Engine, settings: Settings, folder: Folder) -> None:
    """A seal in the subject or in the address ends its subscription, in whatever case; what did is deleted."""
    house = House(engine, settings).create()
    numbers = [house.subscribe(f"reader{n}@example.org") for n in range(4)]
    marks = [seal(KEY, "leave", number) for number in numbers]
    folder.put(f"leave {marks[0]}")
    folder.put("Re: hello", to=f"Leave+{marks[1].upper()}@news.example")
    folder.put(f"=?utf-8?q?Fwd=3A_leave_{marks[2]}?=")
    folder.put(f"leave {marks[0]}")
    alone = [
        folder.put("Where is my digest?"),
        folder.put(f"leave {seal('o' * 40, 'leave', numbers[3])}"),
        folder.put(f"leave {seal(KEY, 'delivery', numbers[3])}"),
        folder.put(f"leave {marks[3]}0"),
        folder.put("", raw=b"Subject: =?x?q?=ff?=\xff\r\nTo: <<@\r\n\r\n"),
    ]
    reading = settings_for(folder)
    assert read_mailbox(engine, reading, found(reading), house.now) == Read(left=3, again=1, alone=len(alone))
    assert states(house) == ["unsubscribed"] * 3 + ["active"]
    assert list(folder.messages) == alone
    assert read_mailbox(engine, reading, found(reading), house.now) == Read(0, 0, len(alone))
    with house.engine.connect() as connection:
        given_up = connection.execute(select(consents).where(consents.c.event == "unsubscribed")).all()
    assert {row.source for row in given_up} == {"mail to the leave address"}
    assert all(was_given_for(settings.keys, row.address_hash, "reader0@example.org") for row in given_up[:1])
    assert all(row.address_hash for row in given_up)


def test_endless_header_fields(sqlite_engine: Engine, settings: Settings, folder: Folder) -> None:
    """Of what strangers write no more is looked at than a reader's mail has, and in no more time than it is long."""
    house = House(sqlite_engine, settings).create()
    mark = seal(KEY, "leave", house.subscribe("ana@example.org"))
    for field in (b"To: " + b"a " * 500_000, b"Cc: " + b'"a" ' * 250_000, b"Subject: " + b"=?utf-8?q?a?= " * 50_000):
        folder.put("", raw=field + f"\r\nX-Original-To: leave+{mark}@news.example\r\n\r\n".encode())
    reading = settings_for(folder)
    assert read_mailbox(sqlite_engine, reading, found(reading), house.now) == Read(0, 0, 3)
    assert states(house) == ["active"]
    folder.put("", raw=b"Subject: " + b"x" * 10_000 + f"\r\n {mark}\r\n\r\n".encode())
    assert read_mailbox(sqlite_engine, reading, found(reading), house.now) == Read(1, 0, 3)


def test_subjects_without_an_end(sqlite_engine: Engine, settings: Settings, folder: Folder) -> None:
    """Encoded words that begin and never end, sent by anybody and never deleted, do not keep a worker busy."""
    house = House(sqlite_engine, settings).create()
    mark = seal(KEY, "leave", house.subscribe("ana@example.org"))
    folder.put(f"=?utf-8?q?leave_{mark}?=")
    for _ in range(40):
        folder.put("", raw=b"Subject: " + b"=?a?q?x" * 2300 + b"\r\n\r\n")
    reading = settings_for(folder)
    began = process_time()
    assert read_mailbox(sqlite_engine, reading, found(reading), house.now) == Read(1, 0, 40)
    assert process_time() - began < 2


def test_a_sign_up_that_waits(sqlite_engine: Engine, settings: Settings, folder: Folder) -> None:
    """A mail that answers the one that asks to confirm cancels the sign-up: nothing of it is kept."""
    house = House(sqlite_engine, settings).create()
    mark = seal(KEY, "leave", house.subscribe("ana@example.org", due_at=None))
    for _ in range(2):
        folder.put(f"leave {mark}")
    reading = settings_for(folder)
    assert read_mailbox(sqlite_engine, reading, found(reading), house.now) == Read(left=1, again=1, alone=0)
    with house.engine.connect() as connection:
        assert [connection.execute(select(table)).all() for table in (subscribers, consents, notices)] == [[], [], []]


def test_only_ours_are_expunged(sqlite_engine: Engine, settings: Settings, folder: Folder) -> None:
    """Without UIDPLUS a message is only marked as deleted: expunging would take what others have marked."""
    house = House(sqlite_engine, settings).create()
    number = house.subscribe("ana@example.org")
    folder.has_uidplus = False
    ours = folder.put(f"leave {seal(KEY, 'leave', number)}")
    reading = settings_for(folder)
    assert read_mailbox(sqlite_engine, reading, found(reading), house.now).left == 1
    assert (list(folder.messages), folder.marked) == ([ours], {ours})
    assert not [command for command in folder.commands if "EXPUNGE" in command]


def test_a_damaged_message(sqlite_engine: Engine, settings: Settings, folder: Folder) -> None:
    """A message that the server does not give is told; those before and after it are read and deleted."""
    house = House(sqlite_engine, settings).create()
    marks = [seal(KEY, "leave", house.subscribe(f"reader{n}@example.org")) for n in range(3)]
    folder.put(f"leave {marks[0]}")
    damaged = folder.put(f"leave {marks[1]}")
    folder.put(f"leave {marks[2]}")
    folder.damaged = {damaged}
    reading = settings_for(folder)
    assert read_mailbox(sqlite_engine, reading, found(reading), house.now) == Read(2, 0, 0, refused=1)
    assert list(folder.messages) == [damaged]
    assert states(house) == ["unsubscribed", "active", "unsubscribed"]


def test_the_command(newsletter: CommandLine, monkeypatch: pytest.MonkeyPatch, folder: Folder) -> None:
    """`newsletter mailbox` says what a reading came to, and what the server does not give."""
    folder.put("Where is my digest?")
    folder.damaged = {folder.put("damaged")}
    monkeypatch.setenv("NEWSLETTER_LEAVE_MAILBOX", url_of(folder))
    assert "does not give 1 message of the mailbox" in newsletter("mailbox").out


def test_mails_that_somebody_has_read(sqlite_engine: Engine, settings: Settings, folder: Folder) -> None:
    """Who opens a mail in a webmail does not keep its reader from leaving."""
    house = House(sqlite_engine, settings).create()
    folder.seen = {folder.put(f"leave {seal(KEY, 'leave', house.subscribe('ana@example.org'))}")}
    reading = settings_for(folder)
    assert read_mailbox(sqlite_engine, reading, found(reading), house.now) == Read(1, 0, 0)


def test_a_full_mailbox(sqlite_engine: Engine, settings: Settings, folder: Folder) -> None:
    """Of a mailbox full of other mail the newest are looked at, by few commands, and stay as they are."""
    house = House(sqlite_engine, settings).create()
    marks = [seal(KEY, "leave", house.subscribe(f"reader{n}@example.org")) for n in range(2)]
    folder.put(f"leave {marks[0]}")
    others = [folder.put("Where is my digest?") for _ in range(room.MOST - 1)]
    folder.put(f"leave {marks[1]}")
    folder.damaged = {others[250]}
    reading = settings_for(folder)
    first = read_mailbox(sqlite_engine, reading, found(reading), house.now)
    assert first == Read(1, 0, room.MOST - 2, refused=1)
    assert states(house) == ["active", "unsubscribed"]
    assert len(folder.commands) < room.MOST / 4
    assert read_mailbox(sqlite_engine, reading, found(reading), house.now).left == 1
    assert list(folder.messages) == others
    assert all("PEEK" in command for command in folder.commands if "FETCH" in command)


def test_a_reading_that_breaks_off(
    sqlite_engine: Engine, settings: Settings, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the database when a reading breaks off is deleted."""
    house = House(sqlite_engine, settings).create()
    for number in range(2):
        folder.put(f"leave {seal(KEY, 'leave', house.subscribe(f'reader{number}@example.org'))}")
    plain, calls = room.leave, []

    def break_off(*arguments: Any) -> object:
        calls.append(arguments)
        if len(calls) > 1:
            raise RuntimeError
        return plain(*arguments)

    monkeypatch.setattr(room, "leave", break_off)
    reading = settings_for(folder)
    with pytest.raises(RuntimeError):
        read_mailbox(sqlite_engine, reading, found(reading), house.now)
    assert states(house) == ["active", "unsubscribed"]
    assert list(folder.messages) == [1]


def test_an_old_key(sqlite_engine: Engine, settings: Settings, folder: Folder) -> None:
    """A mail sent before a key was replaced still lets its reader leave."""
    house = House(sqlite_engine, settings).create()
    folder.put(f"leave {seal(KEY, 'leave', house.subscribe('ana@example.org'))}")
    reading = settings_for(folder, secret_key=f"{'n' * 40} {KEY}")
    assert read_mailbox(sqlite_engine, reading, found(reading), house.now).left == 1


@pytest.mark.parametrize("has_plain", [False, True])
@pytest.mark.parametrize("name", ["leave box", r"corp\leave", 'a"b', "leáve"])
def test_users_and_passwords(sqlite_engine: Engine, folder: Folder, name: str, has_plain: bool) -> None:
    """Any user and password are let in; beyond ASCII only by a server with AUTH=PLAIN, else a sentence says so."""
    folder.user = folder.password = name
    folder.can += " AUTH=PLAIN" if has_plain else ""
    url = f"imap://{quote(name)}:{quote(name)}@127.0.0.1:{folder.port}?address=leave@news.example"
    reading = settings_for(folder, leave_mailbox=url)
    if has_plain or name.isascii():
        assert read_mailbox(sqlite_engine, reading, found(reading), House(sqlite_engine, reading).now) == Read(0, 0, 0)
        return
    with pytest.raises(StateError, match=r"takes no user and no password beyond ASCII\."):
        read_mailbox(sqlite_engine, reading, found(reading), House(sqlite_engine, reading).now)


def test_troubles_are_sentences(sqlite_engine: Engine, folder: Folder) -> None:
    """A wrong password, a folder that is not there, no server, one that speaks no TLS: sentences without a secret."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    base = f"127.0.0.1:{folder.port}"
    for url in (
        f"imap://leave%40x.example:wrong-secret@{base}",
        f"imap://leave%40x.example:a%20b%25c@{base}/Other",
        f"imap://leave%40x.example:secret-word@127.0.0.1:{closed}",
    ):
        reading = settings_for(folder, leave_mailbox=url)
        with pytest.raises(StateError, match=r"The leave mailbox at 127.+ cannot be read") as caught:
            read_mailbox(sqlite_engine, reading, found(reading), House(sqlite_engine, reading).now)
        assert not any(secret in str(caught.value) for secret in ("secret", PASSWORD))
    with _talking() as port:
        reading = settings_for(folder, leave_mailbox=f"imaps://leave%40x.example:secret-word@127.0.0.1:{port}")
        with pytest.raises(StateError, match="cannot be read"):
            read_mailbox(sqlite_engine, reading, found(reading), House(sqlite_engine, reading).now)


def test_a_host_of_many_addresses(sqlite_engine: Engine, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses that refuse, or say nothing, leave time to the one that answers."""
    monkeypatch.setattr(room, "PATIENCE", 2)
    reading = settings_for(folder, leave_mailbox=url_of(folder).replace("127.0.0.1", "localhost"))
    hosts, plain = ("127.0.0.2", "127.0.0.3", "127.0.0.1"), socket.getaddrinfo

    def look_up(host: str, *rest: Any, **named: Any) -> list[Any]:
        return [place for one in (hosts if host == "localhost" else (host,)) for place in plain(one, *rest, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with socket.create_server(("127.0.0.3", folder.port), backlog=0) as silent, socket.socket() as waiting:
        waiting.connect(silent.getsockname())
        assert read_mailbox(sqlite_engine, reading, found(reading), House(sqlite_engine, reading).now) == Read(0, 0, 0)


def test_an_answer_beyond_ascii(sqlite_engine: Engine, folder: Folder) -> None:
    """A server that says what is no IMAP ends in a sentence."""
    folder.can = "IMAP4rev1 ñ"
    reading = settings_for(folder)
    with pytest.raises(StateError, match="its answer is not ASCII"):
        read_mailbox(sqlite_engine, reading, found(reading), House(sqlite_engine, reading).now)


@pytest.mark.parametrize("word", [b"", b"* OK still here\r\n"])
@pytest.mark.parametrize("scheme", ["imap", "imaps"])
def test_no_answer_ever(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, word: bytes
) -> None:
    """A server that is silent, or talks and never answers, holds a worker for the time of a reading and no more."""
    monkeypatch.setattr(room, "PATIENCE", 0.5)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with _talking(word, tls if scheme == "imaps" else None) as port:
        url = f"{scheme}://leave%40x.example:secret@127.0.0.1:{port}"
        reading = load_settings(secret_key=KEY, leave_mailbox=url, smtp_ca_file=tmp_path / "ca.pem")
        told: list[str] = []

        def read() -> None:
            with pytest.raises(StateError) as caught:
                read_mailbox(sqlite_engine, reading, found(reading), House(sqlite_engine, reading).now)
            told.append(caught.value.message)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        reader.join(5)
    assert told == ["The leave mailbox at 127.0.0.1 cannot be read: it took more than 0.5 seconds."]


@contextmanager
def _talking(word: bytes = b"", tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that greets, says a word for ever, and never answers."""
    over = threading.Event()

    class Talk(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                connection = tls.wrap_socket(self.request, server_side=True) if tls else self.request
                connection.sendall(b"* OK ready\r\n")
                while not over.wait(0.05):
                    connection.sendall(word)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Talk) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield int(server.server_address[1])
        over.set()
        server.shutdown()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("imap://leave%40x.example:pw-secret@mail.example/INBOX", "in clear"),
        ("https://leave%40x.example:pw-secret@mail.example", "has to look like"),
        ("imaps://mail.example", "user or password is missing"),
        ("imaps://leave:pw-secret@mail.example", "not an e-mail address"),
        ("imaps://leave%40x.example:pw-secret@mail.example?adress=a", "no option"),
        ("imaps://leave%40x.example@mail.example?password_file=/nothing/here", "cannot be read"),
        ("imaps://leave%40x.example:pw-secret@mail.example:99999", "not usable"),
        ("imaps://leave%40x.example:pw-secret@mail.example/a%0d%0ab", "ASCII"),
        ("imaps://leave%40x.example:pw-secret%0d%0a@mail.example", "control character"),
        ("imaps://leave%40x.example:pw-secret@imap..example", "its host cannot be one"),
        (f"imaps://leave%40x.example:pw-secret@{'a' * 70}.example", "its host cannot be one"),
    ],
)
def test_what_is_no_mailbox(url: str, why: str) -> None:
    """A URL that cannot be used is refused with the reason, without its password."""
    with pytest.raises(SettingsError, match=why) as caught:
        mailbox_of(load_settings(secret_key=KEY, leave_mailbox=url))
    assert "pw-secret" not in str(caught.value)


def test_what_is_announced(tmp_path: Path) -> None:
    """The address is the user, or what the URL says; behind a + at its end the seal stands there, too."""
    kept = tmp_path / "password"
    kept.write_text("secret\n")
    usual = found(load_settings(leave_mailbox=f"imaps://leave%40x.example@mail.example?password_file={kept}"))
    assert (usual.host, usual.port, usual.is_secure, usual.folder, usual.password) == (
        *("mail.example", 993, True, "INBOX", "secret"),
    )
    assert usual.announced("7.ab") == "mailto:leave@x.example?subject=leave%207.ab"
    tagged = found(load_settings(leave_mailbox="imaps://u:p@mail.example?address=leave%2B@x.example"))
    assert tagged.announced("7.ab") == "mailto:leave+7.ab@x.example?subject=leave%207.ab"


@given(
    st.binary(max_size=200)
    | st.text(max_size=80).map(lambda text: f"Subject: {text}\r\n\r\n".encode("utf-8", "replace"))
)
def test_any_header(head: bytes) -> None:
    """Whatever strangers write into header fields names no subscription, and harms nothing."""
    assert _named((KEY,), head) is None
