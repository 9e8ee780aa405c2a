"""Questions to the DNS: asked over the network, or answered out of a zone file (RFC 1035, 5)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver
import dns.reversename
import dns.zonefile

from newsletter.errors import InputError, StateError

ANSWER_SECONDS = 4.0
"""For one question, all servers and repetitions together."""

Ask = Callable[[dns.name.Name, str], list[Any]]


class Resolver:
    """Asks what mail needs. Names without answers give empty lists.

    Every method raises:
        StateError: the DNS cannot be asked.
        InputError: the name is none.
    """

    def __init__(self, ask: Ask) -> None:
        """``ask``: the records of a name and type, none if there are none."""
        self._ask = ask
        self._known: dict[tuple[str, str], list[Any]] = {}

    def texts(self, name: str) -> list[str]:
        """TXT records, the strings of each joined (RFC 6376, 3.6.2.2)."""
        return [b"".join(record.strings).decode("utf-8", "replace") for record in self._records(name, "TXT")]

    def addresses(self, name: str) -> list[str]:
        """A and AAAA records."""
        return [record.address for kind in ("A", "AAAA") for record in self._records(name, kind)]

    def exchangers(self, name: str) -> list[str]:
        """MX records, best first; ``.`` says that the domain takes no mail (RFC 7505)."""
        records = sorted(self._records(name, "MX"), key=lambda record: int(record.preference))
        return [_text(record.exchange) for record in records]

    def names_of(self, address: str) -> list[str]:
        """PTR records of an address."""
        return [_text(record.target) for record in self._records(str(dns.reversename.from_address(address)), "PTR")]

    def _records(self, name: str, kind: str) -> list[Any]:
        key = name.lower().rstrip("."), kind
        if key not in self._known:
            try:
                asked = dns.name.from_text(name)
            except (dns.exception.DNSException, UnicodeError):
                raise InputError(f"{name!r} is not a name that the DNS can have.") from None
            self._known[key] = self._ask(asked, kind)
        return self._known[key]


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def over_network(servers: tuple[str, int] | None = None) -> Resolver:
    """Asks the system's resolvers, or one server by address and port."""
    try:
        resolver = dns.resolver.Resolver(configure=servers is None)
    except dns.exception.DNSException as error:
        reason = str(error)

        def refuse(name: dns.name.Name, kind: str) -> list[Any]:
            raise StateError(f"The DNS cannot be asked: {reason}")

        return Resolver(refuse)
    if servers is not None:
        resolver.nameservers, resolver.port = [servers[0]], servers[1]

    def ask(name: dns.name.Name, kind: str) -> list[Any]:
        try:
            answer = resolver.resolve(name, kind, search=False, lifetime=ANSWER_SECONDS, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise StateError(f"The DNS did not answer for {_text(name)} {kind}: {type(error).__name__}.") from None
        return list(answer.rrset or ())

    return Resolver(ask)


def _sets(text: str) -> list[dns.rrset.RRset]:
    return dns.zonefile.read_rrsets(text, default_ttl=3600, default_rdclass="IN", rdclass=None, relativize=False)


def _line(text: str, told: int) -> int:
    """The line of an error that was told of: it is one less where its line had been read to its end."""
    try:
        _sets("\n".join(text.split("\n")[: told - 1]))
    except dns.exception.DNSException:
        return told - 1
    return told


def from_file(file: Path) -> Resolver:
    """Answers out of a zone file with whole names, as `dig` and `newsletter dkim show` print it.

    Raises:
        InputError: it cannot be read.
    """
    try:
        text = file.read_text("utf-8")
        sets = _sets(text)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from None
    except (dns.exception.DNSException, UnicodeError) as error:
        reason = re.sub(r"^<\w+>:(\d+)", lambda found: f"line {_line(text, int(found[1]))}", str(error))
        raise InputError(
            f"{file} is not a zone file: {reason}.", 'Lines look like: rutas.example. IN TXT "v=spf1 -all"'
        ) from None
    known = {(found.name, dns.rdatatype.to_text(found.rdtype)): list(found) for found in sets}

    def ask(name: dns.name.Name, kind: str) -> list[Any]:
        for _ in range(10):
            if (name, kind) in known or (name, "CNAME") not in known:
                break
            name = known[name, "CNAME"][0].target
        return known.get((name, kind), [])

    return Resolver(ask)
