"""Slugs: the short names that commands, List-Ids and files use. Pure."""

from __future__ import annotations

import re

from newsletter.errors import InputError

RESERVED = frozenset(
    [
        "a",
        "account",
        "address",
        "admin",
        "api",
        "archive",
        "assets",
        "c",
        "confirm",
        "d",
        "docs",
        "embed",
        "feed",
        "help",
        "healthz",
        "i",
        "inbox",
        "items",
        "lists",
        "livez",
        "messages",
        "metrics",
        "openapi",
        "p",
        "preferences",
        "preview",
        "privacy",
        "readyz",
        "s",
        "static",
        "subscribe",
        "u",
        "unsubscribe",
        "well-known",
    ]
)
"""What addresses of the readers' site, or of the inbox beside it, begin with, now or some day: no list is called so."""
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def check_slug(text: str) -> str:
    """A slug as it stands in commands, List-Ids and the database.

    Raises:
        InputError: it is not made of small letters, digits and single hyphens, or longer than 64.
    """
    if not SLUG.fullmatch(text) or len(text) > 64:
        raise InputError(f"{text!r} cannot be a slug.", "Use small letters, digits and single hyphens: migration-news.")
    return text


def check_list_slug(text: str) -> str:
    """A slug of a list, which is also where its page is.

    Raises:
        InputError: as ``check_slug``, or the site needs this address for something else.
    """
    if check_slug(text) in RESERVED:
        raise InputError(f"{text!r} cannot be a list's slug: the readers' site uses this address.", "Choose another.")
    return text
