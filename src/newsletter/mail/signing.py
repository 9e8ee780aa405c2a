"""DKIM signatures (RFC 6376, RFC 8463), relaxed/relaxed, fast enough for every message. Pure."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from newsletter.errors import SettingsError
from newsletter.mail.headers import folded
from newsletter.scanning import contains

# RFC 6376, 5.4.1, and what receivers want signed: RFC 8058 (List-Unsubscribe and its Post), Feedback-ID.
SIGNED = frozenset(
    b"from sender reply-to subject date to cc message-id in-reply-to references mime-version content-type"
    b" content-transfer-encoding content-language list-id list-help list-unsubscribe list-unsubscribe-post list-post"
    b" list-subscribe list-owner list-archive feedback-id auto-submitted".split()
)
SEEN = ("from", "to", "cc", "subject", "date", "reply-to", "message-id")
"""What readers see or answer to: always listed once more than it is there, so that none can be added (8.15)."""
ONCE = (
    "sender", "mime-version", "content-type", "content-transfer-encoding", "list-id", "list-unsubscribe",
    "list-unsubscribe-post",
)  # fmt: skip
"""What may be there once: listed once more if it is there. A relay may add one that is missing."""
LEAST_BITS = 1024
SIGNATURE_LINE = 72
DIGEST = 44
"""Characters of a SHA-256 in base64."""

PrivateKey = RSAPrivateKey | Ed25519PrivateKey

_FIELDS = re.compile(rb"\r\n(?![ \t])")
_SPACES = re.compile(rb"[ \t]+")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.IGNORECASE)


def body_hash(body: bytes) -> bytes:
    """SHA-256 of a body in relaxed form (RFC 6376, 3.4.4); lines end with CRLF, the last one may lack it."""
    return hashlib.sha256(_relaxed_body(body)).digest()


def _relaxed_body(body: bytes) -> bytes:
    if not body.endswith(b"\r\n"):
        body += b"\r\n"  # so it will travel
    # Most bodies have little to relax: seeing that takes 4 µs, a regular expression would take 1 ms (45 KB).
    body = body.replace(b"\t", b" ")
    while contains(body, b"  "):
        body = body.replace(b"  ", b" ")
    if contains(body, b" \r"):
        body = body.replace(b" \r\n", b"\r\n")
    if body.endswith(b"\r\n\r\n") or body.startswith(b"\r\n"):
        body = _without_empty_end(body)
    return body


def _without_empty_end(body: bytes) -> bytes:
    end = len(body)
    while body.endswith(b"\r\n", 0, end):
        end -= 2
    return body[: end + 2] if end else b""


def _relaxed_field(field: bytes) -> tuple[bytes, bytes]:
    """The name in small letters, and the whole field in relaxed form without CRLF (RFC 6376, 3.4.2)."""
    name, _, value = field.partition(b":")
    name = name.rstrip(b" \t").lower()
    return name, name + b":" + _SPACES.sub(b" ", value.replace(b"\r\n", b"")).strip(b" ")


class Signer:
    """Signs for one domain with one key or several, which are read once."""

    def __init__(self, domain: str, keys: Mapping[str, bytes]) -> None:
        """``domain`` as A-labels; ``keys``: private keys in PEM form by selector, the public key of each stands in
        DNS at ``selector._domainkey.domain``.

        Raises:
            SettingsError: a name or a key cannot be used.
        """
        for kind, name in (("domain", domain), *(("selector", selector) for selector in keys)):
            if not _NAME.fullmatch(name):
                raise SettingsError(f"The DKIM {kind} {name!r} is not a host name.", "Example: news.example.org")
        self._keys = tuple(_Key(domain, selector, private_key(pem)) for selector, pem in keys.items())

    def sign(self, headers: bytes, body: bytes, at: int, body_hash: bytes | None = None) -> bytes:
        """A DKIM-Signature field with CRLF for each key, to be put before the headers; ``at`` in seconds since 1970.

        ``headers`` are whole fields that end with CRLF. ``body_hash`` is what the function of this name gives for
        ``body``, where it is known already. Each field of ``SIGNED`` is signed as often as it is there; those of
        ``SEEN`` and ``ONCE`` once more. No signature covers another, so that each stands by itself (RFC 8463, 3).

        Raises:
            ValueError: without From (RFC 6376, 5.4).
        """
        found = [_relaxed_field(field) for field in _FIELDS.split(headers) if field]
        # A name that is listed several times means its fields from the last one up (5.4.2).
        chosen = [pair for pair in reversed(found) if pair[0] in SIGNED]
        names = tuple([name for name, _ in chosen])
        if b"from" not in names:
            raise ValueError("A message without From cannot be signed.")
        data = b"\r\n".join([field for _, field in chosen])
        digest = b64encode(body_hash or _hash_of(body))
        return b"".join([key.field(names, data, digest, at) for key in self._keys])


class _Key:
    """One key, and the fields that are signed with it."""

    def __init__(self, domain: str, selector: str, key: PrivateKey) -> None:
        self._key = key
        self._first = ("v=1;", f"a={kind_of(key)}-sha256;", "c=relaxed/relaxed;", f"d={domain};", f"s={selector};")
        # Messages have few distinct sets of fields: folding each time would take 15 µs.
        self._form = lru_cache(maxsize=64)(self._folded)

    def field(self, names: tuple[bytes, ...], data: bytes, digest: bytes, at: int) -> bytes:
        """The whole field of a message with these fields (``data``: in relaxed form) and this hash of its body."""
        unsigned, relaxed = self._form(names, len(str(at)))
        values = (at, digest)
        signature = b64encode(self._signature(b"%b\r\n%b" % (data, relaxed % values)))
        lines = [signature[n : n + SIGNATURE_LINE] for n in range(0, len(signature), SIGNATURE_LINE)]
        return b"\r\n ".join((unsigned % values, *lines)) + b"\r\n"

    def _folded(self, names: tuple[bytes, ...], digits: int) -> tuple[bytes, bytes]:
        """The field up to its signature, as it is sent and in relaxed form, to be filled with time and body hash."""
        present = [name.decode() for name in names]
        listed = [*present, *SEEN, *(name for name in ONCE if name in present)]
        at, digest = "0" * digits, "." * DIGEST
        parts = (f"h={listed[0]}:", *(f"{name}:" for name in listed[1:-1]), f"{listed[-1]};", f"bh={digest};", "b=")
        field = folded("DKIM-Signature", (*self._first, f"t={at};", *parts)).removesuffix("\r\n")
        form = field.replace(f"t={at};", "t=%d;").replace(digest, "%b").encode()
        return form, _relaxed_field(form)[1]

    def _signature(self, data: bytes) -> bytes:
        if isinstance(self._key, RSAPrivateKey):
            return self._key.sign(data, PKCS1v15(), SHA256())
        return self._key.sign(hashlib.sha256(data).digest())  # RFC 8463, 3


_hash_of = body_hash


def kind_of(key: PrivateKey) -> str:
    """What tags call a key: rsa or ed25519."""
    return "rsa" if isinstance(key, RSAPrivateKey) else "ed25519"


def public_record(key: PrivateKey) -> str:
    """The TXT record of a key (RFC 6376, 3.6.1; RFC 8463, 4), as one string."""
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if isinstance(key, Ed25519PrivateKey):
        form = Encoding.Raw, PublicFormat.Raw
    public = b64encode(key.public_key().public_bytes(*form)).decode()
    return f"v=DKIM1; k={kind_of(key)}; p={public}"


def private_key(pem: bytes) -> PrivateKey:
    """A key that can sign.

    Raises:
        SettingsError: it cannot be read, or receivers would not take it.
    """
    hint = "`newsletter dkim create` makes keys."
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise SettingsError("The DKIM key is protected by a passphrase.", "Store it without one.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError("The DKIM key is not a private key in PEM form.", hint) from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    if not isinstance(key, RSAPrivateKey):
        raise SettingsError("The DKIM key is neither RSA nor Ed25519.", hint)
    if key.key_size < LEAST_BITS:
        raise SettingsError(f"The DKIM key has {key.key_size} bits; receivers want at least {LEAST_BITS}.", hint)
    return key
