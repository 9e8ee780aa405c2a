"""The DMARC policy of a domain (RFC 9989)."""

from __future__ import annotations

from typing import NamedTuple

from newsletter.doctor.records import tags
from newsletter.doctor.resolving import Resolver

POLICIES = ("none", "quarantine", "reject")
MOST_LABELS = 8
"""Longer names are shortened to so many labels before the walk goes on (4.10)."""


class Policy(NamedTuple):
    """``name``: where the record stands; ``word``: what receivers are to do; ``reports``: whether any are sent."""

    name: str
    records: list[str]
    word: str
    reports: bool


def policy_of(resolver: Resolver, domain: str) -> Policy | None:
    """The policy for mails from ``domain``: its own, else that of its Organizational Domain (4.10).

    That is the highest above it that has a record, unless one says ``psd=n`` (it is this one) or ``psd=y`` (it is the
    one below, and where that has no record, this one speaks for it). ``word`` is empty if the record cannot be used.
    None if there is none.
    """
    labels = domain.split(".")
    if records := _records(resolver, domain):
        return _policy(domain, records, "p")
    found = None
    for start in range(max(1, len(labels) - MOST_LABELS + 1), len(labels)):
        above, below = (".".join(labels[first:]) for first in (start, start - 1))
        records = _records(resolver, above)
        if not records:
            continue
        policy, psd = _policy(above, records, "sp"), tags(records[0]).get("psd", "").lower()
        if psd == "y":
            return found if found and found.name == _name(below) else policy
        # A top-level domain is nobody's own, and its record one for those below only if it says so.
        if "." in above:
            found = policy
        if psd == "n":
            break
    return found


def _name(domain: str) -> str:
    return f"_dmarc.{domain}"


def _records(resolver: Resolver, domain: str) -> list[str]:
    return [text for text in resolver.texts(_name(domain)) if text.split(";")[0].replace(" ", "") == "v=DMARC1"]


def _policy(domain: str, records: list[str], tag: str) -> Policy:
    found = tags(records[0])
    word = (found.get(tag) or found.get("p", "none")).lower()
    usable = len(records) == 1 and word in POLICIES
    return Policy(_name(domain), records, word if usable else "", "rua" in found)
