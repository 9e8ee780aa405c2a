"""The relay that messages are handed to. Pure: it only reads a URL."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from newsletter.errors import SettingsError

DEFAULT_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


@dataclass(frozen=True)
class Relay:
    """An SMTP server; ``security`` is ``smtp`` (none), ``smtp+starttls`` or ``smtps``."""

    host: str
    port: int
    security: str = "none"
    user: str = ""
    password: str = field(default="", repr=False)
    name: str = "main"
    connections: int = 4
    messages_per_connection: int = 0
    ca_file: str | None = None

    def __str__(self) -> str:
        """For people and logs: without the password."""
        return f"{self.security}://{self.host}:{self.port}"


def parse_relay(url: str) -> Relay:
    """Read ``smtp://host:25``, ``smtp+starttls://user:password@host:587`` or ``smtps://…`` (RFC 8314).

    Raises:
        SettingsError: without repeating the URL, which may hold a password.
    """
    problem = None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        problem = "the port is not a number from 1 to 65535"
    else:
        if parts.scheme not in DEFAULT_PORTS:
            problem = f"it has to begin with {', '.join(f'{name}://' for name in DEFAULT_PORTS)}"
        elif not parts.hostname:
            problem = "it names no host"
        elif parts.path.strip("/") or parts.query:
            problem = "nothing may follow the port (write / in a password as %2F)"
        elif parts.username and parts.password is None:
            problem = "it has a user but no password"
        elif parts.username and parts.scheme == "smtp" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            problem = "it would send a password in clear; use smtp+starttls:// or smtps://"
    if problem:
        raise SettingsError(
            f"NEWSLETTER_SMTP_URL is not usable: {problem}.",
            "Example: smtp+starttls://user:password@mail.example.org:587",
        )
    return Relay(
        parts.hostname or "",
        port or DEFAULT_PORTS[parts.scheme],
        {"smtp": "none", "smtp+starttls": "starttls", "smtps": "tls"}[parts.scheme],
        unquote(parts.username or ""),
        unquote(parts.password or ""),
    )
