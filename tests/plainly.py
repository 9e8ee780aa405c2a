"""The slow way to a digest, as plainly as it can be said: each mail by Jinja and the standard library's `email`.

What the fast way gives is compared with this, byte for byte.
"""

from __future__ import annotations

import hashlib
import hmac
import quopri
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from email.message import Message as EmailPart
from email.mime.multipart import MIMEMultipart
from email.policy import compat32
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from itsdangerous import Signer
from jinja2 import Template

from newsletter.catalogue.geography import countries_in, place_name
from newsletter.catalogue.items import day_of
from newsletter.catalogue.themes import Theme, descendants, theme_name
from newsletter.delivery.outbox import Claimed
from newsletter.digests.matching import (
    CountriesIn,
    Item,
    Picks,
    ThemesUnder,
    concerned,
)
from newsletter.mail import frames, headers
from newsletter.mail import values as values_module
from newsletter.mail.cards import UNPLACED, Section, ShownGroup, named_card, placed, section_of, shown_card
from newsletter.mail.letter import Card, Envelope, Masthead, Message
from newsletter.mail.look import Look
from newsletter.mail.program import Value
from newsletter.mail.templates import Programs, environment, folder, load_templates
from newsletter.mail.words import words


@dataclass(frozen=True)
class Group:
    """Cards under the name of a place or theme; an empty heading means none in particular."""

    heading: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Letter:
    """A digest before it is rendered. ``rest`` is only named."""

    language: str
    list_name: str
    list_slug: str
    sender_name: str
    sender_email: str
    postal_address: str
    day: date
    frequency: str
    groups: tuple[Group, ...]
    rest: tuple[Card, ...] = ()
    note: str = ""
    style: str = "full"
    sections: str = "country"

    @property
    def masthead(self) -> Masthead:
        names = ("language", "list_name", "list_slug", "sender_name", "sender_email", "postal_address")
        return Masthead(*(getattr(self, name) for name in names), look=Look(style=self.style))

    def section(self, group: Group) -> Section:
        """A group's heading."""
        said = words(self.language)
        heading = group.heading or said.say(UNPLACED[self.sections])
        return section_of(heading, len(group.cards) if len(self.groups) > 1 else 0, said)


@dataclass(frozen=True)
class Reason:
    """Why an item fits: the reader's own picks that it met, in codes; empty where all were picked."""

    places: tuple[str, ...]
    themes: tuple[str, ...]


def reason(item: Item, picks: Picks, countries_in: CountriesIn, themes_under: ThemesUnder) -> Reason:
    """The picks that ``item`` meets: picked countries before picked regions, the closest first."""
    here = concerned(item.countries, item.regions, countries_in)
    named = [country for country in item.countries if country in picks.countries]
    through_region = sorted((here & picks.countries) - set(named))
    regions = sorted(
        (region for region in picks.regions if countries_in(region) & here),
        key=lambda region: (len(countries_in(region)), region),
    )
    tags = frozenset(item.themes)
    themes = sorted(theme for theme in picks.themes if themes_under(theme) & tags)
    return Reason((*named, *through_region, *regions), tuple(themes))


def relevance(item: Item, why: Reason) -> tuple[int, float]:
    """The greater, the more an item is this reader's: picks met, a country twice; then the newer."""
    named = sum(2 if place in item.countries else 1 for place in why.places)
    return named + 2 * len(why.themes), item.published_at.timestamp()


@dataclass(frozen=True)
class PlainPlaced:
    item: Item
    why: Reason
    heading: str
    inner: str


def plain_arrange(
    items: Sequence[Item],
    picks: Picks,
    countries_in: CountriesIn,
    themes_under: ThemesUnder,
    most: int,
    sections: str = "country",
) -> tuple[list[tuple[str, list[PlainPlaced]]], list[PlainPlaced]]:
    """Group by country, that of the most relevant item first, what concerns none last; inside a group by theme, then
    newest first. Or the other way round: group by theme, inside a group by country.
    """
    reasons = {item.id: reason(item, picks, countries_in, themes_under) for item in items}
    by_relevance = sorted(items, key=lambda item: (relevance(item, reasons[item.id]), -item.position), reverse=True)
    followed = concerned(picks.countries, picks.regions, countries_in)
    placed = []
    for item in by_relevance:
        place, theme = _place(item, followed), _theme(item, picks.themes, themes_under)
        heading, inner = (place, theme) if sections == "country" else (theme, place)
        placed.append(PlainPlaced(item, reasons[item.id], heading, inner))
    headings = list(dict.fromkeys(entry.heading for entry in placed[:most]))
    headings.sort(key=lambda heading: not heading)
    groups = [(heading, [entry for entry in placed[:most] if entry.heading == heading]) for heading in headings]
    return [(heading, sorted(entries, key=_inner_then_date)) for heading, entries in groups], placed[most:]


