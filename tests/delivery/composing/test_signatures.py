"""DKIM: what is sent is signed by the sender's domain, if a key is configured."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from house import START, House
from sqlalchemy import Engine

from newsletter.delivery import dispatch, ledger
from newsletter.delivery.composing import signatures
from newsletter.delivery.composing.keyring import activate, make, sets
from newsletter.delivery.composing.letters import Letters
from newsletter.errors import SettingsError
from newsletter.mail.letter import Message
from newsletter.settings import Settings

DOMAIN = "rutas.example"


@pytest.fixture
def key(tmp_path: Path) -> rsa.RSAPrivateKey:
    made = rsa.generate_private_key(65537, 2048)
    pem = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "key.pem").write_bytes(pem)
    return made


def record(key: rsa.RSAPrivateKey) -> bytes:
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)


def test_signed(engine: Engine, settings: Settings, relay, key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    """Digests and confirmations carry a signature that verifies, and a digest is shown again byte for byte."""
    settings = settings.model_copy(update={"dkim_key_file": tmp_path / "key.pem", "dkim_selector": "s1"})
    house = House(engine, settings).create()
    house.publish("one")
    reader = house.subscribe("ana@example.org")
    house.subscribe("ben@example.org", due_at=None)
    house.tick()
    house.send()
    assert sorted(relay.recipients) == ["ana@example.org", "ben@example.org"]
    for _, _, content in relay.messages:
        asked: list[bytes] = []

        def look_up(name: bytes, timeout: int = 5, asked: list[bytes] = asked) -> bytes:
            asked.append(name)
            return record(key)

        assert dkim.verify(content, dnsfunc=look_up)
        assert asked == [b"s1._domainkey.rutas.example."]
        assert not dkim.verify(content.replace(b"List-Unsubscribe", b"List-Unsubscribf"), dnsfunc=look_up) or (
            b"List-Unsubscribe" not in content
        )
    with engine.connect() as connection:
        row = ledger.find_delivery(connection, house.delivery(reader).id)
    again = Letters(engine, settings).compose(ledger.as_claimed(row, house.now))
    assert again is not None
    assert again.content in [content for _, _, content in relay.messages]


def verified(content: bytes, home: Path) -> list[str]:
    """The selectors of the signatures, each of which verifies against the records of the keys in the state home."""
    records = {
        f"{name}.".encode(): value.encode() for keys in sets(home, DOMAIN) for name, value in keys.records().items()
    }
    selectors = re.findall(rb"\bs=([^;]+);", content.partition(b"\r\nFrom:")[0])
    message = dkim.DKIM(content)
    for index in range(len(selectors)):
        assert message.verify(index, dnsfunc=lambda name, timeout=5: records[name])
    return [selector.decode() for selector in selectors]


def test_keys_of_the_state_home(engine: Engine, settings: Settings, relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running process signs with both keys as soon as they are activated, and with the next after a rotation."""
    monkeypatch.setattr(signatures, "LOOK_SECONDS", 0.0)
    house = House(engine, settings).create()
    house.publish("one")
    day = house.now.date()

    def sent(reader: str) -> list[str]:
        house.pass_time(minutes=5)
        house.subscribe(reader, due_at=house.now)
        house.tick()
        house.send()
        (content,) = [content for _, to, content in relay.messages if to == [reader]]
        return verified(content, settings.home) if content.startswith(b"DKIM-Signature") else []

    assert sent("a@example.org") == []
    first = make(settings.home, DOMAIN, day)
    assert sent("b@example.org") == []
    activate(settings.home, first)
    assert sent("c@example.org") == [f"{first.name}-rsa", f"{first.name}-ed25519"]
    second = make(settings.home, DOMAIN, day)
    assert sent("d@example.org") == [f"{first.name}-rsa", f"{first.name}-ed25519"]
    activate(settings.home, second)
    assert sent("e@example.org") == [f"{second.name}-rsa", f"{second.name}-ed25519"]


def test_keys_that_became_unusable(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running process goes on signing with the keys that it has; one that starts refuses to work."""
    monkeypatch.setattr(signatures, "LOOK_SECONDS", 0.0)
    message = Message("b@rutas.example", b"From: a@rutas.example\r\n\r\nHello\r\n", 25)
    made = make(settings.home, DOMAIN, START.date())
    activate(settings.home, made)
    before = signatures.signed(settings, message, DOMAIN, START).content
    assert before.count(b"DKIM-Signature:") == 2
    broken = make(settings.home, DOMAIN, START.date())
    broken.files[0].write_text("no key")
    activate(settings.home, broken)
    assert signatures.signed(settings, message, DOMAIN, START).content == before
    monkeypatch.setattr(signatures, "_known", {})
    with pytest.raises(SettingsError, match="not a private key"):
        dispatch.warm_up(settings)


def test_unusable_key(settings: Settings, tmp_path: Path) -> None:
    """A key that is not there, or is none, is refused before a worker begins."""
    for content, reason in ((None, "cannot be read"), (b"no key", "")):
        path = tmp_path / f"{reason or 'none'}.pem"
        if content:
            path.write_bytes(content)
        with pytest.raises(SettingsError, match=reason):
            dispatch.warm_up(settings.model_copy(update={"dkim_key_file": path}))
