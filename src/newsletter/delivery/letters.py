"""From rows to letters: what a delivery's digest says, rendered once for all who share it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection, Engine, select

from newsletter.audience.links import make_token, seal
from newsletter.audience.picks import Picks, load_profiles
from newsletter.catalogue.geography import countries_in, place_name
from newsletter.catalogue.themes import Theme, all_themes, descendants, theme_name
from newsletter.database import reading
from newsletter.delivery.outbox import Claimed
from newsletter.digests.arranging import Placed, arrange
from newsletter.digests.matching import Item
from newsletter.digests.runs import as_item
from newsletter.mail.compose import Rendered, render_digest
from newsletter.mail.letter import Card, Envelope, Group, Letter, Message
from newsletter.settings import Settings
from newsletter.tables import editions, items, lists

log = structlog.get_logger("newsletter.delivery")

KEPT = 2000


class Letters:
    """Composes deliveries, remembering what it has read and rendered as long as it lives."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        """It should live a minute, not an hour: it does not notice edits of lists and vocabularies."""
        self._engine = engine
        self._settings = settings
        self._lists: dict[int, tuple[Any, dict[str, Theme]]] = {}
        self._editions: dict[int, tuple[str, tuple[int, ...]]] = {}
        self._picks: dict[int, Picks] = {}
        self._items: dict[int, Item] = {}
        self._rendered: dict[tuple[Any, ...], Rendered] = {}
        self._withdrawn: tuple[str, dict[int, datetime]] = ("", {})

    def prepare(self, connection: Connection, claimed: Sequence[Claimed]) -> None:
        """Interim."""
        for delivery in claimed:
            self._read(connection, delivery)

    def compose(self, delivery: Claimed) -> Message | None:
        """The message of a delivery, or None if every item was withdrawn before it was claimed.

        The same bytes each time, as long as templates, texts and the reader's own data stay as they are.
        """
        with reading(self._engine) as connection:
            self._read(connection, delivery)
        language, ids = self._editions[delivery.edition_id]
        gone = self._withdrawn[1]
        shown = tuple(number for number in ids if gone.get(number, delivery.claimed_at) >= delivery.claimed_at)
        if not shown:
            return None
        day = delivery.slot.astimezone(ZoneInfo(delivery.timezone)).date()
        key = (language, shown, delivery.profile_id, day, delivery.frequency)
        rendered = self._rendered.get(key)
        if rendered is None:
            if len(self._rendered) >= KEPT:
                self._rendered.clear()
            list_row, vocabulary = self._lists[delivery.list_id]
            rendered = self._rendered[key] = render_digest(
                letter_of(
                    self._settings.site,
                    list_row,
                    vocabulary,
                    [self._items[number] for number in shown],
                    self._picks[delivery.profile_id],
                    language=language,
                    day=day,
                    frequency=delivery.frequency,
                )
            )
        return rendered.message(digest_envelope(self._settings, self._lists[delivery.list_id][0], delivery))

    def _read(self, connection: Connection, delivery: Claimed) -> None:
        if delivery.list_id not in self._lists:
            row = connection.execute(select(lists).where(lists.c.id == delivery.list_id)).one()
            self._lists[delivery.list_id] = row, all_themes(connection, delivery.list_id)
        if delivery.profile_id not in self._picks:
            self._picks |= load_profiles(connection, [delivery.profile_id])
        if delivery.edition_id not in self._editions:
            edition = connection.execute(
                select(editions.c.language, editions.c.item_ids).where(editions.c.id == delivery.edition_id)
            ).one()
            self._editions[delivery.edition_id] = edition.language, tuple(edition.item_ids)
        missing = [n for n in self._editions[delivery.edition_id][1] if n not in self._items]
        for item in load_by_ids(connection, missing):
            self._items[item.id] = item
        # Once a claim: what was withdrawn before it is left out, what is withdrawn later was too late.
        claim = f"{delivery.list_id} {delivery.claim}"
        if self._withdrawn[0] != claim:
            rows = connection.execute(
                select(items.c.id, items.c.withdrawn_at).where(
                    items.c.list_id == delivery.list_id, items.c.withdrawn_at.is_not(None)
                )
            )
            self._withdrawn = claim, {row.id: row.withdrawn_at for row in rows}

    def log_relay_down(self, reason: str) -> None:
        """Tell the operator; a relay's address is not personal data."""
        log.warning("the relay cannot be used", reason=reason)


