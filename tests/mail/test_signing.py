"""DKIM signatures: an independent verifier agrees, whatever the message, and sees what was tampered with."""

from __future__ import annotations

import base64
import functools
import hashlib
import random
from pathlib import Path

import dkim
import dns.zonefile
import perldkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from dkim.canonicalization import Relaxed
from hypothesis import given, settings
from hypothesis import strategies as st
from nameservers import answering

from newsletter.doctor.records import zone_line
from newsletter.errors import SettingsError
from newsletter.mail.signing import Signer, body_hash, public_record
from newsletter.scanning import contains

AT = 1_790_000_000
HEADERS = (
    b"Return-Path: <bounces@e.example>\r\n"
    b"From: The News <news@e.example>\r\n"
    b"To: b@e.example\r\n"
    b"Subject: =?utf-8?q?H=C3=A9?= there\r\n"
    b"Date: Tue, 24 Nov 2026 15:00:00 +0000\r\n"
    b"Message-ID: <1@e.example>\r\n"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/alternative;\r\n\tboundary="b"\r\n'
    b'List-Id: "The News" <news.e.example>\r\n'
    b"List-Unsubscribe: <https://e.example/u/1>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    b"Feedback-ID: 1:digest:e\r\n"
    b"X-Other: anything\r\n"
)
BODY = b"A line of text. \r\nAnother  one\t.\r\n\r\n.\r\n"


def pem(key, encryption: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@functools.cache
def pair(kind: str) -> tuple[Signer, bytes]:
    """A signer, and the record that DNS has for its key."""
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo) if kind == "rsa" else (Encoding.Raw, PublicFormat.Raw)
    public = base64.b64encode(key.public_key().public_bytes(*form))
    return Signer("e.example", {"s1": pem(key)}), b"v=DKIM1; k=%b; p=%b" % (kind.encode(), public)


def signed(kind: str, headers: bytes = HEADERS, body: bytes = BODY) -> bytes:
    return pair(kind)[0].sign(headers, body, AT) + headers + b"\r\n" + body


def verifies(message: bytes, kind: str) -> bool:
    def record(name: bytes, timeout: int = 5) -> bytes:
        assert name == b"s1._domainkey.e.example."
        return pair(kind)[1]

    return dkim.verify(message, dnsfunc=record)


def tags(field: bytes) -> dict[str, str]:
    value = b"".join(field.partition(b":")[2].split()).decode()
    return dict(tag.split("=", 1) for tag in value.split(";"))


kinds = pytest.mark.parametrize("kind", ["rsa", "ed25519"])
NAMES = ["Subject", "TO", "cc", "List-Unsubscribe", "Received", "X-Thing", "Feedback-ID", "Content-Type"]
parts = ["a", "b;", "=", "é", "漢字 " * 9, "x" * 990, ":", " ", "\t", " \t ", "\r\n ", "\r\n\tx", "\r\n \r\n y"]
values = st.lists(st.sampled_from(parts), max_size=8).map("".join)
fields = st.builds(lambda name, value: f"{name}:{value}\r\n".encode(), st.sampled_from(NAMES), values)
words = st.sampled_from(
    [b" ", b"\t", b"\r\n", b"a", b"long line" * 200, b"=\r\n", b".", "é".encode(), b"\0", b"  ", b"\r\n\r\n"]
)
bodies = st.lists(words, max_size=25).map(b"".join)


@kinds
@settings(max_examples=60)
@given(before=st.lists(fields, max_size=4), after=st.lists(fields, max_size=4), body=bodies)
def test_an_independent_verifier_agrees(kind: str, before: list[bytes], after: list[bytes], body: bytes) -> None:
    """Random fields, folds, repetitions and bodies: dkimpy finds the signature good, with the last line ended."""
    headers = b"".join((*before, b"From: a@e.example\r\n", *after))
    message = signed(kind, headers, body)
    assert verifies(message if body.endswith(b"\r\n") else message + b"\r\n", kind)


@given(st.lists(words | st.sampled_from([b"\r", b"\n"]), max_size=25).map(b"".join))
def test_bodies_in_relaxed_form(body: bytes) -> None:
    """The hash is that of dkimpy's relaxed form, for any bytes."""
    ended = body if body.endswith(b"\r\n") else body + b"\r\n"
    assert body_hash(body) == hashlib.sha256(Relaxed.canonicalize_body(ended)).digest()


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n", b" \t\r\n \r\n"])
def test_empty_bodies(body: bytes) -> None:
    """A body without a visible character is the empty one (RFC 6376, 3.4.4)."""
    assert body_hash(body) == hashlib.sha256(b"").digest()


