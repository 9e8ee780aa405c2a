"""Which names the site and the inbox answer to, and whom the site believes who a reader is. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?", re.ASCII)
"""RFC 9110, 7.2: a name or an address, and perhaps a port."""
MAPPED = "::ffff:"


def host_names(base_url: str, others: Iterable[str]) -> frozenset[str]:
    """The names that the site answers to besides those of this machine; none: whatever it is called."""
    main = urlsplit(base_url).hostname
    return frozenset(name.lower().strip("[]").rstrip(".") for name in (main, *others)) if main else frozenset()


def is_ours(header: str, names: Collection[str]) -> bool:
    """Whether the site may be called what a ``Host`` header says: its name, or this machine's own."""
    found = HOST.fullmatch(header.strip().lower())
    if found is None:
        return False
    name = found[1].strip("[]").rstrip(".")
    return not names or name in names or is_this_machine(name)


def is_this_machine(name: str) -> bool:
    """Whether a name or address is this machine's for itself alone."""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def trusted(networks: Iterable[str]) -> list[str]:
    """Networks of proxies as connections show them: those of IPv4 also as a socket for both kinds writes them."""
    found: list[str] = []
    for text in networks:
        network: IPv4Network | IPv6Network = ip_network(text)
        found.append(str(network))
        if network.version == 4:
            found.append(f"{MAPPED}{network.network_address}/{96 + network.prefixlen}")
    return found
