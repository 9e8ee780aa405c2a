"""The conversation with a relay: TLS, login, refusals, and servers that hang, lie or go away."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from aiosmtpd.smtp import AuthResult, LoginPassword
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import Relay, serving

from newsletter.delivery.relays import parse_relay
from newsletter.delivery.smtp import Conversation, RelayDown, Verdict
from newsletter.errors import SettingsError

MESSAGE = b"From: a@e.example\r\nTo: b@e.example\r\nSubject: x\r\n\r\nHi\r\n"
PASSWORD = "s3cr3t/with @:signs"
LOGIN = "news:s3cr3t%2Fwith%20%40%3Asigns@"


def converse(url: str, timeout: float = 5, ca_file: Path | None = None) -> Conversation:
    return Conversation(parse_relay(url), timeout, ca_file)


def send(conversation: Conversation, to: str = "b@e.example", message: bytes = MESSAGE):
    return conversation.send("bounces@e.example", to, message)


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, Path]:
    """A certificate authority, and its certificate in a file."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return made, tmp_path / "ca.pem"


def server_tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def authenticate(server, session, envelope, mechanism, data) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"news", PASSWORD.encode())
    return AuthResult(success=good, handled=False)


@contextmanager
def secured(authority: trustme.CA, security: str, name: str = "127.0.0.1") -> Iterator[Relay]:
    tls = server_tls(authority, name)
    options = {"authenticator": authenticate, "auth_required": True}
    if security == "smtps":
        with serving(Relay(), tls=tls, auth_require_tls=False, **options) as relay:
            yield relay
    else:
        with serving(Relay(), tls_context=tls, require_starttls=True, **options) as relay:
            yield relay


@pytest.mark.parametrize("security", ["smtp+starttls", "smtps"])
def test_encrypted_and_logged_in(authority, security: str) -> None:
    """Over STARTTLS and over TLS from the start: verified, logged in, many messages over one connection."""
    issuer, ca_file = authority
    with (
        secured(issuer, security) as relay,
        converse(f"{security}://{LOGIN}127.0.0.1:{relay.port}", ca_file=ca_file) as conversation,
    ):
        answers = [send(conversation, f"r{n}@e.example") for n in range(3)]
    assert {a.verdict for a in answers} == {Verdict.ACCEPTED}
    assert relay.recipients == ["r0@e.example", "r1@e.example", "r2@e.example"]
    # STARTTLS greets again once it is encrypted.
    assert relay.connections == (2 if security == "smtp+starttls" else 1)


@pytest.mark.parametrize("security", ["smtp+starttls", "smtps"])
@pytest.mark.parametrize("fault", ["unknown authority", "other name"])
def test_certificates_are_verified(authority, security: str, fault: str) -> None:
    """A certificate of an unknown authority or another name is refused before any password is sent."""
    issuer, ca_file = authority
    name = "127.0.0.1" if fault == "unknown authority" else "mail.other.example"
    trusted = None if fault == "unknown authority" else ca_file
    with secured(issuer, security, name) as relay, pytest.raises(RelayDown, match="not trusted"):
        send(converse(f"{security}://{LOGIN}127.0.0.1:{relay.port}", ca_file=trusted))
    assert relay.messages == []


def test_starttls_is_never_left_out(relay) -> None:
    """A server that no longer offers STARTTLS gets nothing, in clear least of all."""
    with pytest.raises(RelayDown, match="STARTTLS"):
        send(converse(f"smtp+starttls://127.0.0.1:{relay.port}"))
    assert relay.messages == []


def test_wrong_password(authority) -> None:
    """A refused login blames the relay's settings, not the message, and shows no password."""
    issuer, ca_file = authority
    with secured(issuer, "smtps") as relay, pytest.raises(RelayDown, match="refused user or password") as caught:
        send(converse(f"smtps://news:guessed-wrong@127.0.0.1:{relay.port}", ca_file=ca_file))
    assert "guessed-wrong" not in str(caught.value)


def test_login_asked_for(authority) -> None:
    """A relay that asks for a login which is not configured fails no message."""
    issuer, ca_file = authority
    with secured(issuer, "smtps") as relay, pytest.raises(RelayDown, match="asks for a login"):
        send(converse(f"smtps://127.0.0.1:{relay.port}", ca_file=ca_file))


Script = Callable[[socket.socket, "int"], None]


