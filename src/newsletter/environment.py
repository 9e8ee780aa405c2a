"""What the environment and ``.env`` say that no setting is read from: broken lines, and names that mean nothing."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from newsletter.errors import SettingsError

PREFIX = "NEWSLETTER_"
FILE = Path(".env")


def check_lines() -> None:
    """Refuse a file of the environment with a line that is no assignment.

    Raises:
        SettingsError: there is one; without repeating it, since a password may stand in it.
        UnicodeDecodeError: the file is not UTF-8.
    """
    for one in _bindings():
        if one.error:
            text = one.original.string
            line = one.original.line + text[: len(text) - len(text.lstrip())].count("\n")
            raise SettingsError(
                f"{FILE}, line {line}, cannot be read.",
                "A line is NAME=value, and begins with # if it is a comment; a value with spaces stands in quotes.",
            )


def unknown_names(known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Names with our prefix that mean nothing, each with what to do; ``known``: the settings, without the prefix."""
    given = {*os.environ, *(one.key for one in _bindings() if one.key)}
    for name in sorted(name for name in given if name.upper().startswith(PREFIX)):
        plain = name.upper().removeprefix(PREFIX).lower()
        if plain not in known:
            meant = get_close_matches(plain, known, 1)
            yield name, f"Did you mean {PREFIX}{meant[0].upper()}?" if meant else "See docs/configuration.md."


def _bindings() -> list[Binding]:
    if not FILE.is_file():
        return []
    with FILE.open(encoding="utf-8") as file:
        return list(parse_stream(file))
