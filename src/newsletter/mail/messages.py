"""A message from its header fields and two texts (RFC 2046, 5.1.4). Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from newsletter.mail.letter import Envelope, Message


def message_of(envelope: Envelope, fields: str, text: Iterable[bytes], html: Iterable[bytes]) -> Message:
    """The whole message; ``text`` and ``html`` are quoted-printable, in parts. The same input gives the same bytes."""
    # "=_" cannot occur in quoted-printable, so neither can the boundary.
    boundary = f"=_{hashlib.sha256(envelope.message_id.encode()).hexdigest()[:32]}"
    head = f'{fields}MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary="{boundary}"\r\n\r\n'
    coded = "charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    body = (
        f"--{boundary}\r\nContent-Type: text/plain; {coded}".encode(),
        *text,
        f"\r\n--{boundary}\r\nContent-Type: text/html; {coded}".encode(),
        *html,
        f"\r\n--{boundary}--\r\n".encode(),
    )
    return Message(envelope.return_path, head.encode(), b"".join(body))
