"""Signed tokens for the links in mails: each opens one thing for one subscription. Pure.

The tokens are those of itsdangerous, which reads them; a mail needs three signatures, so they are made by hand,
in a tenth of the time.
"""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

from itsdangerous import BadSignature, Signer

from newsletter.errors import InputError

Purpose = Literal["unsubscribe", "confirm", "preferences", "copy"]
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def _signer(key: str, purpose: Purpose) -> Signer:
    # The purpose is part of the derived key, so that a token for one never opens another.
    return Signer(key, salt=f"newsletter.{purpose}", sep=".", digest_method=hashlib.sha256)


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


@lru_cache(maxsize=16)
def _token_proof(key: str, purpose: Purpose) -> Callable[[bytes], bytes]:
    return _proof(_signer(key, purpose).derive_key())


@lru_cache(maxsize=16)
def _seal_proof(key: str) -> Callable[[bytes], bytes]:
    return _proof(key.encode())


def make_token(key: str, purpose: Purpose, number: int) -> str:
    """A token of URL-safe characters that names row ``number`` for one purpose. It does not expire:
    a reader must be able to leave from a mail of any age (CAN-SPAM asks for 30 days, RFC 8058 for no end).
    """
    proof = b2a_base64(_token_proof(key, purpose)(b"%d" % number), newline=False)
    return f"{number}.{proof.translate(_URL_SAFE, b'=').decode()}"


def read_token(key: str, purpose: Purpose, token: str) -> int:
    """The number in a token; the signature is compared in constant time.

    Raises:
        InputError: it was not made by this key for this purpose.
    """
    try:
        return int(_signer(key, purpose).unsign(token))
    except (BadSignature, ValueError):
        raise InputError("The link is not complete.", "Open it again from the mail.") from None


def seal(key: str, kind: str, number: int) -> str:
    """``number`` and a short proof that we wrote it, in characters that survive a change of case.

    For return paths and Message-IDs, which mail systems fold to small letters and quote back (VERP).
    """
    return f"{number}.{_seal_proof(key)(f'{kind} {number}'.encode())[:10].hex()}"
