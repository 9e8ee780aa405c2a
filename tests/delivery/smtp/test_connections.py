"""Connections to a relay: TLS, login, many at once, and servers that hang, lie or go away."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from aiosmtpd.smtp import AuthResult, LoginPassword
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from misbehaving import Misbehaving, misbehaving
from servers import Relay, serving

from newsletter.delivery.relays import Relay as Configured
from newsletter.delivery.relays import parse_relay
from newsletter.delivery.smtp import connections, loops
from newsletter.delivery.smtp.connections import Line, Outgoing
from newsletter.delivery.smtp.conversation import Answer, Credentials, Verdict
from newsletter.delivery.smtp.pools import Pool

MESSAGE = b"From: a@e.example\r\nTo: b@e.example\r\nSubject: x\r\n\r\nHi\r\n"
PASSWORD = "s3cr3t/with @:signs"
LOGIN = "news:s3cr3t%2Fwith%20%40%3Asigns@"


@dataclass
class Desk:
    """Where the messages of a test come from, and what became of each."""

    waiting: deque[Outgoing]
    answers: dict[object, list[Answer]] = field(default_factory=dict)
    handed: Counter[object] = field(default_factory=Counter)
    unsent_: list[object] = field(default_factory=list)
    blamed: list[object] = field(default_factory=list)
    down: list[str] = field(default_factory=list)
    messages: dict[object, Outgoing] = field(init=False)

    def __post_init__(self) -> None:
        self.messages = {outgoing.tag: outgoing for outgoing in self.waiting}

    def next_message(self, relay: Configured) -> Outgoing | None:
        return self.waiting.popleft() if self.waiting else None

    def handing(self, tag: object) -> None:
        self.handed[tag] += 1

    def answered(self, tag: object, answer: Answer, relay: Configured) -> None:
        self.answers.setdefault(tag, []).append(answer)

    def unsent(self, tag: object, relay: Configured, *, is_to_blame: bool) -> bool:
        self.unsent_.append(tag)
        self.blamed += [tag] * is_to_blame
        self.waiting.append(self.messages[tag])
        return False

    def ended(self, relay: Configured) -> None:
        """It is asked to open more all the time."""

    def relay_down(self, relay: Configured, reason: str) -> None:
        self.down.append(reason)

    @property
    def verdicts(self) -> list[Verdict]:
        return [answer.verdict for answers in self.answers.values() for answer in answers]


def send(
    url: str,
    recipients: Sequence[str] = ("b@e.example",),
    *,
    timeout: float = 5,
    ca_file: Path | None = None,
    message: bytes = MESSAGE,
    **options: int,
) -> Desk:
    """Send a message to each recipient through a pool, until all are answered or the relay is down."""
    relay = dataclasses.replace(parse_relay(url), ca_file=ca_file, **options)
    desk = Desk(deque(Outgoing(to, "bounces@e.example", to, message) for to in recipients))
    credentials = Credentials(relay.user, relay.password) if relay.user else None

    async def work() -> None:
        pool = Pool(relay, desk, timeout, lambda: credentials)
        limit = time.monotonic() + 20
        while len(desk.answers) < len(recipients) and not desk.down:
            assert time.monotonic() < limit, desk
            pool.kick(len(desk.waiting))
            await asyncio.sleep(0.005)
        pool.hurry(2)
        await pool.close()

    loops.run(work())
    return desk


@pytest.fixture(params=["the fastest", "asyncio's own"])
def any_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each event loop that may drive the connections."""
    if request.param == "asyncio's own":
        monkeypatch.setattr(loops, "new_loop", asyncio.new_event_loop)
    return str(request.param)


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


@pytest.mark.usefixtures("any_loop")
@pytest.mark.parametrize("security", ["smtp+starttls", "smtps"])
def test_encrypted_and_logged_in(authority, security: str) -> None:
    """Over STARTTLS and over TLS from the start: verified, logged in, many messages over one connection."""
    issuer, ca_file = authority
    with secured(issuer, security) as relay:
        desk = send(
            f"{security}://{LOGIN}127.0.0.1:{relay.port}", [f"r{n}@e.example" for n in range(3)], ca_file=ca_file
        )
    assert desk.verdicts == [Verdict.ACCEPTED] * 3
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
    with secured(issuer, security, name) as relay:
        desk = send(f"{security}://{LOGIN}127.0.0.1:{relay.port}", ca_file=trusted)
    assert "not trusted" in desk.down[0]
    assert (relay.messages, desk.answers) == ([], {})


