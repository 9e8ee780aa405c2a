"""Time the signing of a 35 KB digest: ``signing.py`` prints JSON, µs of CPU a message.

``bare_us`` is RSA-2048 over the same number of bytes and nothing else. The two are measured in turns, so that
whatever else the machine does meets both; the least of the turns counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from newsletter.mail.signing import Signer

TURNS, MESSAGES = 15, 200
AT = 1_790_000_000
HEAD = (
    b"From: Rutas <digest@rutas.example>\r\nSubject: Corinto crossing opens one shared desk\r\n"
    b'List-Id: "Rutas" <rutas.rutas.example>\r\nList-Help: <mailto:digest@rutas.example?subject=help>\r\n'
    b"Auto-Submitted: auto-generated\r\nContent-Language: es\r\nTo: ana@example.org\r\n"
    b"Date: Tue, 24 Nov 2026 15:00:00 +0000\r\nMessage-ID: <digest.1.abc@rutas.example>\r\n"
    b"Feedback-ID: 1:rutas:digest:newsletter\r\nList-Unsubscribe: <https://news.rutas.example/u/1.abcdefghijklmnop>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/alternative; boundary="=_rutas"\r\n'
)
BODY = b'<td style=3D"padding:8px 24px">One queue instead of two, and one form=\r\n' * 480


def main() -> None:
    """Measure, and print."""
    rsa, ed25519 = generate_private_key(65537, 2048), Ed25519PrivateKey.generate()
    pems = {
        name: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for name, key in (("rsa", rsa), ("ed25519", ed25519))
    }
    one, both = Signer("rutas.example", {"rsa": pems["rsa"]}), Signer("rutas.example", pems)
    ways: dict[str, Callable[[], bytes]] = {
        "rsa_us": lambda: one.sign(HEAD, BODY, AT),
        "both_us": lambda: both.sign(HEAD, BODY, AT),
        "bare_us": lambda: rsa.sign(HEAD, PKCS1v15(), SHA256()),
    }
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(TURNS):
        for name, way in ways.items():
            began = time.process_time()
            for _ in range(MESSAGES):
                way()
            least[name] = min(least[name], (time.process_time() - began) / MESSAGES * 1e6)
    print(json.dumps({name: round(value, 1) for name, value in least.items()}))


if __name__ == "__main__":
    main()
