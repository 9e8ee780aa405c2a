"""The relays that messages are handed to: how they are configured, and which one carries a delivery.

Nothing here speaks to a relay. No sentence repeats what stands in a URL: a mistyped password may be any part of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from newsletter.errors import InputError, SettingsError
from newsletter.settings import Settings
from newsletter.slugs import check_slug

SECURITY = {"smtp": "none", "smtp+starttls": "starttls", "smtps": "tls"}
DEFAULT_PORTS = {"none": 25, "starttls": 587, "tls": 465}
LOCAL = ("localhost", "127.0.0.1", "::1")
CONNECTIONS = 8
INBOX = "inbox"

PERIODS = {"s": 1, "min": 60, "h": 3600, "day": 86400}
NAME = re.compile(r"[A-Za-z0-9:][A-Za-z0-9._:-]{0,252}")
HOST = re.compile(r"[\w.:-]{1,253}")

URL_OPTIONS = ("name", "connections", "messages", "rate", "weight", "lists", "password_file", "ca_file")
LOGIN_OPTIONS = ("user", "password", "password_file", "token_command")
LIMIT_OPTIONS = ("connections", "messages_per_connection", "rate", "weight", "lists", "ca_file")
TABLE_OPTIONS = ("host", "port", "security", *LOGIN_OPTIONS, *LIMIT_OPTIONS)


@dataclass(frozen=True)
class Rate:
    """At most ``count`` messages in any ``seconds``."""

    count: int
    seconds: int

    def __str__(self) -> str:
        """As it is written in the configuration."""
        unit = next((unit for unit, seconds in PERIODS.items() if seconds == self.seconds), f"{self.seconds}s")
        return f"{self.count}/{unit}"


@dataclass(frozen=True)
class Relay:
    """An SMTP server; ``security`` is none, starttls (verified, RFC 3207) or tls (RFC 8314)."""

    name: str
    host: str
    port: int
    security: str = "none"
    user: str = ""
    password: str = field(default="", repr=False)
    token_command: tuple[str, ...] = field(default=(), repr=False)
    """Program and arguments; what it prints is an OAuth 2 access token, and stands in for the password (XOAUTH2)."""
    connections: int = CONNECTIONS
    """Most connections of one worker process."""
    messages_per_connection: int = 0
    """After this many a new connection is opened; 0: as many as the relay takes."""
    rates: tuple[Rate, ...] = ()
    """Limits, each of which holds for all workers together."""
    weight: int = 1
    """Its share, beside that of others that may carry the same list."""
    lists: frozenset[str] = frozenset()
    """Slugs of the lists that it carries; none means all."""
    ca_file: Path | None = None
    """Certificates to trust besides the system's."""

    def __str__(self) -> str:
        """Where it is, for people and logs: without user and password."""
        scheme = next(scheme for scheme, security in SECURITY.items() if security == self.security)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"


class _Problem(Exception):
    """What is wrong with a relay, as the end of a sentence."""


def relays_of(settings: Settings) -> tuple[Relay, ...]:
    """The configured relays in the order of their configuration; if there are none, the built-in inbox.

    Raises:
        SettingsError: one cannot be used; without repeating a secret.
    """
    urls = settings.smtp_url.split()
    if urls and settings.relays:
        raise SettingsError(
            "NEWSLETTER_SMTP_URL and the tables [relays.…] in newsletter.toml both name relays.",
            "Keep one of the two. NEWSLETTER_RELAYS=none leaves the tables out.",
        )
    if urls:
        found = [_from_url(url, number if len(urls) > 1 else 0) for number, url in enumerate(urls, 1)]
    elif settings.relays:
        found = [_from_table(name, table) for name, table in settings.relays.items()]
    else:
        found = [Relay(INBOX, settings.inbox_host, settings.inbox_smtp_port)]
    names = [relay.name for relay in found]
    if len(set(names)) < len(names):
        raise SettingsError(
            "NEWSLETTER_SMTP_URL is not usable: two of its relays have the same name.",
            "Give each a name of its own with ?name=…; without one it is the host.",
        )
    return tuple(relay if relay.ca_file else replace(relay, ca_file=settings.smtp_ca_file) for relay in found)


def parse_relay(url: str) -> Relay:
    """Read one ``smtp://host:25``, ``smtp+starttls://user:password@host:587`` or ``smtps://…?weight=2``.

    Raises:
        SettingsError: without repeating the URL, which may hold a password.
    """
    return _from_url(url, 0)


def _from_url(url: str, number: int) -> Relay:
    try:
        return _read_url(url)
    except _Problem as problem:
        where = f"URL number {number}: " if number else ""
        raise SettingsError(
            f"NEWSLETTER_SMTP_URL is not usable: {where}{problem}.",
            "Example: smtp+starttls://user:password@mail.example.org:587",
        ) from None