@pytest.mark.parametrize("security", ["smtp+starttls", "smtps"])
def test_a_file_of_certificates_that_is_gone(authority, security: str, tmp_path: Path) -> None:
    """A file of certificates that cannot be read is what is blamed, and not the relay's address."""
    with secured(authority[0], security) as relay:
        desk = send(f"{security}://{LOGIN}127.0.0.1:{relay.port}", ca_file=tmp_path / "none.pem")
    assert len(desk.down) == 1
    assert "The CA certificates in" in desk.down[0]
    assert "cannot be reached" not in desk.down[0]


def test_starttls_is_never_left_out(relay) -> None:
    """A server that no longer offers STARTTLS gets nothing, in clear least of all."""
    desk = send(f"smtp+starttls://127.0.0.1:{relay.port}")
    assert "STARTTLS" in desk.down[0]
    assert relay.messages == []


def test_wrong_password(authority) -> None:
    """A refused login blames the relay's settings, not the message, and shows no password."""
    issuer, ca_file = authority
    with secured(issuer, "smtps") as relay:
        desk = send(f"smtps://news:guessed-wrong@127.0.0.1:{relay.port}", ca_file=ca_file)
    assert "refused the login" in desk.down[0]
    assert "guessed-wrong" not in desk.down[0]
    assert desk.answers == {}


def test_login_asked_for(authority) -> None:
    """A relay that asks for a login which is not configured fails no message."""
    issuer, ca_file = authority
    with secured(issuer, "smtps") as relay:
        desk = send(f"smtps://127.0.0.1:{relay.port}", ca_file=ca_file)
    assert "asks for a login" in desk.down[0]
    assert desk.answers == {}


Script = Callable[[socket.socket, "int"], None]


