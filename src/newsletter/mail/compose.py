"""Rendering: a letter once, with gaps for the reader's values; a message is then only joined."""

from __future__ import annotations

import hashlib
import quopri
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from newsletter.mail import headers
from newsletter.mail.cards import Shown, contents_line, cut, preheader_of, shown_group, shown_rest
from newsletter.mail.letter import Confirmation, Envelope, Group, Letter, Message
from newsletter.mail.templates import load_templates
from newsletter.mail.words import Words, words

# Gmail clips above 102 KB; ours keep clear of it (promise 12). Bytes as encoded for the wire.
HTML_LIMIT = 95_000
SUBJECT_LEAST, SUBJECT_LIMIT = 10, 78
REST_SHOWN = 5
REST_LISTED = 500

GAPS = ("unsubscribe_url", "preferences_url", "confirm_url")
# A private-use character on either side: no text that was cleaned on its way in holds one by accident,
# and one that does only loses it.
_MARK = "\ue000"
_GAP = re.compile(f"{_MARK}({'|'.join(GAPS)}){_MARK}")

Segments = tuple[tuple[bytes, str], ...]
"""Encoded text, each followed by the name of the reader's value that comes next, or by nothing."""


@dataclass(frozen=True)
class Rendered:
    """A mail in all but the reader's few values."""

    fixed_headers: str
    text: Segments
    html: Segments
    one_click: bool

    def message(self, envelope: Envelope) -> Message:
        """The whole message for one reader; the same envelope gives the same bytes."""
        # "=_" cannot occur in quoted-printable, so neither can the boundary.
        boundary = b"=_" + hashlib.sha256(envelope.message_id.encode()).hexdigest()[:32].encode()
        values = {name: _encoded(getattr(envelope, name)) for name in GAPS}
        content = b"".join(
            (
                self.fixed_headers.encode(),
                headers.reader_headers(envelope, self.one_click).encode(),
                b'MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary="',
                boundary,
                b'"\r\n\r\n',
                *_part(boundary, b"plain", self.text, values),
                *_part(boundary, b"html", self.html, values),
                b"--",
                boundary,
                b"--\r\n",
            )
        )
        return Message(envelope.return_path, content)


def _part(boundary: bytes, kind: bytes, segments: Segments, values: Mapping[str, bytes]) -> Iterable[bytes]:
    yield b"--" + boundary + b"\r\nContent-Type: text/" + kind + b"; charset=utf-8\r\n"
    yield b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    for text, gap in segments:
        yield text
        if gap:
            # Soft breaks on both sides: what is joined needs no new line lengths.
            yield b"=\r\n" + values[gap] + b"=\r\n"
    yield b"\r\n"


def _encoded(text: str) -> bytes:
    """``text`` as quoted-printable lines of at most 76 (RFC 2045, 6.7), CRLF between them."""
    return quopri.encodestring(text.encode()).replace(b"\n", b"\r\n")


def _segments(text: str) -> Segments:
    parts = _GAP.split(text)
    clean = (part.replace(_MARK, "") for part in parts[::2])
    return tuple(zip(map(_encoded, clean), [*parts[1::2], ""], strict=True))


def encoded_size(segments: Segments) -> int:
    """Bytes on the wire, with 200 for each of the reader's values."""
    return sum(len(text) + (200 if gap else 0) for text, gap in segments)


def _gaps() -> dict[str, str]:
    return {name: f"{_MARK}{name}{_MARK}" for name in GAPS}


def _fixed_headers(subject: str, letter: Letter | Confirmation, language: str) -> str:
    return (
        headers.mailbox("From", letter.sender_name, letter.sender_email)
        + headers.unstructured("Subject", subject)
        + headers.list_headers(letter.list_name, letter.list_slug, letter.sender_email, language)
    )


