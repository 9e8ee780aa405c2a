"""A message from its header fields and two texts (RFC 2046, 5.1.4). Pure."""

from __future__ import annotations

from collections.abc import Iterable

from newsletter.mail.letter import Envelope, Message

_CODED = "charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"


def message_of(envelope: Envelope, fields: str, text: Iterable[bytes], html: Iterable[bytes]) -> Message:
    """The whole message; ``text`` and ``html`` are quoted-printable, in parts. The same input gives the same bytes."""
    # "=_" cannot occur in quoted-printable, so neither can the boundary.
    boundary = f"=_{envelope.message_id.partition('@')[0]}"
    head = f'{fields}MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary="{boundary}"\r\n\r\n'.encode()
    content = b"".join(
        (
            head,
            f"--{boundary}\r\nContent-Type: text/plain; {_CODED}".encode(),
            *text,
            f"\r\n--{boundary}\r\nContent-Type: text/html; {_CODED}".encode(),
            *html,
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )
    return Message(envelope.return_path, content, len(head))