@kinds
def test_what_is_signed(kind: str) -> None:
    """What readers see once more than it is there, one-click too; the whole body; the time."""
    field = pair(kind)[0].sign(HEADERS, BODY, AT)
    found = tags(field)
    twice = "from to subject date message-id mime-version content-type list-id list-unsubscribe list-unsubscribe-post"
    assert sorted(found["h"].split(":")) == sorted([*twice.split() * 2, "cc", "reply-to", "feedback-id"])
    assert (found["v"], found["c"], found["d"], found["s"], found["t"]) == (
        "1", "relaxed/relaxed", "e.example", "s1", str(AT)
    )  # fmt: skip
    assert found["a"] == f"{kind}-sha256"
    assert "l" not in found


@kinds
def test_folding(kind: str) -> None:
    """No line of the field is longer than 78 characters, and the field is one field."""
    field = pair(kind)[0].sign(HEADERS * 3, BODY, AT)
    assert field.startswith(b"DKIM-Signature: v=1; ")
    assert field.endswith(b"\r\n")
    lines = field[:-2].split(b"\r\n")
    assert max(map(len, lines)) <= 78
    assert all(line.startswith(b" ") and line.strip() for line in lines[1:])


@kinds
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Subject: ", b"Subject: Re "),
        (b"news@e.example", b"mews@e.example"),
        (b"/u/1", b"/u/2"),
        (b"One-Click", b"One-Clock"),
        (b"Another  one", b"Another two"),
        (b"text. \r\n", b"text. \r\n\r\n"),
        *(
            (b"X-Other", b"%b: <mailto:evil@e.example>\r\nX-Other" % name)
            for name in b"From Reply-To To Cc Subject Date Message-ID List-Unsubscribe List-Unsubscribe-Post".split()
        ),
        (b"X-Other", b"Content-Type: text/plain\r\nX-Other"),
        (b"Message-ID: <1@e.example>\r\n", b""),
        (b"v=1; a=", b"v=1;  t=1; a="),
    ],
)
def test_tampering_is_seen(kind: str, old: bytes, new: bytes) -> None:
    """A field, link or body that was changed, removed or added, or a changed signature, does not verify."""
    message = signed(kind)
    assert verifies(message, kind)
    assert message.count(old) == 1
    assert not verifies(message.replace(old, new), kind)


@kinds
@given(data=st.data())
@settings(max_examples=40)
def test_any_changed_byte_of_the_body_is_seen(kind: str, data) -> None:
    """No visible byte of the body can be another."""
    body = b"=20quoted=3Dprintable text that goes on=\r\nand on.\r\n"
    place = data.draw(st.sampled_from([n for n, byte in enumerate(body) if byte > 32]))
    other = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
    assert body_hash(body) != body_hash(other)


@kinds
def test_what_relays_change_does_not_break_it(kind: str) -> None:
    """Other folding, other white space and empty lines at the end leave the signature good."""
    message = signed(kind)
    changed = message.replace(b"Subject: ", b"SUBJECT:\r\n\t  ").replace(b"text. \r\n", b"text.\r\n") + b"\r\n\r\n"
    assert changed != message
    assert verifies(changed, kind)


def test_deterministic() -> None:
    """The same message signed twice by RSA is the same; a hash that is known already changes nothing."""
    signer, _ = pair("rsa")
    once = signer.sign(HEADERS, BODY, AT)
    assert signer.sign(HEADERS, BODY, AT) == once
    assert signer.sign(HEADERS, b"not looked at", AT, body_hash(BODY)) == once
    assert signer.sign(HEADERS, BODY, AT + 1) != once


@functools.cache
def both() -> tuple[Signer, str]:
    """A signer with a key of either kind, and the zone that has their records."""
    made = {"r1": rsa.generate_private_key(65537, 2048), "e1": ed25519.Ed25519PrivateKey.generate()}
    zone = [zone_line(f"{selector}._domainkey.e.example", public_record(key)) for selector, key in made.items()]
    return Signer("e.example", {selector: pem(key) for selector, key in made.items()}), "\n".join(zone)


