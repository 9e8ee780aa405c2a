"""The mailbox for those who leave by mail (RFC 2369): a mail to a reader announces it with a seal of its subscription.

A mail program that does not know the one click sends a message there. What carries a seal of ours, in its subject or
behind the ``+`` of an address, ends that subscription and is deleted; whatever else lies there is left alone.
"""

from __future__ import annotations

import email
import email.policy
import imaplib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.header import decode_header, make_header
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from sqlalchemy import Engine

from newsletter.audience.addresses import parse_address
from newsletter.audience.consents import Proof, consent_hash
from newsletter.audience.forgetting import forget_sign_ups
from newsletter.audience.leaving import leave
from newsletter.audience.links import LinkError, read_seal
from newsletter.audience.subscribers import key_of
from newsletter.errors import InputError, SettingsError, StateError
from newsletter.settings import Settings

LOCAL = ("localhost", "127.0.0.1", "::1")
PORTS = {"imaps": 993, "imap": 143}
MOST = 500
"""Messages looked at in one reading, the newest first."""
AT_ONCE = 100
"""Messages asked for by one command: a mailbox may be far away, and full of what is no leaving."""
PATIENCE = 60
"""Seconds that a reading may take: half of the time until beat asks for the next one."""
SOURCE = "mail to the leave address"
WORDING = "List-Unsubscribe: <mailto:…>"
FIELDS = ("Subject", "To", "Cc", "Delivered-To", "X-Original-To")
HEAD_LIMIT = 16 * 1024
"""Bytes of a message's header fields that are looked at: anybody can write to this address."""
SUBJECT_LIMIT = 1000
"""Characters of a subject whose encoded words are read: with a seal it has fifty of its own."""
SEAL = re.compile(r"(?<![\w.])\d{1,19}\.[0-9a-f]{20}(?![\w.])", re.ASCII | re.IGNORECASE)
SEAL_KIND = "leave"
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
UID = re.compile(rb"[( ]UID (\d+)")


@dataclass(frozen=True)
class Mailbox:
    """Where it is, how it is read, and the address that leads to it."""

    host: str
    port: int
    is_secure: bool
    user: str
    password: str = field(repr=False)
    folder: str
    address: str
    ca_file: Path | None = None

    def announced(self, seal: str) -> str:
        """What List-Unsubscribe says (RFC 6068); behind a ``+`` at the end of the local part comes the seal, too."""
        local, _, domain = self.address.rpartition("@")
        to = quote(local + (seal if local.endswith("+") else ""), safe="+")
        return f"mailto:{to}@{domain}?subject={SEAL_KIND}%20{seal}"


@dataclass(frozen=True)
class Read:
    """What a reading came to: readers who left now, messages of some who had left before, and those left alone.

    ``refused``: messages that the server does not give, such as one whose file is damaged.
    """

    left: int
    again: int
    alone: int
    refused: int = 0


def mailbox_of(settings: Settings) -> Mailbox | None:
    """The configured mailbox, if there is one.

    Raises:
        SettingsError: it cannot be used; without repeating the URL, which holds a password.
    """
    if not settings.leave_mailbox:
        return None
    try:
        return _read_url(settings.leave_mailbox, settings.smtp_ca_file)
    except (ValueError, InputError) as error:
        reason = error.message.rstrip(".") if isinstance(error, InputError) else str(error)
        raise SettingsError(
            f"NEWSLETTER_LEAVE_MAILBOX is not usable: {reason}.",
            "Example: imaps://leave:password@imap.example.org/INBOX?address=leave@example.org",
        ) from None


