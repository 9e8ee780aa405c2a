"""Signed tokens for the links in mails: each opens one thing for one subscription. Pure."""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

from itsdangerous import BadSignature, Signer

from newsletter.errors import InputError

Purpose = Literal["unsubscribe", "confirm", "preferences"]


def _signer(key: str, purpose: Purpose) -> Signer:
    # The purpose is part of the derived key, so that a token for one never opens another.
    return Signer(key, salt=f"newsletter.{purpose}", sep=".", digest_method=hashlib.sha256)


def make_token(key: str, purpose: Purpose, number: int) -> str:
    """A token of URL-safe characters that names row ``number`` for one purpose. It does not expire:
    a reader must be able to leave from a mail of any age (CAN-SPAM asks for 30 days, RFC 8058 for no end).
    """
    return _signer(key, purpose).sign(str(number)).decode()


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
    proof = hmac.new(key.encode(), f"{kind} {number}".encode(), hashlib.sha256).hexdigest()
    return f"{number}.{proof[:20]}"
