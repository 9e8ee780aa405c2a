"""Notices: few enough that each is rendered by itself."""

from __future__ import annotations

from typing import Any

from babel.dates import format_timedelta
from babel.numbers import format_decimal

from newsletter.catalogue.geography import zone_name
from newsletter.mail import headers
from newsletter.mail.cards import PREHEADER_SIZE, cut, shown_card
from newsletter.mail.letter import Choices, Envelope, Message, Notice, Report
from newsletter.mail.messages import message_of
from newsletter.mail.pieces import encoded
from newsletter.mail.templates import LEAVABLE, load_kind
from newsletter.mail.values import SUBJECT_LIMIT
from newsletter.mail.words import Words, words

OUTCOMES = ("sent", "failed", "expired", "dropped", "withdrawn")
"""What can become of a digest, in the order in which a report says it."""


def compose_notice(notice: Notice, envelope: Envelope) -> Message:
    """The message of a notice. The same input gives the same bytes."""
    masthead = notice.masthead
    said = words(masthead.language)
    parts = load_kind(notice.kind, masthead.look)
    values = notice_values(notice, said) | link_values(notice.kind, envelope.unsubscribe_url, envelope.preferences_url)
    subject = cut(parts.subject.render(values).strip(), SUBJECT_LIMIT)
    values["subject"] = subject
    values["preheader"] = cut(parts.preheader.render(values).strip(), PREHEADER_SIZE[1])
    fields = (
        headers.mailbox("From", masthead.sender_name, masthead.sender_email)
        + headers.unstructured("Subject", subject)
        + headers.list_headers(masthead.list_name, masthead.list_slug, masthead.sender_email, said.language)
        + headers.reader_headers(envelope)
    )
    text = encoded(parts.text.render(values) + "\n")
    return message_of(envelope, fields, [text], [encoded(parts.html.render(values))])


def link_values(kind: str, unsubscribe_url: str, preferences_url: str) -> dict[str, str]:
    """The links at the end of a notice; ``leave_url`` is for those of which not a subscription is left.

    None has a web copy, to which a logo would lead.
    """
    at_the_end = kind in LEAVABLE
    return {
        "unsubscribe_url": unsubscribe_url if at_the_end else "",
        "preferences_url": preferences_url if at_the_end else "",
        "leave_url": unsubscribe_url,
        "copy_url": "",
    }


def notice_values(notice: Notice, said: Words) -> dict[str, Any]:
    """What the templates of a notice are filled with, but for its subject, its preheader and the links at its end."""
    name = notice.masthead.list_name
    return {
        "language": said.language,
        "direction": said.direction,
        "say": said.say,
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
        **(report_values(notice.report, said) if notice.report else {}),
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
            timezone=zone_name(choices.timezone, said.language),
        ),
    }


def report_values(report: Report, said: Words) -> dict[str, Any]:
    """A run in lines: its slot, how much of what, and what was said of it."""

    def number(n: int) -> str:
        return str(format_decimal(n, locale=said.language))

    return {
        "run": report.run,
        "slot": said.moment(report.slot),
        "digests": said.count("report_digests", sum(report.counts.values())),
        "items": said.count("report_items", report.items),
        "outcomes": [
            said.say(f"report_{state}", n=number(report.counts[state]))
            for state in OUTCOMES
            if report.counts.get(state)
        ],
        "took": format_timedelta(report.took, locale=said.language) if report.took is not None else "",
        "refusals": [f"{text} ({number(count)})" for text, count in report.refusals],
    }
