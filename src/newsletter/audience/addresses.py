"""E-mail addresses (RFC 5321, 6531, 6532): one form to send to, one to compare."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email

from newsletter.errors import InputError


@dataclass(frozen=True, slots=True)
class Address:
    """``email`` is what mail is sent to (domain as A-labels); who shares a ``key`` is one subscriber."""

    email: str
    key: str


def parse_address(text: str) -> Address:
    """Read one address, without display name.

    The key is in small letters, also in the local part: RFC 5321 lets a host tell ``Ana@`` from ``ana@``, and no
    host that people use does. Dots and ``+tags`` mean different mailboxes and stay, and so do letters that only
    resemble each other: to fold their case (Unicode, 3.13) would make one of ``straße@`` and ``strasse@``.

    Raises:
        InputError: says what is wrong with it.
    """
    text = text.strip()
    try:
        # `.test` is what trials and tests are for (RFC 6761, 6.2).
        valid = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        shown = text if len(text) <= 80 else text[:79] + "…"
        reason = str(error).rstrip(".")
        raise InputError(
            f"{shown!r} is not an e-mail address: {reason}." if text else "The e-mail address is empty."
        ) from None
    domain = valid.ascii_domain or valid.domain
    return Address(f"{valid.local_part}@{domain}", f"{valid.local_part}@{domain}".lower())


def address_hash(key: str) -> str:
    """What is left of an address that must not be mailed: SHA-256 of its comparable form, in hex."""
    return hashlib.sha256(key.encode()).hexdigest()
