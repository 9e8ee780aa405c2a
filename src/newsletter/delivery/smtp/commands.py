"""What a relay is told: addresses, logins and contents as they may travel (RFC 5321, 4954). Pure."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Literal

import idna

from newsletter.delivery.smtp.outcomes import Answer, Verdict
from newsletter.scanning import places

_PLAIN_PATH = re.compile(r"[!-;=?-~]{1,64}@[!-;=?A-~]+")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\x9f\s<>\ud800-\udfff]")
_LOCAL_PART, _ADDRESS = 64, 254  # octets: RFC 5321, 4.5.3.1; a path of 256 has two angle brackets
_COMMAND = 512  # octets with CRLF: RFC 5321, 4.5.3.1.4


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are to a relay: ``password`` is one, or an OAuth 2 access token if ``kind`` says so."""

    user: str
    password: str = field(repr=False)
    kind: Literal["password", "token"] = "password"


@dataclass(frozen=True, slots=True)
class Login:
    """An AUTH command and the answers to the challenges that follow it, each with CRLF."""

    command: bytes = field(repr=False)
    answers: tuple[bytes, ...] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    """What must not be shown if the relay repeats it."""


def login(credentials: Credentials, offered: Set[str]) -> Login | None:
    """The best way to log in that is offered (mechanisms in capitals); None if there is none.

    XOAUTH2 has an empty answer to the challenge that tells of an error, so that the refusal comes.
    """
    user, secret = credentials.user, credentials.password
    if credentials.kind == "token":
        if "XOAUTH2" not in offered:
            return None
        whole = b64encode(f"user={user}\1auth=Bearer {secret}\1\1".encode())
        return _with_initial_response(b"XOAUTH2", whole, (b"\r\n",), secret)
    if "PLAIN" in offered:
        return _with_initial_response(b"PLAIN", b64encode(f"\0{user}\0{secret}".encode()), (), secret)
    if "LOGIN" in offered:
        name, word = b64encode(user.encode()), b64encode(secret.encode())
        return Login(b"AUTH LOGIN\r\n", (name + b"\r\n", word + b"\r\n"), (secret, word.decode()))
    return None


def _with_initial_response(mechanism: bytes, response: bytes, answers: tuple[bytes, ...], secret: str) -> Login:
    secrets = (secret, response.decode(), b64encode(secret.encode()).decode())
    command = b"AUTH %b %b\r\n" % (mechanism, response)
    if len(command) <= _COMMAND:
        return Login(command, answers, secrets)
    # A response that makes the command too long waits for the challenge (RFC 4954, 4).
    return Login(b"AUTH %b\r\n" % mechanism, (response + b"\r\n", *answers), secrets)


def is_path(address: str) -> bool:
    """Whether an address can be written between ``<`` and ``>`` without breaking out, and is not too long."""
    if _PLAIN_PATH.fullmatch(address):
        return len(address) <= _ADDRESS
    local, _, domain = address.rpartition("@")
    if not local or not domain or _FORBIDDEN.search(address):
        return False
    return len(local.encode()) <= _LOCAL_PART and len(address.encode()) <= _ADDRESS


def with_ascii_domain(address: str) -> str:
    """The address with its domain as A-labels; as it was if the domain has none (RFC 5891)."""
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode('ascii')}"
    except idna.IDNAError:
        return address


def envelope(
    sender: str, recipient: str, content: bytes, capabilities: Mapping[str, str]
) -> tuple[bytes, bytes] | Answer:
    """MAIL and RCPT for a message, with what it needs of the relay; a refusal if it cannot go there.

    Sizes: RFC 1870; 8-bit contents: RFC 6152; addresses that are not ASCII: RFC 6531.
    """
    if not is_path(recipient):
        return _refused(553, "5.1.3", "The recipient is not an address that can be written in SMTP")
    if sender and not is_path(sender):
        return _refused(553, "5.1.7", "The sender is not an address that can be written in SMTP")
    options = ""
    if (limit := capabilities.get("SIZE")) is not None:
        size = len(content) if content.endswith(b"\r\n") else len(content) + 2
        if limit.isdecimal() and 0 < int(limit) < size:
            return _refused(552, "5.3.4", f"The message has {size} bytes, the relay takes {limit}")
        options = f" SIZE={size}"
    if not content.isascii():
        if "8BITMIME" not in capabilities:
            return _refused(554, "5.6.3", "The message has 8-bit content, the relay does not offer 8BITMIME")
        options += " BODY=8BITMIME"
    if not (sender.isascii() and recipient.isascii()):
        sender, recipient = with_ascii_domain(sender), with_ascii_domain(recipient)
        if not (sender.isascii() and recipient.isascii()):
            if "SMTPUTF8" not in capabilities:
                return _refused(553, "5.6.7", "An address is not ASCII, the relay does not offer SMTPUTF8")
            options += " SMTPUTF8"
    return f"MAIL FROM:<{sender}>{options}\r\n".encode(), f"RCPT TO:<{recipient}>\r\n".encode()


def _refused(code: int, status: str, text: str) -> Answer:
    return Answer(Verdict.REFUSED, code, f"{status} {text}", status)


def dot_stuffed(content: bytes) -> bytes:
    """A content as it goes after DATA: its last line ended, a dot before each that begins with one (4.5.2)."""
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    if content.startswith(b"."):
        content = b"." + content
    dots = places(content, b"\r\n.")
    if not dots:
        return content
    parts, start = [], 0
    for at in dots:
        parts.append(content[start : at + 3])
        start = at + 2
    return b"".join((*parts, content[start:]))