def _read_url(url: str) -> Relay:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _Problem("the port is not a number from 1 to 65535") from None
    if parts.scheme not in SECURITY:
        raise _Problem(f"it has to begin with {', '.join(f'{name}://' for name in SECURITY)}")
    if not parts.hostname:
        raise _Problem("it names no host")
    if parts.path.strip("/") or "#" in url:
        raise _Problem("nothing may follow the port but ?options (write / in a password as %2F, # as %23)")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    options: dict[str, Any] = dict(pairs)
    if not options.keys() <= set(URL_OPTIONS) or len(options) < len(pairs) or (parts.query and not pairs):
        raise _Problem(
            f"after the ? stands what is no option, or one twice; there are {', '.join(URL_OPTIONS)} "
            "(write ? in a password as %3F)"
        )
    name = options.pop("name", parts.hostname)
    if "messages" in options:
        options["messages_per_connection"] = options.pop("messages")
    for several in {"lists", "rate"} & options.keys():
        options[several] = options[several].split(",")
    if parts.username:
        options["user"] = unquote(parts.username)
    if parts.password is not None:
        options["password"] = unquote(parts.password)
    return _build(name, options | {"host": parts.hostname, "port": port, "security": SECURITY[parts.scheme]})


def _from_table(name: str, table: Mapping[str, Any]) -> Relay:
    try:
        for option in table:
            if option not in TABLE_OPTIONS:
                raise _Problem(f"{option!r} is no option; there are {', '.join(TABLE_OPTIONS)}")
        if "host" not in table:
            raise _Problem("it names no host")
        return _build(name, {"security": "starttls", **table})
    except _Problem as problem:
        raise SettingsError(
            f"[relays.{name}] in newsletter.toml is not usable: {problem}.", "See docs/configuration.md, Relays."
        ) from None


def _build(name: str, options: Mapping[str, Any]) -> Relay:
    """A relay from options that are known by name; values as TOML or a URL has them."""
    if not NAME.fullmatch(name):
        raise _Problem("its name has to be of letters, digits, dots and hyphens")
    host, security = _text(options, "host"), _text(options, "security")
    if not HOST.fullmatch(host) or not _is_name(host):
        raise _Problem("host is not the name or address of a host")
    if security not in DEFAULT_PORTS:
        raise _Problem("security has to be none, starttls or tls")
    user, password, token_command = _login(options)
    if user and security == "none" and host not in LOCAL:
        raise _Problem("it would send a password in clear; use STARTTLS (smtp+starttls://) or TLS (smtps://)")
    port = options.get("port")
    return Relay(
        name,
        host,
        DEFAULT_PORTS[security] if port is None else _integer(options, "port", 0, 1, 65535),
        security,
        user,
        password,
        token_command,
        _integer(options, "connections", CONNECTIONS, 1, 1000),
        _integer(options, "messages_per_connection", 0, 0, 1_000_000),
        _rates(options),
        _integer(options, "weight", 1, 1, 1000),
        frozenset(_slugs(options)),
        _file(options, "ca_file"),
    )


def _is_name(host: str) -> bool:
    """Whether it can be written in the DNS: labels of 1 to 63 letters (RFC 1035, 2.3.4)."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _login(options: Mapping[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    user, secrets = _text(options, "user"), [n for n in ("password", "password_file", "token_command") if n in options]
    if len(secrets) > 1:
        raise _Problem(f"it has {' and '.join(secrets)}; one is enough")
    if user and not secrets:
        raise _Problem("it has a user but no password")
    if secrets and not user:
        raise _Problem("it has a password but no user")
    password, command = _text(options, "password"), options.get("token_command", [])
    if path := _file(options, "password_file"):
        try:
            password = path.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise _Problem("its password_file cannot be read") from None
    if "token_command" in options and not (
        isinstance(command, list) and command and all(isinstance(word, str) and word for word in command)
    ):
        raise _Problem('token_command has to be a list: ["program", "argument"]')
    if user and not command and not password:
        raise _Problem("its password is empty")
    if re.search(r"[\x00-\x1f\x7f]", user + password):
        raise _Problem("user or password has a line break or another control character in it")
    return user, password, tuple(command)


def _text(options: Mapping[str, Any], name: str) -> str:
    value = options.get(name, "")
    if not isinstance(value, str):
        raise _Problem(f"{name} has to be text")
    return value


def _integer(options: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = options.get(name, default)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _Problem(f"{name} is not a number from {least} to {most}")
    return value


def _file(options: Mapping[str, Any], name: str) -> Path | None:
    value = _text(options, name)
    if not value:
        return None
    path = Path(value)
    if not path.is_file():
        raise _Problem(f"{name} names a file that is not there")
    return path


def _several(options: Mapping[str, Any], name: str) -> list[str]:
    value = options.get(name, [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(part, str) for part in values):
        raise _Problem(f"{name} has to be a list of texts")
    return [part.strip() for part in values]


def _slugs(options: Mapping[str, Any]) -> list[str]:
    slugs = _several(options, "lists")
    try:
        return [check_slug(slug) for slug in slugs]
    except InputError:
        raise _Problem("lists has what cannot be the slug of a list (small letters, digits, hyphens)") from None


def _rates(options: Mapping[str, Any]) -> tuple[Rate, ...]:
    found: dict[int, Rate] = {}
    for text in _several(options, "rate"):
        match = re.fullmatch(rf"([0-9]{{1,9}})/({'|'.join(PERIODS)})", text.replace(" ", ""))
        if not match or int(match[1]) == 0:
            raise _Problem(f"rate has to look like 10/s, 600/min or 20000/day (per {', '.join(PERIODS)})")
        rate = Rate(int(match[1]), PERIODS[match[2]])
        if rate.seconds in found:
            raise _Problem("rate has two limits for the same period")
        found[rate.seconds] = rate
    return tuple(found[seconds] for seconds in sorted(found))
