"""Signed tokens for the links in mails: each opens one thing, for one row. Pure.

The tokens are those of itsdangerous, which reads them; a mail needs three signatures, so they are made by hand,
in a tenth of the time. They are made with the newest key and read with every key that still verifies.
"""

from __future__ import annotations

import hashlib
import hmac
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

from itsdangerous import BadSignature, Signer

from newsletter.errors import InputError

Purpose = Literal["unsubscribe", "decline", "preferences", "confirm", "account", "address", "copy", "item"]
"""``unsubscribe``, ``preferences``, ``confirm`` name a subscription, ``account`` a subscriber, ``address`` one end of
a change of address (``moving``), ``copy`` a delivery, ``item`` an item of a list that is not public, ``decline`` a
notice to an address that is no subscriber's (``declining``)."""
LIFETIME: Mapping[Purpose, timedelta] = {
    "confirm": timedelta(days=7),
    "account": timedelta(hours=24),
    "address": timedelta(hours=24),
}
"""How long those last that expire; the others are read with ``read_token``."""
Keys = tuple[str, ...] | list[str]
"""Secret keys, newest first. Not a ``Sequence``: a string is one of those, too."""

_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class LinkError(InputError):
    """A token that opens nothing; ``kind`` is ``bad`` (not ours, cut off, for something else) or ``expired``."""

    def __init__(self, kind: Literal["bad", "expired"]) -> None:
        if kind == "expired":
            super().__init__("The link has expired.", "Ask for a new one.")
        else:
            super().__init__("The link is not complete.", "Open it again from the mail.")
        self.kind = kind


def _signer(keys: Keys, purpose: Purpose) -> Signer:
    # The purpose is part of the derived key, so that a token for one never opens another.
    return Signer(list(reversed(keys)), salt=f"newsletter.{purpose}", sep=".", digest_method=hashlib.sha256)


def _proof(key: bytes) -> Callable[[bytes], bytes]:
    """HMAC-SHA-256 under ``key`` (RFC 2104), with what depends on the key alone done once."""
    block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inside = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
    outside = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def proof(message: bytes) -> bytes:
        inner, outer = inside.copy(), outside.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()

    return proof


@lru_cache(maxsize=64)
def _token_proof(key: str, purpose: Purpose) -> Callable[[bytes], bytes]:
    return _proof(_signer([key], purpose).derive_key())


@lru_cache(maxsize=16)
def _seal_proof(key: str) -> Callable[[bytes], bytes]:
    return _proof(key.encode())


def make_token(key: str, purpose: Purpose, number: int) -> str:
    """A token of URL-safe characters that names row ``number`` for one purpose. It does not expire:
    a reader must be able to leave from a mail of any age (CAN-SPAM asks for 30 days, RFC 8058 for no end).
    """
    proof = b2a_base64(_token_proof(key, purpose)(b"%d" % number), newline=False)
    return f"{number}.{proof.translate(_URL_SAFE, b'=').decode()}"


def read_token(keys: Keys, purpose: Purpose, token: str) -> int:
    """The number in a token of ``make_token``; signatures are compared in constant time.

    Raises:
        LinkError: none of these keys made it for this purpose.
    """
    return int(_unsign(keys, purpose, token, 1)[0])


def make_expiring(key: str, purpose: Purpose, number: int, until: datetime) -> str:
    """A token as ``make_token`` makes, that opens something until a moment, the second itself included."""
    text = f"{number}.{int(until.timestamp())}"
    proof = b2a_base64(_token_proof(key, purpose)(text.encode()), newline=False)
    return f"{text}.{proof.translate(_URL_SAFE, b'=').decode()}"


def read_expiring(keys: Keys, purpose: Purpose, token: str, now: datetime) -> int:
    """The number in a token of ``make_expiring``; one that does not expire is none.

    Raises:
        LinkError: ``bad`` if none of these keys made it for this purpose, ``expired`` if its time is over.
    """
    number, until = _unsign(keys, purpose, token, 2)
    if now >= datetime.fromtimestamp(int(until), UTC) + timedelta(seconds=1):
        raise LinkError("expired")
    return int(number)


def made_at(purpose: Purpose, token: str) -> datetime:
    """When a token that ``read_expiring`` has read was made, if it was made for its ``LIFETIME``."""
    return datetime.fromtimestamp(int(token.split(".")[1]), UTC) - LIFETIME[purpose]


def _unsign(keys: Keys, purpose: Purpose, token: str, parts: int) -> list[str]:
    """The signed parts, as many as are asked for: a token with fewer or more is of the other sort."""
    try:
        # A broken address bar brings in halves of characters, which nobody has signed.
        signed = _signer(keys, purpose).unsign(token.encode("utf-8", "surrogatepass")).decode()
    except BadSignature:
        raise LinkError("bad") from None
    found = signed.split(".")
    if len(found) != parts:
        raise LinkError("bad")
    return found


def seal(key: str, kind: str, number: int) -> str:
    """``number`` and a short proof that we wrote it, in characters that survive a change of case.

    For return paths and Message-IDs, which mail systems fold to small letters and quote back (VERP).
    """
    return f"{number}.{_seal_proof(key)(f'{kind} {number}'.encode())[:10].hex()}"


def read_seal(keys: Keys, kind: str, text: str) -> int:
    """The number in a seal, whatever became of its case.

    Raises:
        LinkError: none of these keys made it for this kind.
    """
    digits = text.partition(".")[0]
    # Sixty-three bits are at most nineteen digits.
    if digits.isascii() and digits.isdecimal() and len(digits) <= 19:
        number, given = int(digits), text.lower().encode("utf-8", "surrogatepass")
        if any(hmac.compare_digest(seal(key, kind, number).encode(), given) for key in keys):
            return number
    raise LinkError("bad")