def load_by_ids(connection: Connection, ids: Sequence[int]) -> Iterable[Item]:
    """These items, withdrawn or not, in any order."""
    for start in range(0, len(ids), 500):
        statement = select(*(items.c[name] for name in Item.__slots__))
        for row in connection.execute(statement.where(items.c.id.in_(ids[start : start + 500]))):
            yield as_item(row)


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

    def under(slug: str) -> frozenset[str]:
        return descendants(vocabulary, slug)

    arrangement = arrange(chosen, picks, countries_in, under, list_row.max_items)
    card = _card_maker(site, vocabulary, language)
    return Letter(
        language=language,
        list_name=list_row.name,
        list_slug=list_row.slug,
        sender_name=list_row.sender_name,
        sender_email=list_row.sender_email,
        postal_address=list_row.postal_address,
        day=day,
        frequency=frequency,
        groups=tuple(
            Group(place_name(heading, language) if heading else "", tuple(map(card, placed)))
            for heading, placed in arrangement.groups
        ),
        rest=tuple(map(card, arrangement.rest)),
    )


def _card_maker(site: str, vocabulary: dict[str, Theme], language: str) -> Callable[[Placed], Card]:
    def places(codes: Iterable[str]) -> tuple[str, ...]:
        return tuple(place_name(code, language) for code in codes)

    def themes(slugs: Iterable[str]) -> tuple[str, ...]:
        return tuple(theme_name(vocabulary[slug], language) for slug in slugs if slug in vocabulary)

    def card(placed: Placed) -> Card:
        item = placed.item
        return Card(
            title=item.title,
            summary=item.summary,
            url=item.url or f"{site}/items/{item.id}",
            language=item.language,
            source=item.source,
            day=item.published_at.date(),
            places=places((*item.countries, *item.regions)),
            themes=themes(item.themes),
            because=places(placed.why.places) + themes(placed.why.themes),
        )

    return card


def digest_envelope(settings: Settings, list_row: Any, delivery: Claimed) -> Envelope:
    """The reader's few values of a digest."""
    mark = seal(settings.key, "delivery", delivery.id)
    return envelope(
        settings,
        list_row,
        delivery.subscription_id,
        to=(delivery.email, delivery.name),
        mark=f"digest.{mark}",
        bounce=mark,
        dated_at=delivery.dated_at,
        feedback=f"{delivery.run_id}:{list_row.slug}:digest:newsletter",
    )


def envelope(
    settings: Settings,
    list_row: Any,
    subscription_id: int,
    *,
    to: tuple[str, str],
    mark: str,
    bounce: str,
    dated_at: datetime,
    feedback: str,
) -> Envelope:
    """Addresses, identity and links of one message; the return path names it (VERP)."""
    domain = list_row.sender_email.rpartition("@")[2]
    key, site = settings.key, settings.site
    return Envelope(
        to_email=to[0],
        to_name=to[1],
        return_path=f"bounces+{bounce}@{domain}",
        message_id=f"{mark}@{domain}",
        dated_at=dated_at,
        unsubscribe_url=f"{site}/u/{make_token(key, 'unsubscribe', subscription_id)}",
        preferences_url=f"{site}/p/{make_token(key, 'preferences', subscription_id)}",
        confirm_url=f"{site}/c/{make_token(key, 'confirm', subscription_id)}",
        feedback_id=feedback,
    )