def _read_url(url: str, ca_file: Path | None) -> Mailbox:
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("it has to look like imaps://user:password@host/folder")
    try:
        parts.hostname.encode("idna")
    except UnicodeError:
        raise ValueError("its host cannot be one") from None
    if parts.scheme == "imap" and parts.hostname not in LOCAL:
        raise ValueError("it would send a password in clear; use imaps://")
    options = dict(parse_qsl(parts.query))
    if not options.keys() <= {"address", "password_file"}:
        raise ValueError("after the ? stands what is no option; there are address, password_file")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if "password_file" in options:
        try:
            password = Path(options["password_file"]).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise ValueError("password_file cannot be read") from None
    if not user or not password:
        raise ValueError("user or password is missing")
    if CONTROL.search(user + password):
        raise ValueError("user or password has a control character")
    address = parse_address(options.get("address", user)).email
    if not address.isascii():
        raise ValueError("the address must be ASCII")
    folder = unquote(parts.path.lstrip("/")) or "INBOX"
    if not folder.isascii() or not folder.isprintable():
        raise ValueError("the folder's name has to be ASCII")
    port = parts.port or PORTS[parts.scheme]
    return Mailbox(parts.hostname, port, parts.scheme == "imaps", user, password, folder, address, ca_file)


def read_mailbox(engine: Engine, settings: Settings, mailbox: Mailbox, now: datetime) -> Read:
    """End the subscriptions that the messages in the mailbox name, and delete those messages.

    A message is deleted only when its leaving is in the database; read twice, it changes nothing.

    Raises:
        StateError: the server cannot be reached or refuses; without a secret.
    """
    left = again = alone = refused = 0
    done: list[bytes] = []
    with _opened(mailbox) as server:
        try:
            for number, head in _heads(server):
                subscription = _named(settings.keys, head or b"")
                if subscription is None:
                    alone, refused = alone + (head is not None), refused + (head is None)
                    continue
                with engine.begin() as connection:
                    address_key = str(key_of(connection, subscription))
                    proof = Proof(address_hash=consent_hash(settings.keys, address_key), wording=WORDING)
                    ended = bool(
                        forget_sign_ups(connection, [subscription])
                        or leave(connection, subscription, SOURCE, now, proof)
                    )
                left, again = left + ended, again + (not ended)
                done.append(number)
        finally:
            _delete(server, done)
    return Read(left, again, alone, refused)


@contextmanager
def _opened(mailbox: Mailbox) -> Iterator[imaplib.IMAP4]:
    """The folder, ready to be read; any trouble with the server becomes a sentence."""
    ends = monotonic() + PATIENCE
    try:
        with _connected(mailbox, lambda: max(ends - monotonic(), 0.01)) as connection:
            server = _Server(connection)
            try:
                _login(server, mailbox.user, mailbox.password)
                _answer(server.select(_quoted(mailbox.folder)))
                yield server
            finally:
                with suppress(imaplib.IMAP4.error, OSError):
                    server.logout()
    except (imaplib.IMAP4.error, OSError, UnicodeError) as error:
        reason = " ".join(str(error).replace(mailbox.password, "[secret]").split())[:200] or type(error).__name__
        if isinstance(error, UnicodeError):
            reason = "its answer is not ASCII"
        if monotonic() >= ends:
            reason = f"it took more than {PATIENCE} seconds"
        raise StateError(
            f"The leave mailbox at {mailbox.host} cannot be read: {reason}.",
            "See NEWSLETTER_LEAVE_MAILBOX in docs/configuration.md; nothing is lost, the messages wait there.",
        ) from None


