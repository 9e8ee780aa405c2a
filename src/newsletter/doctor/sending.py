"""The addresses that mails come from, as far as they can be known from here."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple

from newsletter.delivery.relays import INBOX, Relay
from newsletter.doctor.resolving import Resolver

ELSEWHERE = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))
"""Addresses that nobody has (RFC 5737, RFC 3849); nothing is sent to them."""


class Sender(NamedTuple):
    """An address; ``certain`` if somebody said that mails come from it, or it is this machine's own."""

    address: str
    certain: bool
    of: str


def senders(relays: Sequence[Relay], given: Sequence[str], resolver: Resolver) -> list[Sender]:
    """The addresses ``given``; else where relays listen, which is often where they send from; for a relay on this
    machine or network, this machine's own public addresses.

    Raises:
        StateError: the DNS cannot be asked.
    """
    if given:
        return [Sender(str(ip_address(address)), True, "--address") for address in given]
    found: dict[str, Sender] = {}
    for relay in relays:
        if relay.name == INBOX:
            continue
        listening = addresses_of(relay.host, resolver)
        public = [Sender(address, False, f"relay {relay.name}") for address in listening if is_public(address)]
        for one in public or [Sender(address, True, "this machine") for address in own_addresses()]:
            found.setdefault(one.address, one)
    return list(found.values())


def addresses_of(host: str, resolver: Resolver) -> list[str]:
    """The IP addresses of a host, which may be one itself; none of ``localhost``.

    Raises:
        StateError: the DNS cannot be asked.
    """
    try:
        return [str(ip_address(host))]
    except ValueError:
        return [] if host == "localhost" else resolver.addresses(host)


def is_public(address: str) -> bool:
    """Whether others can reach it."""
    return ip_address(address).is_global


def own_addresses() -> list[str]:
    """The public addresses that packets of this machine would leave with."""
    found = []
    for target, family in ELSEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))  # of UDP: only chooses an address
                found.append(probe.getsockname()[0])
        except OSError:
            continue
    return [address for address in found if is_public(address)]
