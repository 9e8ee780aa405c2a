"""Header fields of a message (RFC 5322), folded by ourselves.

The standard library encodes a long List-Unsubscribe or Feedback-ID as RFC 2047 words, which breaks one-click.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from email.header import Header
from email.utils import format_datetime

from newsletter.mail.letter import Envelope

LINE = 76
SPECIALS = re.compile(r'[()<>\[\]:;@\\,."]')


def clean(text: str) -> str:
    """``text`` on one line without control characters: nothing in it can start another field."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def unstructured(name: str, text: str) -> str:
    """A field of free text: Subject. Not ASCII becomes encoded words of at most 75 characters (RFC 2047)."""
    text = clean(text)
    charset = "us-ascii" if text.isascii() and "=?" not in text else "utf-8"
    value = Header(text, charset, maxlinelen=LINE, header_name=name).encode(linesep="\r\n")
    return f"{name}: {value}\r\n"


def mailbox(name: str, display: str, address: str) -> str:
    """A field with one mailbox: From, To (RFC 5322, 3.4)."""
    display = clean(display)
    if not display:
        return f"{name}: {address}\r\n"
    if display.isascii() and "=?" not in display:
        phrase = display
        if SPECIALS.search(display):
            phrase = '"' + re.sub(r'(["\\])', r"\\\1", display) + '"'
    else:
        phrase = Header(display, "utf-8", maxlinelen=LINE, header_name=name).encode(linesep="\r\n")
    joined = f"{name}: {phrase} <{address}>"
    if len(joined.rpartition("\n")[2]) > LINE:
        joined = f"{name}: {phrase}\r\n <{address}>"
    return f"{joined}\r\n"


def machine(name: str, parts: Iterable[str]) -> str:
    """A field for machines: never encoded, folded only between its parts."""
    lines = [f"{name}:"]
    for part in parts:
        if len(lines[-1]) + 1 + len(part) > LINE and lines[-1] != f"{name}:":
            lines.append("")
        lines[-1] += f" {part}"
    return "\r\n".join(lines) + "\r\n"


def moment(at: datetime) -> str:
    """A moment as Date wants it (RFC 5322, 3.3)."""
    return format_datetime(at.replace(microsecond=0))


def list_headers(list_name: str, slug: str, sender_email: str, language: str) -> str:
    """What is the same for every message of a list: RFC 2919, 2369, 3834, 3282."""
    domain = sender_email.rpartition("@")[2]
    label = re.sub(r'["\\]', "", clean(list_name))
    phrase = f'"{label}"' if label.isascii() else ""
    return "".join(
        (
            machine("List-Id", (*filter(None, [phrase]), f"<{slug}.{domain}>")),
            machine("List-Help", [f"<mailto:{sender_email}?subject=help>"]),
            machine("Auto-Submitted", ["auto-generated"]),
            machine("Content-Language", [language]),
        )
    )


def reader_headers(envelope: Envelope, with_unsubscribe: bool) -> str:
    """What differs from reader to reader, To included (RFC 8058 for the one click)."""
    fields = [
        mailbox("To", envelope.to_name, envelope.to_email),
        f"Date: {moment(envelope.dated_at)}\r\n",
        machine("Message-ID", [f"<{envelope.message_id}>"]),
        machine("Feedback-ID", [envelope.feedback_id]),
    ]
    if with_unsubscribe:
        fields.append(machine("List-Unsubscribe", [f"<{envelope.unsubscribe_url}>"]))
        fields.append(machine("List-Unsubscribe-Post", ["List-Unsubscribe=One-Click"]))
    return "".join(fields)
