"""DKIM: what is sent is signed by the sender's domain, if a key is configured."""

from __future__ import annotations

from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from house import House
from sqlalchemy import Engine

from newsletter.delivery import dispatch, ledger
from newsletter.delivery.letters import Letters
from newsletter.errors import SettingsError
from newsletter.settings import Settings


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
    import base64

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


def test_unusable_key(settings: Settings, tmp_path: Path) -> None:
    """A key that is not there, or is none, is refused before a worker begins."""
    for content, reason in ((None, "cannot be read"), (b"no key", "")):
        path = tmp_path / f"{reason or 'none'}.pem"
        if content:
            path.write_bytes(content)
        with pytest.raises(SettingsError, match=reason):
            dispatch.warm_up(settings.model_copy(update={"dkim_key_file": path}))
