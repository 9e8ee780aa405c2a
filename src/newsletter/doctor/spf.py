"""What SPF says of an address that sends for a domain (RFC 7208)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from newsletter.doctor.resolving import Resolver
from newsletter.errors import InputError

LOOK_UPS = 10
"""Terms that ask the DNS, of all records together, and exchangers of one term (4.6.4); receivers ask no more."""
VOID = 2
"""Terms that may ask the DNS for what is not there (4.6.4)."""
MECHANISMS = ("all", "ip4", "ip6", "include", "a", "mx", "exists", "ptr")
MACRO = re.compile(r"%(?:\{([slodivh])(\d*)(r?)([.+,/_=-]*)\}|([%_-]))", re.IGNORECASE)
MODIFIER = re.compile(r"([a-z][a-z0-9_.-]*)=(.*)", re.IGNORECASE)
MECHANISM = re.compile(r"([+?~-]?)([a-z0-9]+)(?::([^/]+|.*:.*))?((?:/\d+)?(?://\d+)?)", re.IGNORECASE)
QUALIFIERS = {"": "pass", "+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}


class Verdict(NamedTuple):
    """``word``: pass, fail, softfail, neutral, none or permerror (2.6); ``reason``: the term, or what is wrong."""

    word: str
    reason: str = ""


class _PermanentError(Exception):
    pass


@dataclass
class _Asked:
    resolver: Resolver
    address: IPv4Address | IPv6Address
    sender: str
    left: int = LOOK_UPS
    void_left: int = VOID

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _PermanentError(f"more than {LOOK_UPS} terms of the record ask the DNS")

    def answer(self, found: list[str], term: str) -> list[str]:
        """What a term found in the DNS; few may find nothing."""
        self.void_left -= not found
        if self.void_left < 0:
            raise _PermanentError(f"more than {VOID} terms ask the DNS for what is not there, the last is {term}")
        return found


def record_of(resolver: Resolver, domain: str) -> list[str]:
    """The SPF records of a domain; there may be one (4.5)."""
    return [text for text in resolver.texts(domain) if re.match(r"v=spf1( |$)", text, re.IGNORECASE)]


def evaluate(resolver: Resolver, domain: str, address: str) -> Verdict:
    """What a receiver decides of a mail that ``address`` sends with a return path of ``domain``.

    Raises:
        StateError: the DNS cannot be asked.
    """
    asked = _Asked(resolver, ip_address(address), f"bounces@{domain}")
    try:
        return _check(asked, domain)
    except _PermanentError as error:
        return Verdict("permerror", str(error))
    except InputError as error:
        return Verdict("permerror", error.message)


def _check(asked: _Asked, domain: str) -> Verdict:
    records = record_of(asked.resolver, domain)
    if not records:
        return Verdict("none", f"{domain} has no SPF record")
    if len(records) > 1:
        raise _PermanentError(f"{domain} has {len(records)} SPF records, and may have one")
    terms, redirect = _parsed(records[0], domain)
    for term in terms:
        if _matches(asked, domain, term):
            return Verdict(QUALIFIERS[term[1]], term[0])
    if not redirect:
        return Verdict("neutral", "no term of the record matches")
    asked.spend()
    verdict = _check(asked, _expanded(redirect, asked, domain))
    if verdict.word == "none":
        raise _PermanentError(f"redirect={redirect} leads to no record")
    return verdict


def _parsed(record: str, domain: str) -> tuple[list[re.Match[str]], str]:
    """The mechanisms, and where the record redirects to; an error anywhere counts before any term does (4.6)."""
    terms, modifiers = [], dict[str, str]()
    for text in record.split()[1:]:
        if modifier := MODIFIER.fullmatch(text):
            name = modifier[1].lower()
            if name in modifiers and name in ("redirect", "exp"):
                raise _PermanentError(f"the record of {domain} has {name}= twice")
            modifiers[name] = modifier[2]
            continue
        term = MECHANISM.fullmatch(text)
        if term is None or term[2].lower() not in MECHANISMS:
            raise _PermanentError(f"{text!r} in the record of {domain} is no term")
        try:
            if term[2].lower() in ("ip4", "ip6"):
                _network(term)
            else:
                of_4, of_6 = _lengths(term[4])
                ip_network(f"0.0.0.0/{of_4}"), ip_network(f"::/{of_6}")
        except ValueError:
            raise _PermanentError(f"{text!r} in the record of {domain} is no network") from None
        terms.append(term)
    return terms, modifiers.get("redirect", "")


def _network(term: re.Match[str]) -> IPv4Network | IPv6Network:
    return ip_network((term[3] or "") + term[4], strict=False)


def _matches(asked: _Asked, domain: str, term: re.Match[str]) -> bool:
    text, name, target, lengths = term[0], term[2].lower(), term[3] or "", term[4]
    if name == "all":
        return True
    if name in ("ip4", "ip6"):
        return asked.address in _network(term)
    asked.spend()
    target = _expanded(target, asked, domain) if target else domain
    if name == "include":
        verdict = _check(asked, target)
        if verdict.word == "none":
            raise _PermanentError(f"{text} leads to no record")
        return verdict.word == "pass"
    if name == "exists":
        return bool(asked.answer(asked.resolver.addresses(target), text))
    if name == "ptr":
        return any(
            f".{known}".endswith(f".{target.lower()}") and str(asked.address) in _addresses(asked, known)
            for known in asked.answer(asked.resolver.names_of(str(asked.address)), text)[:LOOK_UPS]
        )
    if name == "a":
        return any(_covers(address, lengths, asked) for address in asked.answer(_addresses(asked, target), text))
    hosts = asked.answer(asked.resolver.exchangers(target), text)
    if len(hosts) > LOOK_UPS:
        raise _PermanentError(f"{text} leads to more than {LOOK_UPS} servers")
    return any(_covers(address, lengths, asked) for host in hosts if host != "." for address in _addresses(asked, host))


def _addresses(asked: _Asked, host: str) -> list[str]:
    """Those of the kind of the sender's: receivers ask for no others (5)."""
    addresses = map(ip_address, asked.resolver.addresses(host))
    return [str(address) for address in addresses if address.version == asked.address.version]


def _covers(address: str, lengths: str, asked: _Asked) -> bool:
    """Whether ``a/24//64`` means this address (5.6: the first length is for IPv4, the second for IPv6)."""
    length = _lengths(lengths)[":" in address]
    return asked.address in ip_network(f"{address}/{length}", strict=False)


def _lengths(text: str) -> tuple[str, str]:
    """Of a network of IPv4 and of one of IPv6."""
    of_4, _, of_6 = text.partition("//")
    return of_4.removeprefix("/") or "32", of_6 or "128"


def _expanded(text: str, asked: _Asked, domain: str) -> str:
    """Macros filled in (7.3)."""
    if "%" not in text:
        return text
    address = asked.address
    dotted = str(address) if address.version == 4 else ".".join(address.exploded.replace(":", ""))
    local, _, sending = asked.sender.partition("@")
    values = {
        "s": asked.sender,
        "l": local,
        "o": sending,
        "d": domain,
        "i": dotted,
        "v": "in-addr" if address.version == 4 else "ip6",
        "h": sending,
    }

    def fill(found: re.Match[str]) -> str:
        if found[5]:
            return {"%": "%", "_": " ", "-": "%20"}[found[5]]
        parts = re.split(f"[{re.escape(found[4] or '.')}]", values[found[1].lower()])
        if found[3]:
            parts.reverse()
        return ".".join(parts[-int(found[2]) :] if found[2] else parts)

    return MACRO.sub(fill, text)
