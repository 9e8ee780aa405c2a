"""Slugs: the short names that commands, List-Ids and files use. Pure."""

from __future__ import annotations

import re

from newsletter.errors import InputError

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def check_slug(text: str) -> str:
    """A slug as it stands in commands, List-Ids and the database.

    Raises:
        InputError: it is not made of small letters, digits and single hyphens, or longer than 64.
    """
    if not SLUG.fullmatch(text) or len(text) > 64:
        raise InputError(f"{text!r} cannot be a slug.", "Use small letters, digits and single hyphens: migration-news.")
    return text