def test_two_signatures() -> None:
    """With a key of either kind, RSA comes first, and each signature is good, whatever became of the other."""
    signer, zone = both()
    signed = signer.sign(HEADERS, BODY, AT)
    first, second = (b"DKIM-Signature:" + field for field in signed.split(b"DKIM-Signature:")[1:])
    assert (tags(first)["s"], tags(first)["a"]) == ("r1", "rsa-sha256")
    assert (tags(second)["s"], tags(second)["a"]) == ("e1", "ed25519-sha256")
    found = dns.zonefile.read_rrsets(zone, default_ttl=1, rdclass=None)
    records = {str(one.name).encode(): b"".join(one[0].strings) for one in found}

    def results(fields: bytes) -> list[bool]:
        message = dkim.DKIM(fields + HEADERS + b"\r\n" + BODY)
        return [
            message.verify(index, dnsfunc=lambda name, timeout=5: records[name])
            for index in range(fields.count(b"DKIM-Signature:"))
        ]

    assert results(signed) == results(second + first) == [True, True]
    assert results(first) == results(second) == [True]
    assert results(first.replace(b"t=%d;" % AT, b"t=%d;" % (AT + 1)) + second) == [False, True]


def test_a_second_verifier_agrees(tmp_path: Path) -> None:
    """Perl's Mail::DKIM finds good what we sign, with odd white space, long lines and bare UTF-8, and sees changes."""
    if reason := perldkim.why_missing():
        pytest.skip(reason)
    signer, zone = both()
    chance = random.Random(8463)
    pieces = [b" ", b"\t ", b"\r\n", b"a", b"=\r\n", b".\r\n", "é ".encode(), b"x" * 990]

    def field() -> bytes:
        return f"{chance.choice(NAMES)}:{''.join(chance.choices(parts, k=5))}\r\n".encode()

    messages = []
    for _ in range(60):
        headers = field() + field() + b"From: a@e.example\r\n" + field() + field()
        body = b"".join(chance.choices(pieces, k=20)) + b"\r\n"
        messages.append(signer.sign(headers, body, AT) + headers + b"\r\n" + body)
    good = signer.sign(HEADERS, BODY, AT) + HEADERS + b"\r\n" + BODY
    changed = [
        good.replace(b"One-Click", b"One-Clock"),
        good.replace(b"Another", b"Bnother"),
        b"Cc: x@e.example\r\n" + good,
    ]
    with answering(zone) as server:
        said = perldkim.verdicts([good, *messages, *changed], server, tmp_path)
    assert len(said) == 64
    for verdict in said[:-3]:
        assert verdict[0] == "rsa-sha256 pass"
        assert verdict[1] in ("ed25519-sha256 pass", "ed25519-sha256 invalid (unsupported algorithm ed25519-sha256)")
    for verdict in said[-3:]:
        assert verdict[0].startswith("rsa-sha256 fail")
        assert "pass" not in verdict[1]


def test_a_message_needs_from() -> None:
    """What has no author is not signed."""
    with pytest.raises(ValueError, match="From"):
        pair("ed25519")[0].sign(b"To: a@e.example\r\n", BODY, AT)


def weak_key() -> rsa.RSAPrivateKey:
    """648 bits, out of two Mersenne primes: the library makes none that short."""
    p, q, e = 2**521 - 1, 2**127 - 1, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(e, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (b"", "not a private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a private key"),
        (pem(ed25519.Ed25519PrivateKey.generate(), BestAvailableEncryption(b"x")), "passphrase"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "neither RSA nor Ed25519"),
        (pem(weak_key()), "has 648 bits"),
    ],
)
def test_keys_that_cannot_be_used(key: bytes, says: str) -> None:
    """A key that cannot be used is told in a sentence, without showing it."""
    with pytest.raises(SettingsError, match=says):
        Signer("e.example", {"s1": key})


@pytest.mark.parametrize(
    ("domain", "selector"), [("e.example\r\nX: y", "s1"), ("e.example", "s1;"), ("", "s1"), ("e.example", "")]
)
def test_names_that_cannot_be_used(domain: str, selector: str) -> None:
    """A domain or selector that is no host name is told in a sentence."""
    with pytest.raises(SettingsError, match="not a host name"):
        Signer(domain, {selector: pem(ed25519.Ed25519PrivateKey.generate())})


@given(
    st.lists(st.sampled_from([b" ", b"\r", b"\n", b".", b"\0", b"a"]), max_size=30).map(b"".join),
    st.sampled_from([b"\n.", b"  ", b" \r", b"a.a"]),
)
def test_scanning(data: bytes, what: bytes) -> None:
    """The quick search finds what ``in`` finds, also behind NUL."""
    assert contains(data, what) == (what in data)