def render_digest(letter: Letter) -> Rendered:
    """A digest: subject, text and HTML. If the HTML would be too large, the last cards move to the rest."""
    said = words(letter.language)
    while True:
        values = digest_values(letter, said)
        html = _segments(load_templates()["digest"].html.render(values))
        size, count = encoded_size(html), sum(len(group.cards) for group in letter.groups)
        if size <= HTML_LIMIT or count <= 1:
            break
        letter = _shortened(letter, max(1, min(count - 1, count * HTML_LIMIT // size)))
    return Rendered(
        _fixed_headers(values["subject"], letter, said.language),
        _segments(load_templates()["digest"].text.render(values) + "\n"),
        html,
        one_click=True,
    )


def _shortened(letter: Letter, most: int) -> Letter:
    """The letter with its first ``most`` cards, what is left over before the rest."""
    groups: list[Group] = []
    over: list[Any] = []
    for group in letter.groups:
        if most:
            groups.append(Group(group.heading, group.cards[:most]))
        over += group.cards[most:]
        most = max(0, most - len(group.cards))
    parts = {name: getattr(letter, name) for name in Letter.__slots__}
    return Letter(**parts | {"groups": tuple(groups), "rest": (*over, *letter.rest)})


def digest_values(letter: Letter, said: Words) -> dict[str, Any]:
    """What the templates of a digest are filled with."""
    groups = [shown_group(group, said) for group in letter.groups]
    cards: list[Shown] = [card for group in groups for card in group.cards]
    rest = [shown_rest(card) for card in letter.rest]
    total = len(cards) + len(rest)
    others = said.count("others", total - 1) if total > 1 else ""
    first = cut(cards[0].title, SUBJECT_LIMIT - len(others) - 1 if others else SUBJECT_LIMIT)
    if len(first) < SUBJECT_LEAST:
        named = f"{letter.list_name}, {said.short_day(letter.day)}: {first}"
        first = cut(named, SUBJECT_LIMIT - len(others) - 1)
    subject = load_templates()["digest"].subject.render(first_title=first, others=others).strip()
    hidden = len(rest) - REST_SHOWN
    return {
        "language": said.language,
        "subject": subject,
        "preheader": preheader_of(cards, subject, said, letter.list_name),
        "list_name": letter.list_name,
        "postal_address": letter.postal_address,
        "day": said.long_day(letter.day),
        "contents": contents_line(groups, len(rest), said),
        "groups": groups,
        "rest": rest,
        "more_title": said.count("more", len(rest)),
        "shown_rest": rest[:REST_SHOWN],
        "listed_rest": rest[:REST_LISTED],
        "unlisted_note": said.count("unlisted", len(rest) - REST_LISTED) if len(rest) > REST_LISTED else "",
        "more_note": said.say("more_note") if hidden > 0 else "",
        "more_note_text": said.say("more_note_text"),
        "why": said.say(f"why_{letter.frequency}", list=letter.list_name),
        "say": said.say,
        **_gaps(),
    }


def render_confirmation(confirmation: Confirmation) -> Rendered:
    """A confirmation mail; its one link leads to a page with a button (link scanners follow links)."""
    said = words(confirmation.language)
    name = confirmation.list_name
    values = confirmation_values(confirmation, said)
    parts = load_templates()["confirm"]
    subject = cut(parts.subject.render(say=said.say, list_name=name).strip(), SUBJECT_LIMIT)
    values["subject"] = subject
    return Rendered(
        _fixed_headers(subject, confirmation, said.language),
        _segments(parts.text.render(values) + "\n"),
        _segments(parts.html.render(values)),
        one_click=False,
    )


def confirmation_values(confirmation: Confirmation, said: Words) -> dict[str, Any]:
    """What the templates of a confirmation are filled with, but for its subject."""
    name = confirmation.list_name

    def line(kind: str, names: tuple[str, ...]) -> str:
        return said.say(kind, names=", ".join(names)) if names else said.say(f"all_{kind}")

    return {
        "language": said.language,
        "preheader": cut(said.say("confirm_preheader", list=name), 140),
        "list_name": name,
        "description": confirmation.description,
        "postal_address": confirmation.postal_address,
        "why": said.say("confirm_why", list=name),
        "places_line": line("places", confirmation.places),
        "themes_line": line("themes", confirmation.themes),
        "schedule_line": said.say(
            f"schedule_{confirmation.frequency}",
            time=said.hour(confirmation.hour),
            weekday=said.weekday(confirmation.weekday),
            timezone=confirmation.timezone.replace("_", " "),
        ),
        "say": said.say,
        **_gaps(),
        # Nothing to leave yet: the footer says so instead.
        "unsubscribe_url": "",
    }