@contextmanager
def scripted(script: Script, at_once: bool = False) -> Iterator[str]:
    """A server that does as it likes with each connection, one after the other or ``at_once``; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def handle(connection: socket.socket, number: int) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            script(connection, number)

    def serve() -> None:
        for number in itertools.count(1):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            if at_once:
                threading.Thread(target=handle, args=(connection, number), daemon=True).start()
            else:
                handle(connection, number)

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


def closes_after(number_of_mails: int, last_words: bytes) -> Script:
    """A server whose every connection takes some mails and then ends."""

    def script(connection: socket.socket, number: int) -> None:
        connection.sendall(b"220 hello\r\n")
        stream = connection.makefile("rb")
        mails = 0
        for line in stream:
            verb = line[:4].upper().strip()
            mails += verb == b"MAIL"
            if mails > number_of_mails:
                connection.sendall(last_words)
                return
            if line == b".\r\n" or verb in (b"EHLO", b"MAIL", b"RCPT", b"RSET", b"QUIT"):
                connection.sendall(b"250 ok\r\n")
            elif verb == b"DATA":
                connection.sendall(b"354 go\r\n")

    return script


@pytest.mark.usefixtures("any_loop")
@pytest.mark.parametrize("last_words", [b"421 4.3.2 closing\r\n", b""])
def test_connection_closed_between_messages(last_words: bytes) -> None:
    """A relay that closes after some messages, with 421 or without a word, costs nothing."""
    recipients = [f"r{n}@e.example" for n in range(10)]
    with scripted(closes_after(3, last_words)) as url:
        desk = send(url, recipients, connections=1)
    assert desk.verdicts == [Verdict.ACCEPTED] * 10
    assert desk.handed == dict.fromkeys(recipients, 1)


def test_messages_per_connection(relay) -> None:
    """A connection ends in good order after as many messages as the relay is configured to take."""
    desk = send(
        f"smtp://127.0.0.1:{relay.port}",
        [f"r{n}@e.example" for n in range(10)],
        connections=1,
        messages_per_connection=4,
    )
    assert desk.verdicts == [Verdict.ACCEPTED] * 10
    assert relay.connections == 3


def test_several_connections_at_once() -> None:
    """A slow relay is driven over several connections at once: the waits overlap."""
    together, most = 0, 0
    lock = threading.Lock()

    class Slow(Relay):
        async def handle_DATA(self, server, session, envelope) -> str:
            nonlocal together, most
            with lock:
                together += 1
                most = max(most, together)
            await asyncio.sleep(0.05)
            with lock:
                together -= 1
            return await super().handle_DATA(server, session, envelope)

    with serving(Slow()) as relay:
        recipients = [f"r{n}@e.example" for n in range(40)]
        desk = send(f"smtp://127.0.0.1:{relay.port}", recipients, connections=4)
    assert sorted(relay.recipients) == sorted(recipients)
    assert desk.verdicts == [Verdict.ACCEPTED] * 40
    assert most == 4


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="only Linux can be told so")
@pytest.mark.usefixtures("any_loop")
def test_answers_written_one_by_one() -> None:
    """A relay that writes each answer by itself is not kept waiting for acknowledgments, 40 ms each message."""

    def script(connection: socket.socket, number: int) -> None:
        talk(connection, {**USUAL, b"EHLO": b"250-hello\r\n250 PIPELINING\r\n"})

    with scripted(script) as url:
        began = time.monotonic()
        desk = send(url, [f"r{n}@e.example" for n in range(200)], connections=1)
    assert desk.verdicts == [Verdict.ACCEPTED] * 200
    assert time.monotonic() - began < 200 * 0.04 / 2


@pytest.mark.parametrize(
    ("place", "answer", "verdict"),
    [
        (b"MAIL", b"451 4.7.1 greylisted\r\n", Verdict.DECLINED),
        (b"RCPT", b"451 4.7.1 greylisted\r\n", Verdict.DEFERRED),
        (b"RCPT", b"450 4.2.1 busy\r\n", Verdict.DEFERRED),
        (b"RCPT", b"550 5.1.1 no such user\r\n", Verdict.REFUSED),
        (b"DATA", b"452 4.3.1 full\r\n", Verdict.DECLINED),
        (b"DATA", b"452 4.2.2 full\r\n", Verdict.DEFERRED),
        (b".", b"554 5.7.1 spam\r\n", Verdict.REFUSED),
        (b".", b"250-2.0.0 queued\r\n250 as 7\r\n", Verdict.ACCEPTED),
        (b".", None, Verdict.UNKNOWN),
    ],
)
def test_answers(place: bytes, answer: bytes | None, verdict: Verdict) -> None:
    """Each answer, wherever it comes, becomes its verdict with code and text kept; the next message is not harmed."""
    with scripted(lambda connection, _: talk(connection, {**USUAL, place: answer})) as url:
        desk = send(url, ["a@e.example", "b@e.example"], connections=1)
    assert desk.verdicts == [verdict] * 2
    for (got,) in desk.answers.values():
        assert got.text
        assert not answer or str(got.code).encode() == answer[:3]


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
    with scripted(script) as url:
        desk = send(url, timeout=0.5)
    assert len(desk.down) == 1
    assert desk.down[0].startswith("smtp://127.0.0.1:")
    assert (desk.answers, desk.handed) == ({}, {})


@pytest.mark.usefixtures("any_loop")
def test_hangs_after_the_dot() -> None:
    """Silence after the final dot leaves unknown whether it was accepted, and says so, after six times the patience."""

    def script(connection: socket.socket, _: int) -> None:
        talk(connection, {**USUAL, b".": b""})

    began = time.monotonic()
    with scripted(script) as url:
        desk = send(url, timeout=0.2)
    assert desk.verdicts == [Verdict.UNKNOWN]
    assert time.monotonic() - began > 1.2
    assert "final dot was lost" in desk.answers["b@e.example"][0].text


@pytest.mark.usefixtures("any_loop")
def test_answers_that_lay_unread(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who stood still for longer than any answer may take reads first what came meanwhile: it was not late."""
    handing = Desk.handing

    def stand_still(desk: Desk, tag: object) -> None:
        handing(desk, tag)
        asyncio.get_running_loop().call_soon(time.sleep, 1.6)

    monkeypatch.setattr(Desk, "handing", stand_still)
    desk = send(f"smtp://127.0.0.1:{relay.port}", timeout=0.2)
    assert (desk.verdicts, len(relay.messages)) == ([Verdict.ACCEPTED], 1)