@contextmanager
def scripted(script: Script) -> Iterator[str]:
    """A server that does as it likes with each connection; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        number = 0
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            number += 1
            with connection:
                connection.settimeout(5)
                try:
                    script(connection, number)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"smtp://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def talk(connection: socket.socket, answers: dict[bytes, bytes], greeting: bytes = b"220 hello\r\n") -> None:
    """Answer each command by its verb; an answer of None ends the connection."""
    connection.sendall(greeting)
    stream = connection.makefile("rb")
    in_data = False
    for line in stream:
        verb = b"." if in_data and line == b".\r\n" else b"" if in_data else line[:4].upper().strip()
        if not verb:
            continue
        in_data = False
        answer = answers.get(verb, b"250 ok\r\n")
        if answer is None:
            return
        connection.sendall(answer)
        in_data = verb == b"DATA" and answer.startswith(b"354")


USUAL = {b"DATA": b"354 go\r\n"}


def test_idle_connection_closed() -> None:
    """A relay that closes between two messages (421, or its limit of messages) costs nothing."""

    def script(connection: socket.socket, number: int) -> None:
        # The first connection takes one message and says goodbye at the next.
        if number == 1:
            connection.sendall(b"220 hello\r\n")
            stream = connection.makefile("rb")
            mails = 0
            for line in stream:
                verb = line[:4].upper().strip()
                mails += verb == b"MAIL"
                if mails == 2:
                    connection.sendall(b"421 4.3.2 closing\r\n")
                    return
                if line == b".\r\n" or verb in (b"EHLO", b"MAIL", b"RCPT", b"RSET"):
                    connection.sendall(b"250 ok\r\n")
                elif verb == b"DATA":
                    connection.sendall(b"354 go\r\n")
        else:
            talk(connection, USUAL)

    with scripted(script) as url, converse(url) as conversation:
        verdicts = [send(conversation).verdict for _ in range(3)]
    assert verdicts == [Verdict.ACCEPTED] * 3


@pytest.mark.parametrize(
    ("place", "answer", "verdict"),
    [
        (b"MAIL", b"451 4.7.1 greylisted\r\n", Verdict.DEFERRED),
        (b"RCPT", b"450 4.2.1 busy\r\n", Verdict.DEFERRED),
        (b"RCPT", b"550 5.1.1 no such user\r\n", Verdict.REFUSED),
        (b"DATA", b"452 4.3.1 full\r\n", Verdict.DEFERRED),
        (b".", b"554 5.7.1 spam\r\n", Verdict.REFUSED),
        (b".", b"250-2.0.0 queued\r\n250 as 7\r\n", Verdict.ACCEPTED),
        (b".", None, Verdict.UNKNOWN),
    ],
)
def test_answers(place: bytes, answer: bytes | None, verdict: Verdict) -> None:
    """Each answer, wherever it comes, becomes its verdict with code and text kept; the next message is not harmed."""
    with scripted(lambda connection, _: talk(connection, {**USUAL, place: answer})) as url, converse(url) as line:
        got = send(line)
        assert got.verdict is verdict
        if answer:
            assert str(got.code).encode() == answer[:3]
            assert got.text
        assert send(line).verdict is verdict


@pytest.mark.parametrize(
    "script",
    [
        lambda connection, _: time.sleep(1.5),
        lambda connection, _: connection.sendall(b"554 go away\r\n"),
        lambda connection, _: connection.sendall(b"\x00\xff garbage\r\n" * 10),
        lambda connection, _: connection.sendall(b"2" * 100_000),
        lambda connection, _: None,
        lambda connection, _: talk(connection, {b"EHLO": b"500 what\r\n", b"HELO": b"500 what\r\n"}),
        lambda connection, _: talk(connection, {b"MAIL": None}),
    ],
    ids=["hangs", "refuses", "garbage", "endless line", "closes", "no greeting", "closes at MAIL"],
)
def test_unusable_server(script: Script) -> None:
    """A server that hangs, closes or talks nonsense before the message was taken is a relay that is down."""
    with scripted(script) as url, pytest.raises(RelayDown):
        send(converse(url, timeout=0.5))


def test_hangs_after_the_dot() -> None:
    """Silence after the final dot leaves unknown whether it was accepted, and says so."""

    def script(connection: socket.socket, _: int) -> None:
        talk(connection, {**USUAL, b".": b""})

    with scripted(script) as url:
        answer = send(converse(url, timeout=0.5))
    assert answer.verdict is Verdict.UNKNOWN
    assert "after the final dot" in answer.text


def test_nobody_listens() -> None:
    """A port that nobody listens on is a relay that is down, and named."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(RelayDown, match=f"smtp://127.0.0.1:{port} cannot be reached"):
        send(converse(f"smtp://127.0.0.1:{port}"))


lines = st.lists(st.binary(max_size=60).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b"")), max_size=8)


@given(lines)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bodies_arrive_byte_for_byte(relay, body: list[bytes]) -> None:
    """Lines that begin with dots, and any bytes between line ends, arrive as they were sent."""
    message = b"Subject: x\r\n\r\n" + b"".join(line + b"\r\n" for line in body)
    with converse(f"smtp://127.0.0.1:{relay.port}") as line:
        assert send(line, message=message).verdict is Verdict.ACCEPTED
    assert relay.messages[-1][2] == message


def test_international_addresses(relay) -> None:
    """A local part beyond ASCII goes to a relay that offers SMTPUTF8 (RFC 6531)."""
    with converse(f"smtp://127.0.0.1:{relay.port}") as line:
        assert send(line, "peña@e.example").verdict is Verdict.ACCEPTED
    assert relay.recipients == ["peña@e.example"]
    with serving(Relay(), enable_SMTPUTF8=False) as old, converse(f"smtp://127.0.0.1:{old.port}") as line:
        assert send(line, "peña@e.example").code == 553
        assert send(line).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mail.example.org", "has to begin with"),
        ("http://mail.example.org", "has to begin with"),
        ("smtp://", "names no host"),
        ("smtp://h:99999", "port is not a number"),
        ("smtp://h:x", "port is not a number"),
        ("smtps://user@h", "a user but no password"),
        ("smtp://user:secret-word@mail.example.org", "password in clear"),
        ("smtps://user:secret-word/x@h", ""),
        ("smtps://h/path", "nothing may follow the port"),
    ],
)
def test_relay_urls(url: str, sentence: str) -> None:
    """A URL that cannot be used is refused with the reason, and without its password."""
    with pytest.raises(SettingsError) as caught:
        parse_relay(url)
    assert sentence in str(caught.value)
    assert "secret-word" not in str(caught.value)
    assert "Example: smtp+starttls://" in caught.value.hint


def test_a_relay_does_not_show_its_password() -> None:
    """Neither text nor repr of a relay holds the password."""
    relay = parse_relay("smtps://news:secret-word@mail.example.org")
    assert "secret-word" not in f"{relay} {relay!r}"
    assert (relay.port, relay.user, relay.password) == (465, "news", "secret-word")
