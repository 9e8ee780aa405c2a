"""What values of the configuration have to be like; each function gives back the value, or says what is wrong.

A web address is written in ASCII, as mails need it.
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

HOST_NAME = re.compile(r"[\w.-]{1,253}|\[?[0-9a-fA-F:.]{2,45}\]?")


def _split(value: str, schemes: tuple[str, ...]) -> SplitResult:
    wrong = f"must look like {schemes[0]}://host, with one of: {', '.join(schemes)}"
    # Python leaves out tabs and line ends without a word.
    if re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError("must hold no space")
    try:
        parts = urlsplit(value)
        port = parts.port
        host_name(parts.hostname or "")
    except ValueError:
        raise ValueError("its port is not a number from 1 to 65535, or its host is none") from None
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(wrong)
    if port == 0:
        raise ValueError("its port is not a number from 1 to 65535")
    return parts


def ascii_url(url: str) -> str:
    """A URL as RFC 3986 has it: its host in A-labels (RFC 5890), the rest percent-encoded (RFC 3987).

    Raises:
        ValueError: its host is no name.
    """
    if url.isascii():
        return url
    parts = urlsplit(url)
    host, colon, port = parts.netloc.lower().partition(":")
    place = host_name(host) + colon + port
    rest = (quote(part, safe="/:@!$&'()*+,;=~%-._?") for part in parts[2:])
    return urlunsplit((parts.scheme, place, *rest))


def host_name(host: str) -> str:
    """A host's name in A-labels, or its address as it is.

    Raises:
        ValueError: it is no name, as one with labels that are empty or too long.
    """
    if host.isascii():
        # Who resolves the name would find out, in an error that is none of the network's.
        try:
            host.encode("idna")
        except UnicodeError:
            raise ValueError("it is no host: a part of its name is empty or longer than 63 characters") from None
        return host
    # Only those who have such a name wait for its tables.
    import idna

    return idna.encode(host, uts46=True).decode()


def site_url(value: str) -> str:
    """Where readers reach the site: other addresses are made by writing on."""
    parts = _split(value, ("https", "http")) if value else SplitResult("", "", "", "", "")
    if re.search(r"[\"'<>\\^`{|}]", value):
        raise ValueError("must hold no quote, brace or angle bracket")
    if "@" in parts.netloc or "?" in value or "#" in value:
        raise ValueError("links are made by writing on at its end: leave out user, ? and #")
    try:
        return ascii_url(value)
    except ValueError as error:
        raise ValueError(f"its host is no name: {error}") from None


def queue_url(value: str) -> str:
    """Redis or Valkey, with the number of a database if need be."""
    if value and not re.fullmatch(r"/?|/[0-9]{1,5}", _split(value, ("redis", "rediss")).path):
        raise ValueError("after the host may only stand the number of a database: redis://host:6379/0")
    return value


def networks(value: str) -> str:
    """Addresses and networks, or none."""
    if value != "none":
        for text in value.split():
            ip_network(text)
    return value


def host_names(value: str) -> str:
    """Names of hosts, without scheme, port and path; in ASCII, as browsers ask for them."""
    found = []
    for name in value.split():
        wrong = f"{name!r} is no name of a host; write news.example.org, without scheme, port and path"
        if not HOST_NAME.fullmatch(name):
            raise ValueError(wrong)
        try:
            found.append(host_name(name))
        except ValueError:
            raise ValueError(wrong) from None
    return " ".join(found)


def present_file(value: Path | None) -> Path | None:
    """A file that is there."""
    if value is not None and not value.is_file():
        raise ValueError(f"there is no file {value}")
    return value