def test_hangs_in_the_middle_of_a_message(any_loop: str) -> None:
    """A relay that stops reading in the middle of a message has not accepted it: it is unsent, without a doubt."""
    if any_loop == "asyncio's own" and (
        (3, 12) <= sys.version_info < (3, 12, 9) or (3, 13) <= sys.version_info < (3, 13, 2)
    ):
        pytest.skip("these forget to say when the kernel takes no more (CVE-2024-12254): it is in doubt there")

    def script(connection: socket.socket, number: int) -> None:
        if number > 1:
            return  # the next attempt is another story
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"220 hello\r\n")
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            connection.recv(1000)
            connection.sendall(answer)
        over.wait(30)

    over = threading.Event()
    with scripted(script) as url:
        desk = send(url, timeout=0.2, message=MESSAGE + b"x" * 75 + b"\r\n" + (b"y" * 75 + b"\r\n") * 200_000)
        over.set()
    assert desk.answers == {}
    assert desk.unsent_
    assert desk.down


class Failed(asyncio.Transport):
    """A transport whose kernel takes nothing more, and that has met an error since: its buffer is thrown away."""

    line: asyncio.Protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def writelines(self, buffers: Iterable[bytes | bytearray | memoryview]) -> None:
        if b".\r\n" in buffers:
            self.line.pause_writing()

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        pass


def test_takes_a_message_that_it_has_not_got() -> None:
    """A relay that says 250 while most of the message has not left us is not believed: it is down, the message open."""

    def script(connection: socket.socket, number: int) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"220 hello\r\n")
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 ok\r\n"):
            connection.recv(1000)
            connection.sendall(answer)
        over.wait(30)

    over = threading.Event()
    with scripted(script) as url:
        # A second one, so that it goes on until the relay is down: its connection ends, though nobody reads it out.
        big = MESSAGE + (b"y" * 75 + b"\r\n") * 200_000
        desk = send(url, ["b@e.example", "c@e.example"], message=big, connections=1)
        over.set()
    assert desk.verdicts == [Verdict.UNKNOWN]
    assert "does not speak SMTP" in desk.down[0]


@pytest.mark.parametrize("mood", ["twice", "early"])
def test_one_answer_too_many(mood: str) -> None:
    """A relay that answers a final dot twice, or once before it came, loses nothing by it: what it is said to have
    taken it has, and the connection ends before an answer is taken for that to another message."""
    recipients = [f"r{number}@e.example" for number in range(20)]
    with misbehaving(Misbehaving(mood=lambda number, _: mood if number % 5 == 0 else "ok")) as server:
        desk = send(f"smtp://127.0.0.1:{server.port}", recipients, connections=3)
    taken = Counter(recipient for recipient, _ in server.accepted)
    accepted = {tag for tag, answers in desk.answers.items() if Verdict.ACCEPTED in [a.verdict for a in answers]}
    assert accepted <= taken.keys()
    doubtful = sum(verdict is Verdict.UNKNOWN for verdict in desk.verdicts)
    assert taken.total() <= len(accepted) + doubtful


class Stuck(asyncio.Transport):
    """A transport of which the kernel takes no more; ``left`` bytes have not left us."""

    left = 0

    def writelines(self, buffers) -> None:
        self.last = b"".join(buffers)

    def get_write_buffer_size(self) -> int:
        return self.left

    def set_write_buffer_limits(self, high=None, low=None) -> None:
        pass

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass


def task() -> asyncio.Task[None]:
    made = asyncio.current_task()
    assert made
    return made


