"""DKIM signatures (RFC 6376, RFC 8463), relaxed/relaxed, fast enough for every message. Pure."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from newsletter.errors import SettingsError
from newsletter.mail.headers import machine
from newsletter.scanning import contains

# RFC 6376, 5.4.1, and what receivers want signed: RFC 8058 (List-Unsubscribe and its Post), Feedback-ID.
SIGNED = frozenset(
    b"from sender reply-to subject date to cc message-id in-reply-to references mime-version content-type"
    b" content-transfer-encoding content-language list-id list-help list-unsubscribe list-unsubscribe-post list-post"
    b" list-subscribe list-owner list-archive feedback-id auto-submitted".split()
)
LEAST_BITS = 1024
SIGNATURE_LINE = 72

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
    """Signs for one domain with one key, which is read once."""

    def __init__(self, domain: str, selector: str, private_key_pem: bytes) -> None:
        """``domain`` as A-labels; the public key stands in DNS at ``selector._domainkey.domain``.

        Raises:
            SettingsError: a name or the key cannot be used.
        """
        for kind, name in (("domain", domain), ("selector", selector)):
            if not _NAME.fullmatch(name):
                raise SettingsError(f"The DKIM {kind} {name!r} is not a host name.", "Example: news.example.org")
        self._key = _loaded(private_key_pem)
        algorithm = "rsa-sha256" if isinstance(self._key, RSAPrivateKey) else "ed25519-sha256"
        self._first = ("v=1;", f"a={algorithm};", "c=relaxed/relaxed;", f"d={domain};", f"s={selector};")

    def sign(self, headers: bytes, body: bytes, at: int, body_hash: bytes | None = None) -> bytes:
        """The DKIM-Signature field with CRLF, to be put before the headers; ``at`` in seconds since 1970.

        ``headers`` are whole fields that end with CRLF. ``body_hash`` is what the function of this name gives for
        ``body``, where it is known already. Each field of ``SIGNED`` is signed as often as it is there; From once
        more, so that none can be added.

        Raises:
            ValueError: without From (RFC 6376, 5.4).
        """
        found = [_relaxed_field(field) for field in _FIELDS.split(headers) if field]
        # A name that is listed several times means its fields from the last one up (5.4.2).
        chosen = [(name, field) for name, field in reversed(found) if name in SIGNED]
        names = [name.decode() for name, _ in chosen]
        if "from" not in names:
            raise ValueError("A message without From cannot be signed.")
        names.append("from")
        digest = body_hash or _hash_of(body)
        listed = [f"{name}:" for name in names[:-1]]
        prefix = machine(
            "DKIM-Signature",
            (
                *self._first,
                f"t={at};",
                f"h={listed[0]}",
                *listed[1:],
                f"{names[-1]};",
                f"bh={b64encode(digest).decode()};",
                "b=",
            ),
        ).encode()[:-2]
        lines = [field for _, field in chosen]
        lines.append(_relaxed_field(prefix)[1])
        signature = b64encode(self._signature(b"\r\n".join(lines)))
        folded = [signature[n : n + SIGNATURE_LINE] for n in range(0, len(signature), SIGNATURE_LINE)]
        return b"\r\n ".join((prefix, *folded)) + b"\r\n"

    def _signature(self, data: bytes) -> bytes:
        if isinstance(self._key, RSAPrivateKey):
            return self._key.sign(data, PKCS1v15(), SHA256())
        return self._key.sign(hashlib.sha256(data).digest())  # RFC 8463, 3


_hash_of = body_hash


def _loaded(pem: bytes) -> RSAPrivateKey | Ed25519PrivateKey:
    hint = "Make one: openssl genrsa -out dkim.pem 2048"
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
