"""What somebody with these picks would have received lately, before they subscribe. Nothing is written for it.

The items of the last weeks are kept in the process, ready to be matched and set, and read anew when they change.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from threading import Lock
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, select

from newsletter.audience.picks import Picks
from newsletter.catalogue.geography import countries_in
from newsletter.catalogue.themes import all_themes, descendants
from newsletter.delivery.composing.shelves import SHELF_COLUMNS, Pages, Shelf
from newsletter.digests.matching import Index, Item
from newsletter.digests.runs import as_item
from newsletter.mail.letter import Envelope, Message
from newsletter.mail.look import Look
from newsletter.mail.overriding import Looks
from newsletter.tables import items, lists, themes

WEEK = timedelta(days=7)
REACH = timedelta(days=28)
"""How far back a sample looks, if the last week brought nothing."""
MOST_ITEMS = 20_000
MOST_SHOWN = 200
"""Items of a sample digest, the newest first: beyond that nobody reads."""
CHECKED_FOR = timedelta(seconds=2)
"""How long what was read is taken for true, without asking the database whether it changed."""
READ_FOR = timedelta(hours=1)
LISTS_KEPT = 50


@dataclass(frozen=True)
class Sample:
    """What would have come: how many items in the last week and in the last four."""

    week: int
    month: int


@dataclass
class _Recent:
    """A list's items of the last weeks, and the shelf that they are set on."""

    state: tuple[Any, ...]
    read_at: datetime
    checked_at: datetime
    index: Index
    dates: list[tuple[datetime, int]]
    """When each was published and its place in the index, oldest first."""
    shelf: Shelf
    lock: Lock = field(default_factory=Lock)
    last: tuple[datetime, int] | None = None

    def since(self, moment: datetime) -> int:
        """The mask of what was published after ``moment``, to the minute."""
        minute = moment.replace(second=0, microsecond=0)
        if self.last is None or self.last[0] != minute:
            mask = 0
            for _, number in self.dates[bisect_right(self.dates, (minute, -1)) :]:
                mask |= 1 << number
            self.last = minute, mask
        return self.last[1]


class Samples:
    """Samples of any list. It lives as long as its process, and may be asked from several threads."""

    def __init__(self, pages: Pages, looks: Looks) -> None:
        """``pages``: of items."""
        self._pages = pages
        self._looks = looks
        self._lists: dict[int, _Recent] = {}

    def count(self, connection: Connection, list_row: Any, picks: Picks, now: datetime) -> Sample:
        """How many items fit these picks."""
        recent = self._recent(connection, list_row, now)
        fitting = recent.index.fitting(picks)
        return Sample((fitting & recent.since(now - WEEK)).bit_count(), fitting.bit_count())

    def digest(
        self,
        connection: Connection,
        list_row: Any,
        picks: Picks,
        *,
        language: str,
        frequency: str,
        timezone: str,
        now: datetime,
    ) -> str | None:
        """The HTML of one digest of the last week's items, or of the last four weeks' if it had none; None
        if there is nothing to show. Its links to preferences and leaving lead to the list's own page."""
        recent = self._recent(connection, list_row, now)
        mask = recent.index.fitting(picks)
        chosen = list(_newest(recent.index, mask & recent.since(now - WEEK) or mask, MOST_SHOWN))
        if not chosen:
            return None
        # A profile that is in no database: its picks give it a number that none there has.
        number = -1 - int(picks.key[:15], 16)
        # The shelf grows by what is asked of it.
        with recent.lock:
            for item in chosen:
                if item.id not in recent.shelf.revisions:
                    recent.shelf.put(item, 1)
            ids = [item.id for item in reversed(chosen)]
            profile = recent.shelf.masks([number], lambda _: {number: picks})[number]
            # Whatever follows it, as /mute does, the link is to the page.
            page = f"{self._pages.site}/{list_row.slug}#"
            envelope = Envelope(
                to_email=list_row.sender_email,
                to_name="",
                return_path=list_row.sender_email,
                message_id=f"sample@{recent.shelf.domain}",
                dated_at=now,
                unsubscribe_url=page,
                preferences_url=page,
                feedback_id="0:sample:sample:newsletter",
            )
            day = now.astimezone(ZoneInfo(timezone)).date()
            message: Message | None
            try:
                groups, rest = recent.shelf.arranged(ids, profile, language)
                message = recent.shelf.frame(language).compose(groups, rest, day, frequency, envelope)
            except Exception as error:
                if not self._looks.failed(recent.shelf.look, "digest", error):
                    raise
                self._lists.pop(list_row.id, None)
                message = None
        if message is None:
            return self.digest(
                connection, list_row, picks, language=language, frequency=frequency, timezone=timezone, now=now
            )
        body = message_from_bytes(message.content, policy=policy.default).get_body(("html",))
        assert body is not None
        return str(body.get_content())

    def _recent(self, connection: Connection, list_row: Any, now: datetime) -> _Recent:
        known = self._lists.get(list_row.id)
        if known is not None and abs(now - known.checked_at) < CHECKED_FOR:
            return known
        look = self._looks.of(list_row, "digest")
        state = *_state(connection, list_row), look
        if known is not None and known.state == state and abs(now - known.read_at) < READ_FOR:
            known.checked_at = now
            return known
        found = self._lists[list_row.id] = _read(connection, list_row, state, self._pages, now, look)
        for number in list(self._lists)[: max(0, len(self._lists) - LISTS_KEPT)]:
            self._lists.pop(number, None)
        return found


def _newest(index: Index, mask: int, most: int) -> Iterator[Item]:
    for _ in range(most):
        if not mask:
            return
        highest = mask.bit_length() - 1
        yield index.items[highest]
        mask ^= 1 << highest


def _state(connection: Connection, list_row: Any) -> tuple[Any, ...]:
    """What is another when an item came, was revised or withdrawn, or the list or its vocabulary changed."""
    row = connection.execute(
        select(func.max(items.c.position), func.max(items.c.revised_at), func.count(items.c.withdrawn_at)).where(
            items.c.list_id == list_row.id
        )
    ).one()
    entries = connection.execute(
        select(themes.c.slug, themes.c.names, themes.c.parent_slug)
        .where(themes.c.list_id == list_row.id)
        .order_by(themes.c.slug)
    ).all()
    return tuple(row), tuple(getattr(list_row, name) for name in SHELF_COLUMNS), tuple(map(tuple, entries))


def _read(
    connection: Connection, list_row: Any, state: tuple[Any, ...], pages: Pages, now: datetime, look: Look
) -> _Recent:
    rows = connection.execute(
        select(*(items.c[name] for name in Item.__slots__))
        .where(items.c.list_id == list_row.id, items.c.withdrawn_at.is_(None), items.c.published_at > now - REACH)
        .order_by(items.c.position.desc())
        .limit(MOST_ITEMS)
    ).all()
    found = [as_item(row) for row in reversed(rows)]
    vocabulary = all_themes(connection, list_row.id)
    row = connection.execute(select(*(lists.c[name] for name in SHELF_COLUMNS)).where(lists.c.id == list_row.id)).one()
    return _Recent(
        state=state,
        read_at=now,
        checked_at=now,
        index=Index(found, countries_in, lambda slug: descendants(vocabulary, slug)),
        dates=sorted((item.published_at, number) for number, item in enumerate(found)),
        shelf=Shelf(row, state[2], pages, look),
    )