def test_overdue_just_after_a_failure() -> None:
    """A message of which a part was thrown away is unsent without a doubt, also if time runs out at that moment."""
    desk = Desk(deque([Outgoing("b", "a@e.example", "b@e.example", MESSAGE)]))

    async def work() -> None:
        line = Line(Pool(parse_relay("smtp://127.0.0.1:25"), desk, 5, lambda: None), None, task())
        transport = Failed()
        transport.line = line
        line.connection_made(transport)
        for answer in (b"220 hello\r\n", b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            line.data_received(answer)
        line.abort("no answer in time")

    loops.run(work())
    assert (desk.handed, desk.answers, desk.unsent_) == ({"b": 1}, {}, ["b"])


def test_an_envelope_that_follows_late_is_no_part_of_the_message() -> None:
    """Where only the next envelope has not left us, the final dot before it has: the message is in doubt."""

    async def work() -> Desk:
        desk = Desk(deque([Outgoing("b@e.example", "bounces@e.example", "b@e.example", MESSAGE)]))
        line, transport = Line(Pool(parse_relay("smtp://127.0.0.1"), desk, 5, lambda: None), None, task()), Stuck()
        line.connection_made(transport)
        line.data_received(b"220 hello\r\n")
        line.data_received(b"250-hello\r\n250 PIPELINING\r\n")
        line.data_received(b"250 ok\r\n250 ok\r\n354 go\r\n")
        desk.messages["c@e.example"] = Outgoing("c@e.example", "bounces@e.example", "c@e.example", MESSAGE)
        desk.waiting.append(desk.messages["c@e.example"])
        line.data_received(b"250-half an answer\r\n")
        assert transport.last.startswith(b"MAIL")
        line.pause_writing()
        transport.left = len(transport.last)
        line.abort("no answer in time")
        return desk

    desk = asyncio.run(work())
    assert [answer.verdict for answer in desk.answers["b@e.example"]] == [Verdict.UNKNOWN]
    assert desk.unsent_ == ["c@e.example"]


@pytest.mark.usefixtures("any_loop")
@pytest.mark.parametrize("security", ["smtp+starttls", "smtps"])
@pytest.mark.parametrize("extensions", [(), (b"PIPELINING",)], ids=["step by step", "pipelined"])
@pytest.mark.parametrize(
    ("mails", "end"), [(1, "hangs up"), (2, "hangs up"), (3, "hangs up"), (1, "resets"), (2, "resets"), (1, "hangs")]
)
def test_dots_over_tls(
    authority, security: str, extensions: tuple[bytes, ...], mails: int, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also over TLS a message that the relay has whole is in doubt if its answer is lost, and is not sent again."""
    # The handshake may take more than a second on a busy machine; the dot need not be waited for any longer.
    monkeypatch.setattr(connections, "DOT_PATIENCE", 1)
    issuer, ca_file = authority
    context = server_tls(issuer, "127.0.0.1")
    taken: list[int] = []

    def script(connection: socket.socket, number: int) -> None:
        if security == "smtps":
            connection = context.wrap_socket(connection, server_side=True)
        connection.sendall(b"220 hello\r\n")
        stream = connection.makefile("rb")
        while line := stream.readline():
            verb = line[:4].upper().strip()
            if verb == b"EHLO":
                offered = [b"hello", *extensions, *([b"STARTTLS"] if security != "smtps" else [])]
                connection.sendall(b"".join(b"250-%b\r\n" % one for one in offered) + b"250 8BITMIME\r\n")
            elif verb == b"STAR":
                connection.sendall(b"220 go\r\n")
                stream.close()
                connection = context.wrap_socket(connection, server_side=True)
                stream = connection.makefile("rb")
            elif verb == b"DATA":
                connection.sendall(b"354 go\r\n")
                while stream.readline() != b".\r\n":
                    pass
                taken.append(number)
                if len(taken) == mails:
                    break
                connection.sendall(b"250 ok\r\n")
            else:
                connection.sendall(b"250 ok\r\n")
        if end == "hangs":
            over.wait(5)
        elif end == "resets":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.close()
        connection.close()

    over = threading.Event()
    with scripted(script) as url:
        recipients = [f"r{n}@e.example" for n in range(mails)]
        desk = send(
            url.replace("smtp", security),
            recipients,
            ca_file=ca_file,
            connections=1,
            timeout=1 if end == "hangs" else 5,
        )
        over.set()
    assert desk.verdicts == [Verdict.ACCEPTED] * (mails - 1) + [Verdict.UNKNOWN]
    assert (desk.unsent_, len(taken)) == ([], mails)


@pytest.mark.parametrize("refusal", [b"421 4.7.0 too many connections\r\n", b""])
def test_fewer_connections_than_we_open(refusal: bytes) -> None:
    """A relay that allows fewer connections than we would like is not down, and is soon asked for no more."""
    lock, refused = threading.Lock(), []
    standing = 0

    def script(connection: socket.socket, number: int) -> None:
        nonlocal standing
        with lock:
            full = standing >= 2
            standing += not full
        if full:
            refused.append(number)
            connection.sendall(refusal)
            return
        try:
            time.sleep(0.1)
            talk(connection, USUAL)
        finally:
            standing -= 1

    recipients = [f"r{n}@e.example" for n in range(200)]
    with scripted(script, at_once=True) as url:
        desk = send(url, recipients, connections=8)
    assert (desk.verdicts, desk.down) == ([Verdict.ACCEPTED] * 200, [])
    assert len(refused) <= 6


@pytest.mark.parametrize("answer", [b"421 4.3.2 not now\r\n", b"530 5.7.0 Authentication required\r\n"])
def test_refuses_each_message_at_uneven_speed(answer: bytes) -> None:
    """A relay that ends each connection, or wants a login, before it took a message is down, though another connection
    is ready at every moment. Where it wants a login no message is to blame."""

    def script(connection: socket.socket, number: int) -> None:
        time.sleep(0.05 * (number % 4))
        talk(connection, {b"MAIL": answer})

    with scripted(script, at_once=True) as url:
        desk = send(url, [f"r{n}@e.example" for n in range(100)], connections=4)
    assert len(desk.down) == 1
    assert len(desk.unsent_) < 20
    assert answer.startswith(b"421") or desk.blamed == []


def test_two_that_end_at_once() -> None:
    """A connection that ended over a message beside another is no fault, though that is gone when it is closed: a relay
    is down after three messages that were to blame."""
    desk = Desk(deque(Outgoing(to, "bounces@e.example", f"{to}@e.example", MESSAGE) for to in "abcde"))

    async def work() -> None:
        pool = Pool(parse_relay("smtp://127.0.0.1"), desk, 5, lambda: None)
        for together in (2, 1, 1, 1):
            assert not desk.down
            lines = [Line(pool, None, task()) for _ in range(together)]
            for line in lines:
                line.connection_made(Stuck())
                line.data_received(b"220 hello\r\n")
                line.data_received(b"250 hello\r\n")
            for line in lines:
                line.data_received(b"421 4.3.2 go away\r\n")
            for line in lines:
                line.connection_lost(None)

    asyncio.run(work())
    assert (desk.blamed, len(desk.down)) == (["c", "d", "e"], 1)


@pytest.mark.parametrize("verb", [b"MAIL", b"RCPT"])
def test_fewer_connections_told_late(verb: bytes) -> None:
    """So it is for a relay that says only at a message's envelope that there are too many connections."""
    first = threading.Event()

    def script(connection: socket.socket, number: int) -> None:
        if first.is_set():
            talk(connection, {verb: b"421 4.7.0 too many connections\r\n"})
            return
        first.set()
        time.sleep(0.2)
        talk(connection, USUAL)

    with scripted(script, at_once=True) as url:
        desk = send(url, [f"r{n}@e.example" for n in range(100)], connections=8)
    assert (desk.verdicts, desk.down, desk.blamed) == ([Verdict.ACCEPTED] * 100, [], [])
    assert len(desk.unsent_) <= 8


@pytest.mark.usefixtures("any_loop")
def test_hangs_in_the_handshake(authority) -> None:
    """A relay that agrees to STARTTLS and then says nothing is down, however late it agreed."""

    def script(connection: socket.socket, number: int) -> None:
        connection.sendall(b"220 hello\r\n")
        connection.recv(1000)
        connection.sendall(b"250-hello\r\n250 STARTTLS\r\n")
        connection.recv(1000)
        time.sleep(0.4)
        connection.sendall(b"220 go\r\n")
        over.wait(10)

    over = threading.Event()
    with scripted(script) as url:
        desk = send(url.replace("smtp", "smtp+starttls"), ca_file=authority[1], timeout=0.5)
        over.set()
    assert len(desk.down) == 1


def test_no_goodbye() -> None:
    """A relay that does not answer QUIT is not down, and is not waited for as long as for another answer."""
    with scripted(lambda connection, _: talk(connection, {**USUAL, b"QUIT": b""}), at_once=True) as url:
        recipients = [f"r{n}@e.example" for n in range(6)]
        began = time.monotonic()
        desk = send(url, recipients, connections=1, messages_per_connection=2, timeout=30)
    assert (desk.verdicts, desk.down) == ([Verdict.ACCEPTED] * 6, [])
    assert time.monotonic() - began < 15


@contextmanager
def deaf(hosts: Sequence[str], port: int) -> Iterator[None]:
    """At these addresses somebody listens and takes no connection."""
    with contextlib.ExitStack() as held:
        for host in hosts:
            listener = held.enter_context(socket.socket())
            listener.bind((host, port))
            listener.listen(0)
            # It takes none any more once its queue is full.
            for _ in range(4):
                filler = held.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex((host, port))
        yield


def test_one_address_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first of a relay's addresses does not answer, the next is tried (RFC 5321, 5); where none does, the
    relay is down in no more time than one would have. The next connection begins with the one that answered."""
    with scripted(lambda connection, _: talk(connection, USUAL)) as url:
        port = int(url.rpartition(":")[2])
        found: list[str] = []
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (host, port)) for host in found])
        with deaf(("127.0.0.8", "127.0.0.9"), port):
            found[:] = ["127.0.0.9", "127.0.0.1"]
            desk = send(f"smtp://relay.example:{port}", timeout=1)
            assert (desk.verdicts, desk.down) == ([Verdict.ACCEPTED], [])
            began = time.monotonic()
            recipients = [f"r{n}@e.example" for n in range(8)]
            send(f"smtp://relay.example:{port}", recipients, timeout=1, connections=1, messages_per_connection=1)
            assert time.monotonic() - began < 8 * 0.5 / 2
            found[:] = ["127.0.0.8", "127.0.0.9"]
            began = time.monotonic()
            desk = send(f"smtp://relay.example:{port}", timeout=1)
            assert len(desk.down) == 1
            assert time.monotonic() - began < 5


@pytest.mark.usefixtures("any_loop")
def test_a_name_that_cannot_be_looked_up() -> None:
    """A host whose name cannot be written in the DNS is a relay that is down, and not waited for."""
    relay = dataclasses.replace(parse_relay("smtp://127.0.0.1:25"), host="smtp.example..org")
    desk = Desk(deque([Outgoing("b", "a@e.example", "b@e.example", MESSAGE)]))

    async def work() -> None:
        pool = Pool(relay, desk, 5, lambda: None)
        pool.kick(1)
        limit = time.monotonic() + 3
        while not desk.down and time.monotonic() < limit:
            await asyncio.sleep(0.01)
        await pool.close()

    loops.run(work())
    assert len(desk.down) == 1


@pytest.mark.usefixtures("any_loop")
@pytest.mark.parametrize("what", ["login", "lookup"])
def test_a_relay_that_holds_up_none(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one relay's login or address cannot be had, another's goes on, and whoever else waits in a thread."""
    over = threading.Event()
    lookup = socket.getaddrinfo

    def slow_lookup(host: str, *arguments: object, **named: object) -> object:
        if host == "slow.example":
            over.wait(10)
        return lookup(host, *arguments, **named)  # type: ignore[call-overload]

    def credentials() -> Credentials | None:
        if what == "login":
            over.wait(10)
        return None

    monkeypatch.setattr(socket, "getaddrinfo", slow_lookup)
    desk = Desk(deque([Outgoing("b", "a@e.example", "b@e.example", MESSAGE)]))
    waited: list[float] = []

    async def work() -> None:
        slow = Pool(parse_relay("smtp://slow.example:9"), Desk(deque()), 5, credentials)
        pool = Pool(parse_relay(f"smtp://127.0.0.1:{relay.port}"), desk, 5, lambda: None)
        began = time.monotonic()
        slow.kick(1000)
        pool.kick(1)
        await asyncio.to_thread(int)
        waited.append(time.monotonic() - began)
        while not desk.answers and time.monotonic() < began + 5:
            await asyncio.sleep(0.01)
        await pool.close()
        await slow.close()
        waited.append(time.monotonic() - began)
        over.set()

    with serving(Relay()) as relay:
        loops.run(work())
    assert desk.verdicts == [Verdict.ACCEPTED]
    assert max(waited) < 4


def test_always_hangs_up_after_the_dot() -> None:
    """A relay that never answers a final dot is down after three messages, and does not get the whole queue."""
    with scripted(lambda connection, _: talk(connection, {**USUAL, b".": None})) as url:
        desk = send(url, [f"r{n}@e.example" for n in range(30)], connections=1)
    assert desk.verdicts == [Verdict.UNKNOWN] * 3
    assert len(desk.down) == 1


@pytest.mark.usefixtures("any_loop")
def test_nobody_listens() -> None:
    """A port that nobody listens on is a relay that is down, and named."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    desk = send(f"smtp://127.0.0.1:{port}")
    assert f"smtp://127.0.0.1:{port} cannot be reached" in desk.down[0]


lines = st.lists(st.binary(max_size=60).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b"")), max_size=8)


@given(lines)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bodies_arrive_byte_for_byte(relay, body: list[bytes]) -> None:
    """Lines that begin with dots, and any bytes between line ends, arrive as they were sent."""
    message = b"Subject: x\r\n\r\n" + b"".join(line + b"\r\n" for line in body)
    assert send(f"smtp://127.0.0.1:{relay.port}", message=message).verdicts == [Verdict.ACCEPTED]
    assert relay.messages[-1][2] == message


def test_international_addresses(relay) -> None:
    """A local part beyond ASCII goes to a relay that offers SMTPUTF8 (RFC 6531)."""
    assert send(f"smtp://127.0.0.1:{relay.port}", ["peña@e.example"]).verdicts == [Verdict.ACCEPTED]
    assert relay.recipients == ["peña@e.example"]
    with serving(Relay(), enable_SMTPUTF8=False) as old:
        desk = send(f"smtp://127.0.0.1:{old.port}", ["peña@e.example", "b@e.example"])
    assert [answer.code for (answer,) in desk.answers.values()] == [553, 250]


@pytest.mark.usefixtures("any_loop")
def test_loop_stalls_while_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose time is over at the moment it stands is tried again, or its relay is down; it is not kept."""
    made = Line.connection_made

    def slowly(line: Line, transport: asyncio.BaseTransport) -> None:
        made(line, transport)
        time.sleep(0.5)

    monkeypatch.setattr(Line, "connection_made", slowly)
    with scripted(lambda connection, _: talk(connection, USUAL), at_once=True) as url:
        desk = send(url, ["a@e.example", "b@e.example"], connections=1, timeout=0.3)
    assert desk.answers or "does not answer" in desk.down[0]


def test_reason_of_a_relay_that_is_silent() -> None:
    """Of a relay that falls silent it is said that it did, and not that it closed the connection."""

    def script(connection: socket.socket, number: int) -> None:
        connection.sendall(b"220 hello\r\n")
        connection.recv(1000)
        connection.sendall(b"250 hello\r\n")
        while connection.recv(1000):
            pass

    with scripted(script, at_once=True) as url:
        desk = send(url, [f"{who}@e.example" for who in "abc"], connections=1, timeout=0.3)
    assert desk.down == [f"{url}: no answer in time"]


def test_reason_that_a_relay_gave() -> None:
    """What a relay says when it ends the conversation is kept: perhaps it says what to do."""
    with scripted(lambda c, _: talk(c, {b"MAIL": b"421 4.7.0 Your address 192.0.2.1 is blocked\r\n"})) as url:
        desk = send(url, [f"{who}@e.example" for who in "abc"], connections=1)
    assert "421 4.7.0 Your address 192.0.2.1 is blocked" in desk.down[0]


@pytest.mark.usefixtures("any_loop")
def test_tls_that_lingers(authority) -> None:
    """A relay that says 421 over TLS and does not close has its place taken by another connection after a moment."""
    made, ca_file = authority
    context, over = server_tls(made, "127.0.0.1"), threading.Event()

    def script(connection: socket.socket, number: int) -> None:
        secure = context.wrap_socket(connection, server_side=True)
        stream = secure.makefile("rb")
        secure.sendall(b"220 hello\r\n")
        mails = 0
        while line := stream.readline():
            verb = line[:4].upper().strip()
            if verb == b"DATA":
                secure.sendall(b"354 go\r\n")
                while stream.readline() != b".\r\n":
                    pass
                mails += 1
                secure.sendall(b"250 ok\r\n")
            elif verb == b"MAIL" and mails:
                secure.sendall(b"421 4.3.2 enough\r\n")
                over.wait(20)
                return
            else:
                secure.sendall(b"250 ok\r\n")

    with scripted(script, at_once=True) as url:
        began = time.monotonic()
        send(url.replace("smtp", "smtps"), ["a@e.example", "b@e.example"], ca_file=ca_file, connections=1, timeout=2)
        assert time.monotonic() < began + 10
        over.set()
