"""Whether a few bytes occur in many: asked several times for each message, so that it counts. Pure."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable


def _finder() -> Callable[[bytes, bytes], bool]:
    # In 45 KB of quoted-printable: ``in`` 30 µs for two bytes (1 µs for one), re 14 µs, the C library's
    # vectorised strstr 1 µs.
    def contains(data: bytes, what: bytes) -> bool:
        return re.search(re.escape(what), data) is not None

    try:
        strstr = ctypes.PyDLL(None).strstr
    except (AttributeError, OSError, TypeError):
        return contains
    strstr.argtypes, strstr.restype = (ctypes.c_char_p, ctypes.c_char_p), ctypes.c_void_p

    def contains_quickly(data: bytes, what: bytes) -> bool:
        if b"\0" in data:  # where strstr would stop
            return contains(data, what)
        return strstr(data, what) is not None

    return contains_quickly


contains = _finder()
"""``contains(data, what)``: ``what in data``, for two bytes or more without NUL."""