class _Server(imaplib.IMAP4):
    """IMAP over a connection that is there already."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        super().__init__()

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return self._connection


@contextmanager
def _connected(mailbox: Mailbox, left: Callable[[], float]) -> Iterator[socket.socket]:
    """A connection that lasts as long as there are seconds ``left``."""
    context = ssl.create_default_context() if mailbox.is_secure else None
    if context and mailbox.ca_file:
        context.load_verify_locations(mailbox.ca_file)
    connection = _reached(mailbox, left)
    connection.settimeout(left())
    if context:
        connection = context.wrap_socket(connection, server_hostname=mailbox.host)
    # A time-out alone begins anew with each word of a server that talks and never answers.
    timer = threading.Timer(left(), _cut, [connection])
    timer.daemon = True
    timer.start()
    try:
        with connection:
            yield connection
    finally:
        timer.cancel()


def _reached(mailbox: Mailbox, left: Callable[[], float]) -> socket.socket:
    """A connection to the first address that answers; each gets its share of the time that is left."""
    places = socket.getaddrinfo(mailbox.host, mailbox.port, type=socket.SOCK_STREAM)
    while True:
        *_, place = places.pop(0)
        try:
            return socket.create_connection((str(place[0]), mailbox.port), left() / (len(places) + 1))
        except OSError:
            if not places:
                raise


def _cut(connection: socket.socket) -> None:
    # One over TLS forgets its TLS at its own shutdown, while the other thread still reads from it.
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _login(server: imaplib.IMAP4, user: str, password: str) -> None:
    if "AUTH=PLAIN" in server.capabilities:
        server.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
    elif (user + password).isascii():
        # Of the two, imaplib quotes the password alone.
        server.login(_quoted(user), password)
    else:
        raise imaplib.IMAP4.error("it takes no user and no password beyond ASCII")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _answer(result: tuple[str, Any]) -> Any:
    kind, data = result
    if kind != "OK":
        raise imaplib.IMAP4.error(str(data))
    return data


def _heads(server: imaplib.IMAP4) -> Iterator[tuple[bytes, bytes | None]]:
    """Number (UID) and head of each message, None if the server refuses it; what is unread stays so."""
    # Read ones, too: who looks at a mail in a webmail does not let its reader leave.
    found = _answer(server.uid("SEARCH", "UNDELETED"))[0] or b""
    numbers = found.split()[: -MOST - 1 : -1]
    for start in range(0, len(numbers), AT_ONCE):
        asked = numbers[start : start + AT_ONCE]
        heads = _given(server, asked)
        for number in asked:
            # The refusal of one may hide others.
            yield number, heads.get(number) or _given(server, [number]).get(number)


def _given(server: imaplib.IMAP4, numbers: list[bytes]) -> dict[bytes, bytes]:
    """The header fields that may carry a seal, of those of the messages that the server gives."""
    wanted = f"(UID BODY.PEEK[HEADER.FIELDS ({' '.join(FIELDS)})]<0.{HEAD_LIMIT}>)"
    kind, parts = server.uid("FETCH", b",".join(numbers).decode(), wanted)
    if kind != "OK":
        # What came before a refusal counts, and would pass for a part of the next answer.
        _, parts = server.response("FETCH")
    heads: dict[bytes, bytes] = {}
    for part, after in pairwise([*parts, b""]):
        # The number stands before the fields or behind them.
        if isinstance(part, tuple) and (number := UID.search(part[0] + after)):
            heads[number[1]] = part[1][:HEAD_LIMIT]
    return heads


def _named(keys: Any, head: bytes) -> int | None:
    """The subscription that a message names with a seal of ours; None if it names none."""
    for text in _texts(head):
        for found in SEAL.findall(text.replace("+", " ")):
            with suppress(LinkError):
                return read_seal(keys, SEAL_KIND, found)
    return None


def _texts(head: bytes) -> Iterator[str]:
    # Of the standard library's readers only this one takes as long as the text is; others take its square.
    message = email.message_from_bytes(head, policy=email.policy.compat32)
    for name in FIELDS:
        # What strangers write into header fields can upset the standard library in many ways.
        with suppress(Exception):
            for value in message.get_all(name, []):
                yield str(value)
                if name == "Subject":
                    # Encoded words that do not end take the square of their length.
                    yield str(make_header(decode_header(str(value)[:SUBJECT_LIMIT])))


def _delete(server: imaplib.IMAP4, numbers: list[bytes]) -> None:
    """Delete these messages and no others; without UIDPLUS (RFC 4315) they stay marked as deleted."""
    if not numbers:
        return
    named = b",".join(numbers).decode()
    _answer(server.uid("STORE", named, "+FLAGS", r"(\Seen \Deleted)"))
    # Asked anew: many servers name it only after the login, and imaplib keeps what the greeting said.
    if b"UIDPLUS" in _answer(server.capability())[0].upper().split():
        _answer(server.uid("EXPUNGE", named))
