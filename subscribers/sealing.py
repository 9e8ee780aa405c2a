"""What a page hands on to the next one in its address without showing it: sealed, so that a log tells nobody."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from newsletter.audience.links import LinkError

NONCE = 12


@lru_cache(maxsize=64)
def _cipher(key: str, purpose: str) -> AESGCM:
    return AESGCM(hmac.digest(key.encode(), f"newsletter.sealed.{purpose}".encode(), hashlib.sha256))


def seal_up(key: str, purpose: str, value: Any, now: datetime) -> str:
    """A JSON value, encrypted and signed (AES-256-GCM) in URL-safe characters."""
    text = json.dumps([int(now.timestamp()), value], ensure_ascii=False, separators=(",", ":"))
    nonce = os.urandom(NONCE)
    sealed = nonce + _cipher(key, purpose).encrypt(nonce, zlib.compress(text.encode()), None)
    return urlsafe_b64encode(sealed).rstrip(b"=").decode()


def open_up(keys: Sequence[str], purpose: str, sealed: str, now: datetime, lasts: timedelta) -> Any:
    """The value that was sealed up less than ``lasts`` ago.

    Raises:
        LinkError: ``bad`` if none of these keys sealed it for this purpose, ``expired`` if its time is over.
    """
    try:
        raw = urlsafe_b64decode(sealed.encode("ascii") + b"=" * (-len(sealed) % 4))
    except ValueError:
        raise LinkError("bad") from None
    for key in keys:
        try:
            text = _cipher(key, purpose).decrypt(raw[:NONCE], raw[NONCE:], None)
        except (InvalidTag, ValueError):
            continue
        at, value = json.loads(zlib.decompress(text))
        if at + lasts.total_seconds() < now.timestamp():
            raise LinkError("expired")
        return value
    raise LinkError("bad")
