"""The SMTP server of the capture inbox: it takes everything and sends nothing on."""

from __future__ import annotations

import asyncio
import errno
import socket

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from newsletter.errors import StateError
from newsletter.inbox.store import Store

SIZE_LIMIT = 10_000_000
SETTINGS = {"SMTP": "NEWSLETTER_INBOX_SMTP_PORT", "web": "NEWSLETTER_INBOX_WEB_PORT"}

log = structlog.get_logger()


def listen(host: str, port: int, kind: str) -> socket.socket:
    """A listening socket for the inbox's ``kind`` ("SMTP" or "web"); port 0 takes a free one.

    Raises:
        StateError: the port is taken, or the address is not this machine's.
    """
    setting = SETTINGS[kind]
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StateError(
                f"The inbox's {kind} port {port} on {host} is in use.",
                f"Stop what uses it, or set {setting} to another port (0 picks a free one).",
            ) from None
        reason = error.strerror or str(error)
        raise StateError(
            f"The inbox cannot listen for {kind} on {host}, port {port}: {reason}.",
            f"Set NEWSLETTER_INBOX_HOST to an address of this machine, {setting} to a port it may use.",
        ) from None


def port_of(listener: socket.socket) -> int:
    """The port that a listening socket really has."""
    return int(listener.getsockname()[1])


class _Server(SMTP):
    # Whoever writes lines longer than RFC 5321 allows should see them in the inbox, not an error.
    line_length_limit = SIZE_LIMIT


class _Handler:
    """What aiosmtpd calls; the names and parameters are its own."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Offer PIPELINING (RFC 2920) too: commands are read from a stream, one after the other."""
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", responses[-1]]

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keep the message; a full disk is a passing trouble (RFC 5321, 4.2.3: 452)."""
        raw = envelope.original_content or b""
        try:
            number = self.store.add(raw, envelope.mail_from or "", list(envelope.rcpt_tos))
        except OSError as error:
            log.warning("inbox cannot keep a message", reason=error.strerror)
            return "452 4.3.1 The inbox cannot write to its folder"
        return f"250 2.0.0 Kept as message {number}"


async def start_smtp(store: Store, listener: socket.socket) -> asyncio.Server:
    """Serve SMTP with SIZE, 8BITMIME, SMTPUTF8 and PIPELINING on ``listener`` in the running loop."""
    loop = asyncio.get_running_loop()
    handler = _Handler(store)

    def protocol() -> SMTP:
        return _Server(
            handler,
            data_size_limit=SIZE_LIMIT,
            enable_SMTPUTF8=True,
            hostname="inbox.localhost",
            ident="Newsletter inbox",
            loop=loop,
        )

    return await loop.create_server(protocol, sock=listener)
