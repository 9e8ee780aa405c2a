"""Sample data that templates are tried with: made up, of the length of real ones. Pure."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from newsletter.catalogue.geography import place_name
from newsletter.mail.cards import Placed, ShownGroup, named_of, placed, section_of, shown_card
from newsletter.mail.compose import compose_notice, link_values, notice_values
from newsletter.mail.frames import Frame
from newsletter.mail.letter import Card, Choices, Envelope, Masthead, Message, Notice, Report
from newsletter.mail.look import Look
from newsletter.mail.program import Values
from newsletter.mail.templates import load_programs
from newsletter.mail.values import day_values, fixed_values, letter_values, rest_values
from newsletter.mail.words import words
from newsletter.settings import PLACEHOLDER_SITE

AT = datetime(2026, 11, 24, 8, tzinfo=UTC)
STORIES = (
    ("Corinto crossing opens one shared desk for families on their way",
     "Officers on both sides share one queue, one form & one interpreter. The wait fell to less than 3 hours."),
    ("Mobile clinics reach 42 villages before the rains",
     "Vaccines, prenatal care and eye tests, on the same truck. The next round begins in Huehuetenango in May."),
    ("Seasonal workers: what the new agreement with Canada changes", ""),
    ("“We count everyone”: a survey of returned children",
     "Of 1,204 children asked, 38% had left because of violence, 31% to join a parent.\n\nThe data are open."),
)  # fmt: skip
"""Titles and summaries, of which items have one in turn."""
TITLE = STORIES[0][0]
NOTE = "*Dear readers*, the desk moved to [Calle Segunda](https://rutas.example/desk).\n\n- Bring your papers."
PICTURE = f"{PLACEHOLDER_SITE}/picture.png"
"""Of each third item."""
PLACES = ("GT", "HN")
ITEMS = 30
NAMED = 7
"""Items of a large sample: those shown as cards, and those that are only named."""
LEAVE, PREFERENCES, ACTION = (f"{PLACEHOLDER_SITE}/{path}/{'x' * 48}" for path in "upc")
ASKING = ("confirm", "account", "address_old", "address_new")
"""Kinds that are sent for the sake of the link in them."""


def sample_masthead(look: Look, language: str = "en") -> Masthead:
    """A list that is not there."""
    return Masthead(
        language, "Rutas", "rutas", "Rutas", "digest@rutas.example", "24 Calle Segunda, Guatemala City", look
    )


def sample_envelope(masthead: Masthead) -> Envelope:
    """A reader who is not there."""
    mail = masthead.sender_email
    return Envelope(mail, "", mail, f"sample@{masthead.list_slug}", AT, LEAVE, PREFERENCES, "0:sample:sample:x")


def sample_cards(language: str, count: int, themes: Sequence[str] = ("Protection",)) -> list[Card]:
    """Items of Guatemala and Honduras."""
    places = tuple(place_name(code, language) for code in PLACES)
    return [
        Card(
            *STORIES[number % len(STORIES)],
            f"{PLACEHOLDER_SITE}/{number}",
            language,
            "Rutas",
            AT.date(),
            places,
            tuple(themes),
            places[:1],
            *("" if number % 3 else PICTURE, "Families at the desk"),
        )
        for number in range(count)
    ]


def sample_digest(
    masthead: Masthead,
    count: int = ITEMS,
    named: int = 0,
    note: str = "",
    frequency: str = "daily",
    themes: Sequence[str] = ("Protection",),
) -> Message:
    """A digest of ``count`` cards and ``named`` items that are only named, made as real ones are.

    Raises:
        TemplateError, jinja2.TemplateError: the list's own templates are broken; they may raise anything else, too.
    """
    frame = Frame(masthead)
    made = [_placed(frame, one) for one in sample_cards(masthead.language, count + named, themes)]
    groups = _grouped(made[:count], masthead.language)
    rest = named_of(made[count:])
    return frame.compose(groups, rest, AT.date(), frequency, sample_envelope(masthead), note)


def _placed(frame: Frame, card: Card) -> Placed:
    heading = card.places[0]
    return 0, b"", heading, *frame.cards.set_card(frame.cards.set_item(card), heading, frame.cards.reason(card.because))


def _grouped(cards: Sequence[Placed], language: str) -> list[ShownGroup]:
    """Cards in two sections, if there are two cards."""
    said = words(language)
    half = -(-len(cards) // 2)
    parts = [(code, part) for code, part in zip(PLACES, (cards[:half], cards[half:]), strict=True) if part]
    return [
        ShownGroup(section_of(place_name(code, language), len(part) if len(parts) > 1 else 0, said), part)
        for code, part in parts
    ]


def sample_notice(kind: str, masthead: Masthead, frequency: str = "daily") -> Notice:
    """A notice with all that its kind may speak of."""
    language = masthead.language
    return Notice(
        kind,
        masthead,
        "News of the road, by country and theme.",
        ACTION,
        choices=Choices((place_name("GT", language),), (), frequency, AT.hour, AT.weekday(), "America/Guatemala"),
        until=AT,
        next_at=AT,
        latest=tuple(sample_cards(language, 3)) if kind in ("welcome", "run_held") else (),
        new_address="new@example.org",
        report=sample_report(kind),
    )


def sample_report(kind: str) -> Report | None:
    """A run as long as most; None if the kind speaks of none."""
    refusals = (("550 5.1.1 … User unknown", 17), ("452 4.2.2 … The mailbox is full", 4))
    done = Report(7, AT, {"sent": 9204, "failed": 17, "expired": 4, "dropped": 2}, 12, timedelta(minutes=3), refusals)
    return {"run_held": Report(7, AT, {"held": 9227}, 12), "run_done": done}.get(kind)


def sample_message(kind: str, masthead: Masthead, count: int = 7) -> Message:
    """A mail of any kind.

    Raises:
        Exception: as ``sample_digest``.
    """
    if kind == "digest":
        return sample_digest(masthead, count, NAMED if count == ITEMS else 0, NOTE if count > 1 else "")
    return compose_notice(sample_notice(kind, masthead), sample_envelope(masthead))


def sample_values(kind: str, masthead: Masthead) -> Values:
    """What the templates of a kind are filled with, subject and preheader too, for Jinja to fill them as they stand."""
    said = words(masthead.language)
    links = {"unsubscribe_url": LEAVE, "preferences_url": PREFERENCES}
    if kind != "digest":
        made = notice_values(sample_notice(kind, masthead), said)
        shown = dict.fromkeys(("subject", "preheader"), masthead.list_name)
        return made | link_values(kind, **links) | shown
    cards = [placed(shown_card(card, "", said)) for card in sample_cards(masthead.language, ITEMS + NAMED)]
    groups = _grouped(cards[:ITEMS], masthead.language)
    rest = named_of(cards[ITEMS:])
    return {
        **fixed_values(masthead, said),
        **day_values(masthead, said, AT.date(), "daily", NOTE),
        **letter_values(masthead.list_name, said, AT.date(), groups, rest, load_programs()),
        **rest_values(said, rest),
        **links,
        "copy_url": PLACEHOLDER_SITE,
    }


def first_url() -> str:
    """Where the first of ``sample_cards`` leads."""
    return sample_cards("en", 1)[0].url


def subject_values(kind: str, masthead: Masthead) -> Values:
    """What the subject of a kind is filled with."""
    said = words(masthead.language)
    if kind == "digest":
        return {"first_title": TITLE, "others": said.count("others", 6)}
    return notice_values(sample_notice(kind, masthead), said)


def preheader_values(kind: str, masthead: Masthead) -> Values:
    """What the preheader of a kind is filled with."""
    if kind != "digest":
        return subject_values(kind, masthead) | {"subject": masthead.list_name}
    values = sample_values(kind, masthead)
    own = {"subject": values["subject"], "teaser": values["preheader"], "contents": values["contents"]}
    return subject_values(kind, masthead) | own | {"list_name": masthead.list_name, "say": values["say"]}


def parts_of(message: Message) -> tuple[str, str, str]:
    """Subject, text and HTML of a message as a reader has them."""
    read = email.message_from_bytes(message.content, policy=email.policy.default)
    text, html = (read.get_body((kind,)) for kind in ("plain", "html"))
    assert text
    assert html
    return str(read["Subject"]), text.get_content(), html.get_content()
