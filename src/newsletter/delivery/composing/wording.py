"""Notices in words: from a row to the message, with the links that it is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from newsletter.audience import moving
from newsletter.audience.links import LIFETIME, Purpose, make_expiring, make_token, seal
from newsletter.audience.notices import ADDRESS, REPORTS
from newsletter.audience.picks import Picks, load_profiles
from newsletter.catalogue.geography import countries_in, place_name
from newsletter.catalogue.themes import Theme, all_themes, descendants, theme_name
from newsletter.delivery.composing.shelves import Pages, card_of
from newsletter.delivery.composing.signatures import signed
from newsletter.delivery.reporting import report_of
from newsletter.digests import oversight
from newsletter.digests.matching import Index, Item
from newsletter.digests.runs import load_items
from newsletter.feedback.mailbox import SEAL_KIND, mailbox_of
from newsletter.languages import LANGUAGES
from newsletter.mail.compose import compose_notice
from newsletter.mail.letter import Card, Choices, Envelope, Masthead, Message, Notice, Report
from newsletter.mail.overriding import looks_of
from newsletter.settings import Settings
from newsletter.tables import lists, subscriptions

LATEST = 5
"""Items in a welcome, and in a report on a run that waits."""
LOOK_BACK = 1000
"""Positions among which they are looked for."""
OF_A_LIST = ("confirm", "welcome", "known")
EXPIRING: dict[str, Purpose] = {
    "confirm": "confirm",
    "account": "account",
    "address_old": "address",
    "address_new": "address",
}
"""Kinds whose link expires, and what it is for."""
PATHS: dict[Purpose, str] = {
    "unsubscribe": "u",
    "decline": "u",
    "preferences": "p",
    "confirm": "c",
    "account": "a",
    "address": "address",
}
"""Where on the site a link of each purpose leads."""


class Writer:
    """Writes the notices of one batch; what they share is read once."""

    def __init__(self, connection: Connection, settings: Settings, now: datetime) -> None:
        self._connection = connection
        self._settings = settings
        self._now = now
        self._list: Callable[[int], Any] = cache(self._read_list)
        self._vocabulary: Callable[[int], dict[str, Theme]] = cache(lambda number: all_themes(connection, number))
        self._run: Callable[[int], tuple[Report, Sequence[Item]]] = cache(
            lambda number: report_of(connection, number, LATEST)
        )
        self._index: Callable[[int], Index] = cache(self._read_index)

    def over(self, row: Any) -> str:
        """Why a notice (a row of ``notices.claim``) has nothing to say any more; empty if it has."""
        list_row, _ = self._origin(row)
        if list_row is None:
            return "There is no list that it could come from."
        if row.kind in OF_A_LIST and list_row.archived_at is not None:
            return "The list is archived."
        if row.kind in ADDRESS:
            change = moving.find(self._connection, row.data["number"], self._now)
            if change is None or change.state != "waiting" or change.is_confirmed:
                return "There is no such change of address any more."
        if row.kind in REPORTS:
            return self._report_over(row, list_row)
        return ""

    def _report_over(self, row: Any, list_row: Any) -> str:
        if row.email not in list_row.reports_to:
            return "The list does not report to this address any more."
        run = oversight.find_run(self._connection, row.data["run"])
        return "The run does not wait any more." if row.kind == "run_held" and run.state != "held" else ""

    def write(self, row: Any) -> tuple[str, Message]:
        """The slug of the list that it comes from, and the message.

        Written again it has the same Message-ID and Date. A link that expires is made anew each time, so that
        who gets the mail late has the whole time for it; but a change of address waits for a day and no longer.
        """
        list_row, subscription_id = self._origin(row)
        looks = looks_of(self._settings)
        look = looks.of(list_row, row.kind)
        until = self._until(row)
        zone = ZoneInfo(row.timezone or list_row.timezone)
        # Its sentences are there in any of ours; what language digests come in is the list's affair.
        language = row.language if row.language in LANGUAGES else list_row.languages[0]
        picks = load_profiles(self._connection, [row.profile_id])[row.profile_id] if row.profile_id else None
        notice = Notice(
            kind=row.kind,
            masthead=Masthead(
                language,
                list_row.name,
                list_row.slug,
                list_row.sender_name,
                list_row.sender_email,
                list_row.postal_address,
                look,
            ),
            description=list_row.description,
            action_url=self._action_url(row, list_row, subscription_id, until),
            choices=self._choices(row, picks, language) if picks else None,
            until=until.astimezone(zone) if until else None,
            next_at=row.next_at.astimezone(zone) if row.next_at and row.frequency != "immediate" else None,
            latest=self._latest(row, picks, list_row, language),
            new_address=row.data["email"] if row.kind == "address_old" else "",
            paused=row.state == "paused",
            everywhere=row.list_id is None,
            report=self._run(row.data["run"])[0] if row.kind in REPORTS else None,
        )

        def made() -> tuple[str, Message]:
            message = compose_notice(notice, self._envelope(row, list_row, subscription_id))
            return list_row.slug, signed(self._settings, message, _domain(list_row), self._now)

        return looks.made(look, row.kind, made, lambda: self.write(row))

    def _until(self, row: Any) -> datetime | None:
        """When the link of a notice stops working; None if it works for ever."""
        purpose = EXPIRING.get(row.kind)
        if purpose is None:
            return None
        return (row.asked_at if row.kind in ADDRESS else self._now) + LIFETIME[purpose]

    def _read_list(self, list_id: int) -> Any:
        return self._connection.execute(select(lists).where(lists.c.id == list_id)).one()

    def _origin(self, row: Any) -> tuple[Any, int | None]:
        """The list that a notice comes from, and the reader's subscription there; None for what there is not.

        Its own list, else one of the reader's, best one that goes out.
        """
        if row.list_id is not None:
            return self._list(row.list_id), row.subscription_id
        theirs = self._connection.execute(
            select(lists.c.id.label("list_id"), subscriptions.c.id)
            .join(subscriptions, subscriptions.c.list_id == lists.c.id)
            .where(subscriptions.c.subscriber_id == row.subscriber_id)
            .order_by(lists.c.archived_at.is_not(None), subscriptions.c.state == "unsubscribed", subscriptions.c.id)
            .limit(1)
        ).one_or_none()
        return (None, None) if theirs is None else (self._list(theirs.list_id), theirs.id)

    def _url(self, purpose: Purpose, token: str) -> str:
        return f"{self._settings.site}/{PATHS[purpose]}/{token}"

    def _lasting(self, purpose: Purpose, number: int) -> str:
        return self._url(purpose, make_token(self._settings.key, purpose, number))

    def _action_url(self, row: Any, list_row: Any, subscription_id: int | None, until: datetime | None) -> str:
        if row.kind == "goodbye":
            return f"{self._settings.site}/{list_row.slug}"
        if until is None:
            return self._lasting("preferences", subscription_id) if subscription_id else ""
        purpose = EXPIRING[row.kind]
        number = {"confirm": row.subscription_id, "account": row.subscriber_id}.get(row.kind) or row.data["number"]
        return self._url(purpose, make_expiring(self._settings.key, purpose, number, until))

    def _envelope(self, row: Any, list_row: Any, subscription_id: int | None) -> Envelope:
        """The return path names the notice (VERP), and so does the Message-ID.

        One click ends the subscription; at an address that is no subscriber's, or not yet, only what this is about.
        """
        mark = seal(self._settings.key, "notice", row.id)
        theirs = None if row.email else subscription_id
        return Envelope(
            to_email=row.email or row.own_email,
            # Anybody can enter an address, and any text as its reader's name.
            to_name="",
            return_path=f"bounces+n{mark}@{_domain(list_row)}",
            message_id=f"notice.{mark}@{_domain(list_row)}",
            dated_at=row.dated_at,
            unsubscribe_url=self._lasting("unsubscribe", theirs) if theirs else self._lasting("decline", row.id),
            preferences_url=self._lasting("preferences", theirs) if theirs else "",
            feedback_id=f"0:{list_row.slug}:{row.kind.replace('_', '-')}:newsletter",
            leave_mail=self._leave_mail(theirs) if theirs else "",
        )

    def _leave_mail(self, subscription_id: int) -> str:
        mailbox = mailbox_of(self._settings)
        return mailbox.announced(seal(self._settings.key, SEAL_KIND, subscription_id)) if mailbox else ""

    def _choices(self, row: Any, picks: Picks, language: str) -> Choices:
        vocabulary = self._vocabulary(row.list_id)
        themes = picks.columns()["themes"]
        places = (*picks.columns()["countries"], *picks.columns()["regions"])
        return Choices(
            places=tuple(place_name(code, language) for code in places),
            themes=tuple(theme_name(vocabulary[slug], language) for slug in themes if slug in vocabulary),
            frequency=row.frequency,
            hour=row.hour,
            weekday=row.weekday,
            timezone=row.timezone,
        )

    def _latest(self, row: Any, picks: Picks | None, list_row: Any, language: str) -> tuple[Card, ...]:
        """The newest items: for a welcome those that fit and that no digest will bring any more; of a run its own."""
        found: Sequence[Item] = ()
        if row.kind == "welcome" and list_row.welcomes and picks:
            index = self._index(list_row.id)
            found = [item for item in index.of(index.fitting(picks)) if item.position <= row.cursor]
        elif row.kind == "run_held":
            _, found = self._run(row.data["run"])
        vocabulary = self._vocabulary(list_row.id)
        pages = Pages(self._settings.site, self._settings.key)
        return tuple(card_of(item, list_row, vocabulary, pages, language) for item in found[: -LATEST - 1 : -1])

    def _read_index(self, list_id: int) -> Index:
        upper = self._list(list_id).last_position
        vocabulary = self._vocabulary(list_id)
        found = load_items(self._connection, list_id, upper - LOOK_BACK, upper)
        return Index(found, countries_in, lambda slug: descendants(vocabulary, slug))


def _domain(list_row: Any) -> str:
    return str(list_row.sender_email).rpartition("@")[2]
