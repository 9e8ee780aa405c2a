"""Telling people from programs at the forms that have mail sent, without a third party and without JavaScript.

A field that no person sees must stay empty, and between a page and its form somebody has to have read and typed. What a
program sends is answered like everything else, and nothing is done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from itsdangerous import BadSignature, Signer

TRAP = "website"
"""A field that no person sees and programs fill in."""
MOMENT = "moment"
"""The field that holds when the page was made."""
FASTEST = timedelta(seconds=1)
"""Nobody reads a page and enters an address in less, not even with a browser that fills it in."""
LASTS = timedelta(hours=24)


def _signer(keys: Sequence[str]) -> Signer:
    return Signer(list(reversed(keys)), salt="newsletter.form", sep=".", digest_method=hashlib.sha256)


def guard_token(keys: Sequence[str], now: datetime) -> str:
    """When a page was made, signed, for its form: nobody else can say so."""
    return _signer(keys).sign(str(int(now.timestamp() * 1000))).decode()


def made_at(keys: Sequence[str], pairs: Sequence[tuple[str, Any]]) -> datetime | None:
    """When the page was made that a form comes from; None if it is none of ours (other sites may have one)."""
    given = next((value for name, value in reversed(pairs) if name == MOMENT and isinstance(value, str)), "")
    if not given:
        return None
    try:
        return datetime.fromtimestamp(int(_signer(keys).unsign(given.encode("utf-8", "replace"))) / 1000, UTC)
    except (BadSignature, ValueError):
        return None


def is_marked(keys: Sequence[str], pairs: Sequence[tuple[str, Any]], now: datetime) -> bool:
    """Whether a form comes from a page of ours that is at most a day old."""
    made = made_at(keys, pairs)
    return made is not None and made <= now <= made + LASTS


def looks_automated(keys: Sequence[str], pairs: Sequence[tuple[str, Any]], now: datetime) -> bool:
    """Whether a program sent the form: it filled in the trap, or was faster than people are."""
    if any(value for name, value in pairs if name == TRAP):
        return True
    made = made_at(keys, pairs)
    # A clock that stands still, as one may in a trial, has measured nothing.
    return made is not None and made < now < made + FASTEST
