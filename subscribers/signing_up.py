"""The form to subscribe, as it was sent, and the words that are agreed to by it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from newsletter.audience import subscribers as audience
from newsletter.audience.addresses import Address, parse_address
from newsletter.audience.consents import Proof, consent_hash, network_of
from newsletter.errors import InputError
from subscribers.enrolling import Wish
from subscribers.picking import PicksForm, Problem
from subscribers.rendering import language_names, say, sentences
from subscribers.site import Site

LONGEST_ADDRESS = 254
"""RFC 5321, 4.5.3.1.3: a path has 256 characters with its angle brackets."""


@dataclass(frozen=True)
class Applicant:
    """Who wants to subscribe, as it was typed; ``address`` is None if that is none."""

    email: str = ""
    name: str = ""
    address: Address | None = None
    errors: Mapping[str, Problem] = field(default_factory=dict)


def read_applicant(pairs: Sequence[tuple[str, Any]]) -> Applicant:
    """Address and name from a form that was sent, with what is wrong with either."""
    sent = {name: value for name, value in pairs if isinstance(value, str)}
    email, name = sent.get("email", "").strip(), sent.get("name", "")
    errors: dict[str, Problem] = {}
    address = None
    if not email:
        errors["email"] = Problem("email_missing")
    else:
        try:
            if len(email) > LONGEST_ADDRESS:
                raise InputError("The address is too long.")
            address = parse_address(email)
        except InputError:
            errors["email"] = Problem("email_wrong")
    try:
        name = audience.check_name(name)
    except InputError:
        errors["name"] = Problem("name_wrong")
    return Applicant(email[:LONGEST_ADDRESS], name[:200], address, errors)


def wording(language: str, list_row: Any) -> str:
    """What a reader agrees to by subscribing, word by word."""
    key = "consent_own" if list_row.sender_name.casefold() == list_row.name.casefold() else "consent"
    return say(language, key, list=list_row.name, sender=list_row.sender_name)


def other_language(language: str, list_row: Any) -> str:
    """The name of the language that digests will come in, if that is not the page's; else nothing."""
    theirs = tuple(list_row.languages)
    return "" if language in theirs else language_names(theirs[:1], language)[0]


@cache
def page_version(language: str) -> str:
    """Which version of the words the page had: it changes when they do."""
    said = sentences(language).texts
    text = "\0".join(f"{key}={said[key]}" for key in sorted(said) if key.startswith(("consent", "subscribe", "picks")))
    return f"subscribe-{language}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def wish_of(
    site: Site, list_row: Any, applicant: Applicant, form: PicksForm, language: str, *, source: str, host: str | None
) -> Wish:
    """What a form without errors asks for; ``host``: the IP address that it came from."""
    address = applicant.address
    assert address is not None
    proof = Proof(
        address_hash=consent_hash(site.keys, address.key),
        network=network_of(host),
        page=page_version(language),
        wording=wording(language, list_row),
    )
    return Wish(address, applicant.name, language, form.timezone, form.picks, form.schedule, source, proof)
