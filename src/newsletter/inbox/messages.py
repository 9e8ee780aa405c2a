"""What a captured message shows: pure, and content with any bytes whatever."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.parser import BytesHeaderParser

Headers = tuple[tuple[str, str], ...]

# What a parameter's value raises (RFC 2231): it can name any codec, also one that fails on it, or be there in two ways.
UNREADABLE = (LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class Attachment:
    """A part that is neither the text nor the HTML. ``size`` is in bytes, decoded."""

    name: str
    type: str
    size: int


@dataclass(frozen=True)
class View:
    """A message taken apart; ``html`` and ``text`` are None without such a part, ``note`` tells trouble."""

    headers: Headers
    html: str | None
    text: str | None
    attachments: tuple[Attachment, ...]
    note: str = ""


def decode_text(raw: bytes, charset: str | None) -> str:
    """``raw`` in ``charset``; if that is unknown, or wrong, in UTF-8 or else byte by byte (latin-1)."""
    for name in (charset, "utf-8", "latin-1"):
        try:
            text = raw.decode(name or "utf-8")
        except (LookupError, ValueError):
            continue
        # Some charsets (UTF-7, unicode_escape) give lone surrogates, which no page can carry.
        return text.encode("utf-8", "replace").decode().replace("\r\n", "\n")
    return ""


def decode_words(text: str) -> str:
    """A header's value on one line, its encoded words (RFC 2047) read; unreadable ones stay as they are."""
    unfolded = re.sub(r"\s*[\r\n]+\s*", " ", text).strip()
    try:
        parts = decode_header(unfolded)
    except HeaderParseError:
        return unfolded
    return "".join(
        part if isinstance(part, str) else decode_text(part, charset or "raw-unicode-escape") for part, charset in parts
    )


def _headers_of(message: Message) -> Headers:
    found = []
    for name, value in message.raw_items():
        raw = str(value).encode("utf-8", "surrogateescape")
        found.append((name, decode_words(raw.decode("utf-8", "replace"))))
    return tuple(found)


def read_headers(start: bytes) -> Headers:
    """The header fields at the start of a message, in order and decoded."""
    return _headers_of(BytesHeaderParser().parsebytes(start))


def header(headers: Headers, name: str) -> str:
    """The first field called ``name`` (lower case), or nothing."""
    return next((value for key, value in headers if key.lower() == name), "")


def _content(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _file_name(part: Message) -> str:
    try:
        return decode_words(part.get_filename() or "") or "without a name"
    except UNREADABLE:
        return "with an unreadable name"


def _charset(part: Message) -> str | None:
    try:
        return part.get_content_charset()
    except UNREADABLE:
        return None


def view(raw: bytes) -> View:
    """Take a message apart (RFC 2045 to 2047); what cannot be read is shown as it is, never refused."""
    try:
        message = message_from_bytes(raw)
        leaves = [part for part in message.walk() if not part.is_multipart()]
    except (RecursionError, *UNREADABLE):
        note = "This message cannot be taken apart into its parts; only its source can be shown."
        return View(read_headers(raw[:65_536]), None, None, (), note)
    bodies: dict[str, str] = {}
    attachments = []
    for part in leaves:
        kind = part.get_content_type()
        disposition = str(part.get("Content-Disposition") or "").strip().lower()
        if kind in ("text/html", "text/plain") and kind not in bodies and not disposition.startswith("attachment"):
            bodies[kind] = decode_text(_content(part), _charset(part))
        else:
            attachments.append(Attachment(_file_name(part), kind, len(_content(part))))
    return View(_headers_of(message), bodies.get("text/html"), bodies.get("text/plain"), tuple(attachments))


_HEAD = re.compile(r"<head(?:\s[^>]*)?>", re.IGNORECASE)
_DOCTYPE = re.compile(r"\s*<!doctype[^>]*>", re.IGNORECASE)


def for_frame(html: str, site: str = "") -> str:
    """The HTML of a mail with its links set to open in a new tab; the doctype stays first.

    Links and pictures whose addresses begin with ``site`` are of the readers' site that the inbox itself serves.
    """
    if site:
        html = html.replace(f'href="{site}/', 'href="/').replace(f'src="{site}/', 'src="/')
    place = _HEAD.search(html) or _DOCTYPE.match(html)
    at = place.end() if place else 0
    return f'{html[:at]}<base target="_blank">{html[at:]}'
