"""One conversation with a relay, many messages long (RFC 5321)."""

from __future__ import annotations

import smtplib
import socket
import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType

from newsletter.delivery.relays import Relay


class Verdict(StrEnum):
    """What became of one message."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"  # 4xx: try again
    REFUSED = "refused"  # 5xx: do not
    UNKNOWN = "unknown"  # the answer to the final dot was lost: it may or may not have been accepted


@dataclass(frozen=True, slots=True)
class Answer:
    """The relay's answer to one message: verdict, reply code (0 if none came) and text."""

    verdict: Verdict
    code: int
    text: str


class RelayDown(Exception):
    """The relay cannot be used at all now; no message is to blame. Holds the reason as a sentence."""


class Conversation:
    """A connection to a relay: opened on first use, kept for many messages, opened again if lost."""

    def __init__(self, relay: Relay, timeout: float, ca_file: Path | None = None, local_name: str = "") -> None:
        """``timeout`` in seconds holds for each answer; ``ca_file`` adds to the trusted certificates."""
        self.relay = relay
        self._timeout = timeout
        self._local_name = local_name or None
        self._client: smtplib.SMTP | None = None
        self._tls: ssl.SSLContext | None = None
        if relay.security != "none":
            self._tls = ssl.create_default_context()
            if ca_file:
                self._tls.load_verify_locations(ca_file)

    def __enter__(self) -> Conversation:
        """Nothing happens yet: a batch whose every delivery was dropped needs no connection."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say QUIT if the line is still up."""
        if self._client is not None:
            try:
                self._client.quit()
            except OSError:
                self._hang_up()
            self._client = None

    def send(self, sender: str, recipient: str, message: bytes) -> Answer:
        """Hand over one message.

        Raises:
            RelayDown: before the relay had a chance to accept it.
        """
        fresh = self._client is None
        client = self._client or self._open()
        try:
            return self._transact(client, sender, recipient, message)
        except OSError as error:
            self._hang_up()
            if fresh:
                raise RelayDown(f"{self.relay} closed the connection: {error}") from error
        # A connection that was idle, or reached its number of messages, may be closed at any time (421).
        client = self._open()
        try:
            return self._transact(client, sender, recipient, message)
        except OSError as error:
            self._hang_up()
            raise RelayDown(f"{self.relay} closed the connection: {error}") from error

    def _open(self) -> smtplib.SMTP:
        relay = self.relay
        try:
            if relay.security == "tls":
                client: smtplib.SMTP = smtplib.SMTP_SSL(
                    relay.host, relay.port, self._local_name, timeout=self._timeout, context=self._tls
                )
            else:
                client = smtplib.SMTP(relay.host, relay.port, self._local_name, timeout=self._timeout)
            self._client = client
            client.ehlo_or_helo_if_needed()
            if relay.security == "starttls":
                client.starttls(context=self._tls)
                client.ehlo_or_helo_if_needed()
            if relay.user:
                client.login(relay.user, relay.password)
        except ssl.SSLCertVerificationError as error:
            self._hang_up()
            raise RelayDown(f"{relay} has a certificate that is not trusted: {error.verify_message}") from error
        except (smtplib.SMTPAuthenticationError, smtplib.SMTPNotSupportedError) as error:
            self._hang_up()
            reason = "refused user or password" if isinstance(error, smtplib.SMTPAuthenticationError) else str(error)
            raise RelayDown(f"{relay}: {reason}") from error
        except OSError as error:
            self._hang_up()
            raise RelayDown(f"{relay} cannot be reached: {error}") from error
        return client

    def _transact(self, client: smtplib.SMTP, sender: str, recipient: str, message: bytes) -> Answer:
        options = []
        if not (sender + recipient).isascii():
            if not client.has_extn("smtputf8"):
                return Answer(Verdict.REFUSED, 553, "5.6.7 The relay does not offer SMTPUTF8 (RFC 6531)")
            options = ["SMTPUTF8"]
            client.command_encoding = "utf-8"
        code, text = client.mail(sender, options)
        if code == 421:
            # Before it names a message: the relay ends this connection, and blames no mail (RFC 5321, 4.2.1).
            raise smtplib.SMTPServerDisconnected(f"421 {_readable(text)}")
        if not 200 <= code < 300:
            return self._refusal(client, code, text)
        code, text = client.rcpt(recipient)
        if not 200 <= code < 300:
            return self._refusal(client, code, text)
        code, text = client.docmd("DATA")
        if code != 354:
            return self._refusal(client, code, text)
        client.send(_dot_stuffed(message))
        try:
            code, text = client.getreply()
        except OSError as error:
            self._hang_up()
            return Answer(Verdict.UNKNOWN, 0, f"The connection was lost after the final dot: {error}")
        if 200 <= code < 300:
            return Answer(Verdict.ACCEPTED, code, _readable(text))
        return self._refusal(client, code, text)

    def _refusal(self, client: smtplib.SMTP, code: int, text: bytes) -> Answer:
        try:
            client.rset()
        except OSError:
            self._hang_up()
        if code in (530, 535, 538):
            self._hang_up()
            raise RelayDown(f"{self.relay} asks for a login: {code} {_readable(text)}")
        return Answer(Verdict.REFUSED if code >= 500 else Verdict.DEFERRED, code, _readable(text))

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def _readable(text: bytes) -> str:
    """An answer as one line that is safe to store and show."""
    line = " ".join(text.decode("utf-8", "replace").split())
    return "".join(character for character in line if character.isprintable())[:500]


def _dot_stuffed(message: bytes) -> bytes:
    """The message as it goes after DATA: lines that begin with a dot get another (RFC 5321, 4.5.2)."""
    body = message.replace(b"\r\n.", b"\r\n..")
    if body.startswith(b"."):
        body = b"." + body
    return body + (b"" if body.endswith(b"\r\n") else b"\r\n") + b".\r\n"


def is_listening(host: str, port: int) -> bool:
    """Whether something answers at an address."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
