"""Notices: few enough that each is rendered by itself."""

from __future__ import annotations

from typing import Any

from newsletter.mail import headers
from newsletter.mail.cards import cut, shown_card
from newsletter.mail.letter import Choices, Envelope, Message, Notice
from newsletter.mail.messages import message_of
from newsletter.mail.pieces import encoded
from newsletter.mail.templates import load_kind
from newsletter.mail.values import SUBJECT_LIMIT
from newsletter.mail.words import Words, words

PREHEADER_LIMIT = 140


def compose_notice(notice: Notice, envelope: Envelope) -> Message:
    """The message of a notice. The same input gives the same bytes."""
    masthead = notice.masthead
    said = words(masthead.language)
    parts = load_kind(notice.kind, masthead.look)
    subject = cut(parts.subject.render(say=said.say, list_name=masthead.list_name).strip(), SUBJECT_LIMIT)
    values = notice_values(notice, said) | {"subject": subject}
    values["unsubscribe_url"] = envelope.unsubscribe_url if notice.with_unsubscribe else ""
    values["preferences_url"] = envelope.preferences_url if notice.with_unsubscribe else ""
    fields = (
        headers.mailbox("From", masthead.sender_name, masthead.sender_email)
        + headers.unstructured("Subject", subject)
        + headers.list_headers(masthead.list_name, masthead.list_slug, masthead.sender_email, said.language)
        + headers.reader_headers(envelope, notice.with_unsubscribe)
    )
    text = encoded(parts.text.render(values) + "\n")
    return message_of(envelope, fields, [text], [encoded(parts.html.render(values))])


def notice_values(notice: Notice, said: Words) -> dict[str, Any]:
    """What the templates of a notice are filled with, but for its subject and the links at its end."""
    name = notice.masthead.list_name
    return {
        "language": said.language,
        "direction": said.direction,
        "say": said.say,
        "preheader": cut(said.say(f"{notice.kind}_preheader", list=name), PREHEADER_LIMIT),
        "why": said.say(f"{notice.kind}_why", list=name),
        "list_name": name,
        "description": notice.description,
        "postal_address": notice.masthead.postal_address,
        "action_url": notice.action_url,
        "until": said.moment(notice.until) if notice.until else "",
        "moment": said.moment(notice.next_at) if notice.next_at else "",
        "latest": [shown_card(card, "", said) for card in notice.latest],
        "new_address": notice.new_address,
        "paused": notice.paused,
        "everywhere": notice.everywhere,
        **(choices_values(notice.choices, said) if notice.choices else {}),
    }


def choices_values(choices: Choices, said: Words) -> dict[str, str]:
    """What is followed and when it comes, a line each."""

    def line(kind: str, names: tuple[str, ...]) -> str:
        return said.say(kind, names=said.comma.join(names)) if names else said.say(f"all_{kind}")

    return {
        "places_line": line("places", choices.places),
        "themes_line": line("themes", choices.themes),
        "schedule_line": said.say(
            f"schedule_{choices.frequency}",
            time=said.hour(choices.hour),
            weekday=said.weekday(choices.weekday),
            timezone=choices.timezone.replace("_", " "),
        ),
    }
