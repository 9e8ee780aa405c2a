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
    """The policy for mails from ``domain``: its own, or that of the nearest domain above it (4.10, the tree walk).

    ``word`` is empty if the record cannot be used. None if there is none.
    """
    labels = domain.split(".")
    walk = [labels, *(labels[start:] for start in range(max(1, len(labels) - MOST_LABELS + 1), len(labels) - 1))]
    for above in walk:
        name = f"_dmarc.{'.'.join(above)}"
        records = [text for text in resolver.texts(name) if text.split(";")[0].replace(" ", "") == "v=DMARC1"]
        if records:
            found = tags(records[0])
            word = (found.get("sp") if above is not labels else None) or found.get("p", "none")
            usable = len(records) == 1 and word.lower() in POLICIES
            return Policy(name, records, word.lower() if usable else "", "rua" in found)
    return None
