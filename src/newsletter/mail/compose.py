"""Confirmation mails: few enough that each is rendered by itself."""

from __future__ import annotations

from typing import Any

from newsletter.mail import headers
from newsletter.mail.cards import cut
from newsletter.mail.letter import Confirmation, Envelope, Message
from newsletter.mail.messages import message_of
from newsletter.mail.pieces import encoded
from newsletter.mail.templates import load_templates
from newsletter.mail.values import SUBJECT_LIMIT
from newsletter.mail.words import Words, words


def compose_confirmation(confirmation: Confirmation, envelope: Envelope) -> Message:
    """A confirmation mail; its one link leads to a page with a button (link scanners follow links)."""
    said = words(confirmation.language)
    values = confirmation_values(confirmation, said) | {"confirm_url": envelope.confirm_url}
    parts = load_templates()["confirm"]
    subject = cut(parts.subject.render(say=said.say, list_name=confirmation.list_name).strip(), SUBJECT_LIMIT)
    values["subject"] = subject
    fields = (
        headers.mailbox("From", confirmation.sender_name, confirmation.sender_email)
        + headers.unstructured("Subject", subject)
        + headers.list_headers(confirmation.list_name, confirmation.list_slug, confirmation.sender_email, said.language)
        + headers.reader_headers(envelope, with_unsubscribe=False)
    )
    text = encoded(parts.text.render(values) + "\n")
    return message_of(envelope, fields, [text], [encoded(parts.html.render(values))])


def confirmation_values(confirmation: Confirmation, said: Words) -> dict[str, Any]:
    """What the templates of a confirmation are filled with, but for its subject and link."""
    name = confirmation.list_name

    def line(kind: str, names: tuple[str, ...]) -> str:
        return said.say(kind, names=", ".join(names)) if names else said.say(f"all_{kind}")

    return {
        "language": said.language,
        "preheader": cut(said.say("confirm_preheader", list=name), 140),
        "list_name": name,
        "description": confirmation.description,
        "postal_address": confirmation.postal_address,
        "why": f"{said.say('confirm_why', list=name)} {said.say('ignore')}",
        "places_line": line("places", confirmation.places),
        "themes_line": line("themes", confirmation.themes),
        "schedule_line": said.say(
            f"schedule_{confirmation.frequency}",
            time=said.hour(confirmation.hour),
            weekday=said.weekday(confirmation.weekday),
            timezone=confirmation.timezone.replace("_", " "),
        ),
        "say": said.say,
        # Nothing to leave yet: the footer says so instead.
        "unsubscribe_url": "",
        "preferences_url": "",
    }
