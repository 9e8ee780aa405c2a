"""Where a few bytes occur in many: asked several times for each message, so that it counts. Pure."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from itertools import islice


def _finder() -> Callable[..., list[int]]:
    # In 45 KB of quoted-printable: ``in`` 30 µs for two bytes (1 µs for one), re 14 µs, the C library's
    # vectorised strstr 1 µs.
    def places(data: bytes, what: bytes, most: int = 0) -> list[int]:
        found = re.finditer(re.escape(what), data)
        return [match.start() for match in (islice(found, most) if most else found)]

    try:
        strstr = ctypes.PyDLL(None).strstr
    except (AttributeError, OSError, TypeError):
        return places
    strstr.argtypes, strstr.restype = (ctypes.c_void_p, ctypes.c_char_p), ctypes.c_void_p

    def places_quickly(data: bytes, what: bytes, most: int = 0) -> list[int]:
        if data.find(b"\0") >= 0:  # where strstr would stop
            return places(data, what, most)
        # Most often it is not there, and then nobody need know where the bytes lie, which takes as long as the search.
        if strstr(data, what) is None:
            return []
        found: list[int] = []
        start = at = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
        while (not most or len(found) < most) and (at := strstr(at, what)) is not None:
            found.append(at - start)
            at += len(what)
        return found

    return places_quickly


places = _finder()
"""``places(data, what, most=0)``: where ``what``, two bytes or more without NUL, begins in ``data``; no two overlap."""


def contains(data: bytes, what: bytes) -> bool:
    """``what in data``."""
    return bool(places(data, what, 1))