def _place(item: Item, followed: frozenset[str]) -> str:
    for country in item.countries:
        if not followed or country in followed:
            return country
    return next(iter((*item.regions, *item.countries)), "")


def _theme(item: Item, followed: frozenset[str], themes_under: ThemesUnder) -> str:
    for theme in item.themes:
        if not followed or any(theme in themes_under(pick) for pick in followed):
            return theme
    return next(iter(item.themes), "")


def _inner_then_date(entry: PlainPlaced) -> tuple[str, float, int]:
    return entry.inner, -entry.item.published_at.timestamp(), entry.item.position


def letter_of(
    site: str,
    list_row: Any,
    vocabulary: dict[str, Theme],
    chosen: Sequence[Item],
    picks: Picks,
    *,
    language: str,
    day: date,
    frequency: str,
) -> Letter:
    """The letter that these items make for these picks, in names instead of codes."""
    groups, rest = plain_arrange(
        chosen, picks, countries_in, lambda slug: descendants(vocabulary, slug), list_row.max_items, list_row.sections
    )
    card = _card_maker(site, vocabulary, list_row.timezone, language)

    def name(code: str) -> str:
        if not code:
            return ""
        return place_name(code, language) if list_row.sections == "country" else theme_name(vocabulary[code], language)

    return Letter(
        language=language,
        list_name=list_row.name,
        list_slug=list_row.slug,
        sender_name=list_row.sender_name,
        sender_email=list_row.sender_email,
        postal_address=list_row.postal_address,
        day=day,
        frequency=frequency,
        groups=tuple(Group(name(code), tuple(map(card, placed))) for code, placed in groups),
        rest=tuple(map(card, rest)),
        style=list_row.style,
        sections=list_row.sections,
    )


def _card_maker(site: str, vocabulary: dict[str, Theme], timezone: str, language: str) -> Callable[[PlainPlaced], Card]:
    def places(codes: Iterable[str]) -> tuple[str, ...]:
        return tuple(place_name(code, language) for code in codes)

    def themes(slugs: Iterable[str]) -> tuple[str, ...]:
        return tuple(theme_name(vocabulary[slug], language) for slug in slugs if slug in vocabulary)

    def card(placed: PlainPlaced) -> Card:
        item = placed.item
        return Card(
            title=item.title,
            summary=item.summary,
            url=item.url or f"{site}/items/{item.id}",
            language=item.language,
            source=item.source,
            day=day_of(item.published_at, timezone),
            places=places((*item.countries, *item.regions)),
            themes=themes(item.themes),
            because=places(placed.why.places) + themes(placed.why.themes),
            image=item.image or "",
            image_alt=item.image_alt,
        )

    return card


def envelope_of(settings: Any, list_row: Any, delivery: Claimed) -> Envelope:
    """The reader's values of a digest, its signatures by itsdangerous and hmac."""

    def token(purpose: str, number: int = delivery.subscription_id) -> str:
        signer = Signer(settings.key, salt=f"newsletter.{purpose}", sep=".", digest_method=hashlib.sha256)
        return signer.sign(str(number)).decode()

    proof = hmac.new(settings.key.encode(), f"delivery {delivery.id}".encode(), hashlib.sha256).hexdigest()[:20]
    domain = list_row.sender_email.rpartition("@")[2]
    return Envelope(
        to_email=delivery.email,
        to_name=delivery.name,
        return_path=f"bounces+{delivery.id}.{proof}@{domain}",
        message_id=f"digest.{delivery.id}.{proof}@{domain}",
        dated_at=delivery.dated_at,
        unsubscribe_url=f"{settings.site}/u/{token('unsubscribe')}",
        preferences_url=f"{settings.site}/p/{token('preferences')}",
        copy_url=f"{settings.site}/d/{token('copy', delivery.id)}",
        feedback_id=f"{delivery.run_id}:{list_row.slug}:digest:newsletter",
        leave_mail=_leave_mail(settings, delivery),
    )


def _leave_mail(settings: Any, delivery: Claimed) -> str:
    if not settings.leave_mailbox:
        return ""
    number = str(delivery.subscription_id)
    proof = hmac.new(settings.key.encode(), f"leave {number}".encode(), hashlib.sha256).hexdigest()[:20]
    address = parse_qs(urlsplit(settings.leave_mailbox).query)["address"][0]
    return f"mailto:{address}?subject=leave%20{number}.{proof}"


