"""The SMTP server of the capture inbox: it takes everything and sends nothing on."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from newsletter.checking import host_name
from newsletter.errors import StateError
from newsletter.inbox.store import Store

SIZE_LIMIT = 10_000_000

log = structlog.get_logger()


def listen(host: str, port: int, what: str, settings: Sequence[str]) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    ``what`` it is for begins the sentence if that fails; ``settings`` end it: the port's, before it the host's, if any.

    Raises:
        StateError: the port is taken, or the address is not this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host_name(host), port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise StateError(
                f"{what} port {port} on {host} is in use.",
                f"Stop what uses it, or set {settings[-1]} to another port (0 picks a free one).",
            ) from None
        reason = getattr(error, "strerror", None) or str(error)
        raise StateError(
            f"{what} port {port} on {host} cannot be used: {reason}.",
            "Set "
            + "".join(f"{of_host} to an address of this machine, " for of_host in settings[:-1])
            + f"{settings[-1]} to a port that is free for you.",
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
