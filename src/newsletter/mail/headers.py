"""Header fields of a message (RFC 5322), folded by ourselves.

The standard library encodes a long List-Unsubscribe or Feedback-ID as RFC 2047 words, which breaks one-click.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterable
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from urllib.parse import quote

from newsletter.controls import CONTROL
from newsletter.mail.letter import Envelope

LINE = 76
SPECIALS = re.compile(r'[()<>\[\]:;@\\,."]')


def clean(text: str) -> str:
    """``text`` on one line without control characters: nothing in it can start another field.

    Soft hyphens, which few clients hide there, are left out.
    """
    if not text.isprintable():
        text = CONTROL.sub(" ", text).replace("\u00ad", "")
    return " ".join(text.split())


def unstructured(name: str, text: str) -> str:
    """A field of free text: Subject. Not ASCII becomes encoded words of at most 75 characters (RFC 2047)."""
    text = clean(text)
    if not text.isascii() or "=?" in text:
        return f"{name}: {encoded_words(text, LINE - len(name) - 2)}\r\n"
    line = f"{name}: {text}"
    return f"{line}\r\n" if len(line) <= LINE else folded(name, text.split(" "))


def encoded_words(text: str, room: int) -> str:
    """``text`` as encoded words, each of whole characters (RFC 2047, 2 and 5), the first in ``room`` characters."""
    data = text.encode()
    words = []
    start, size = 0, len(data)
    while start < size:
        end = start + (room - len("=?utf-8?b??=")) // 4 * 3
        if end < size:
            while data[end] & 0xC0 == 0x80:
                end -= 1
        words.append(f"=?utf-8?b?{b2a_base64(data[start:end], newline=False).decode()}?=")
        start, room = end, LINE - 1
    return "\r\n ".join(words)


def mailbox(name: str, display: str, address: str) -> str:
    """A field with one mailbox: From, To (RFC 5322, 3.4)."""
    display = clean(display)
    if not display:
        return f"{name}: {address}\r\n"
    if display.isascii() and "=?" not in display:
        phrase = display
        if SPECIALS.search(display):
            phrase = '"' + re.sub(r'(["\\])', r"\\\1", display) + '"'
        line = f"{name}: {phrase} <{address}>"
        return f"{line}\r\n" if len(line) <= LINE else folded(name, f"{phrase} <{address}>".split(" "))
    phrase = encoded_words(display, LINE - len(name) - 2)
    joined = f"{name}: {phrase} <{address}>"
    if len(joined.rpartition("\n")[2]) > LINE:
        joined = f"{name}: {phrase}\r\n <{address}>"
    return f"{joined}\r\n"


def folded(name: str, parts: Iterable[str]) -> str:
    """A field that is never encoded and folded only between its parts, but not right behind the name."""
    lines = [f"{name}:"]
    for part in parts:
        if len(lines[-1]) + 1 + len(part) > LINE and lines[-1] != f"{name}:":
            lines.append("")
        lines[-1] += f" {part}"
    return "\r\n".join(lines) + "\r\n"


@lru_cache(maxsize=256)
def moment(at: datetime) -> str:
    """A moment as Date wants it (RFC 5322, 3.3)."""
    return format_datetime(at.replace(microsecond=0))


def list_headers(list_name: str, slug: str, sender_email: str, language: str) -> str:
    """What is the same for every message of a list: RFC 2919, 2369, 3834, 3282."""
    local, _, domain = sender_email.rpartition("@")
    label = re.sub(r'["\\]', "", clean(list_name))
    phrase = f'"{label}"'.split(" ") if label.isascii() else ()
    return "".join(
        (
            folded("List-Id", (*phrase, f"<{slug}.{domain}>")),
            folded("List-Help", [f"<mailto:{quote(local, safe='+')}@{domain}?subject=help>"]),
            folded("Auto-Submitted", ["auto-generated"]),
            folded("Content-Language", [language]),
        )
    )


def reader_headers(envelope: Envelope) -> str:
    """What differs from reader to reader, To included (RFC 8058 for the one click)."""
    # For machines, so never encoded; folded between the two URIs, where there are two.
    mail = f"<{envelope.leave_mail}>,\r\n " if envelope.leave_mail else ""
    return (
        f"{mailbox('To', envelope.to_name, envelope.to_email)}"
        f"Date: {moment(envelope.dated_at)}\r\n"
        f"Message-ID: <{envelope.message_id}>\r\n"
        f"Feedback-ID: {envelope.feedback_id}\r\n"
        f"List-Unsubscribe: {mail}<{envelope.unsubscribe_url}>\r\n"
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    )