@dataclass(frozen=True)
class PlainTemplates:
    """Three whole templates."""

    subject: str
    text: Template
    html: Template


def letter_values_of(letter: Letter, envelope: Envelope, subject: str | None = None) -> dict[str, Any]:
    """Everything that the templates of a digest are filled with."""
    return _values(letter, envelope, *_shown(letter), subject)


def _shown(letter: Letter) -> tuple[tuple[ShownGroup, ...], tuple[Any, ...]]:
    said = words(letter.language)
    return (
        tuple(
            ShownGroup(
                letter.section(group),
                tuple(placed(shown_card(card, group.heading, said)) for card in group.cards),
            )
            for group in letter.groups
        ),
        tuple(named_card(card) for card in letter.rest),
    )


@cache
def _line(name: str, source: str | None) -> tuple[Value]:
    """The program of a subject or preheader, which Jinja renders whole."""
    usual = (folder() / "digest" / name).read_text("utf-8")
    template = environment(False).from_string(source or usual)
    return (Value(frozenset(), lambda values: template.render(values)),)


def _values(letter: Letter, envelope: Envelope, groups: Any, rest: Any, subject: str | None) -> dict[str, Any]:
    said = words(letter.language)
    made = Programs(_line("subject.txt", subject), _line("preheader.txt", None), (), ())
    return {
        **values_module.fixed_values(letter.masthead, said),
        **values_module.day_values(letter.masthead, said, letter.day, letter.frequency, letter.note),
        **values_module.letter_values(letter.list_name, said, letter.day, groups, rest, made),
        **values_module.rest_values(said, rest),
        "unsubscribe_url": envelope.unsubscribe_url,
        "preferences_url": envelope.preferences_url,
        "copy_url": envelope.copy_url,
    }


def plain_quoted(text: str) -> bytes:
    """The standard library's quoted-printable of a whole text, lines ended by CRLF."""
    return quopri.encodestring(text.replace("\r", "\n").encode()).replace(b"\n", b"\r\n")


def plain_message(letter: Letter, envelope: Envelope, templates: PlainTemplates | None = None) -> Message:
    """A digest for one reader, rendered whole and put together by `email`."""
    usual = load_templates()["digest"]
    text, html = (templates.text, templates.html) if templates else (usual.text, usual.html)
    subject = templates.subject if templates else None
    groups, rest = _shown(letter)
    named: int | None = None
    while True:
        values = _values(letter, envelope, groups, rest, subject)
        told = values if named is None else values_module.briefly(values, named, words(letter.language))
        html_part = plain_quoted(html.render(told))
        count = sum(len(group.cards) for group in groups)
        if len(html_part) <= frames.HTML_LIMIT or (named == 1 and count <= 1):
            break
        if named is not None and count <= 1:
            named = 1
            continue
        if named is not None or len(rest) <= values_module.REST_SHOWN:
            most = max(1, min(count - 1, count * frames.HTML_LIMIT // len(html_part)))
            groups, rest = values_module.shortened(groups, rest, most, words(letter.language))
        named = values_module.REST_SHOWN
    return by_email(letter.masthead, envelope, values["subject"], plain_quoted(text.render(values) + "\n"), html_part)


def by_email(masthead: Masthead, envelope: Envelope, subject: str, text: bytes, html: bytes) -> Message:
    """The message as the standard library writes it; only the fields of its head are ours."""
    whole = MIMEMultipart("alternative", boundary=f"=_{envelope.message_id.partition('@')[0]}")
    for kind, content in (("plain", text), ("html", html)):
        part = EmailPart(policy=compat32)
        part["Content-Type"] = f"text/{kind}; charset=utf-8"
        part["Content-Transfer-Encoding"] = "quoted-printable"
        part.set_payload(content.replace(b"\r\n", b"\n").decode("ascii"))
        whole.attach(part)
    del whole["MIME-Version"]
    kind = whole["Content-Type"]
    del whole["Content-Type"]
    whole["MIME-Version"] = "1.0"
    whole["Content-Type"] = kind
    written = whole.as_bytes(policy=compat32.clone(linesep="\r\n", max_line_length=998))
    structure, _, body = written.partition(b"\r\n\r\n")
    fields = (
        headers.mailbox("From", masthead.sender_name, masthead.sender_email)
        + headers.unstructured("Subject", subject)
        + headers.list_headers(
            masthead.list_name, masthead.list_slug, masthead.sender_email, words(masthead.language).language
        )
        + headers.reader_headers(envelope)
    )
    head = fields.encode() + structure + b"\r\n\r\n"
    return Message(envelope.return_path, head + body, len(head))
