"""From rows to messages: a batch of deliveries is read in a few queries, then each is composed without any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, select

from newsletter.audience.links import make_token, seal
from newsletter.audience.picks import load_profiles
from newsletter.database import among, reading
from newsletter.delivery.outbox import Claimed
from newsletter.delivery.shelves import SHELF_COLUMNS, Shelf
from newsletter.delivery.signatures import signed
from newsletter.digests.matching import Item
from newsletter.digests.runs import as_item
from newsletter.feedback.mailbox import SEAL_KIND, mailbox_of
from newsletter.mail.letter import Envelope, Message
from newsletter.settings import Settings
from newsletter.tables import editions, items, lists, themes

SHELVES_KEPT = 50
EDITIONS_KEPT = 2000
BYTES_KEPT = 44_000_000
"""Of items and cards, roughly, in a process. Reached with many lists only: see ``shelves.GENERATION``."""
MANY = 500


class _Job(NamedTuple):
    """What composing a delivery needs."""

    claim: str
    shelf: Shelf
    language: str
    item_ids: tuple[int, ...]
    mask: int


class Letters:
    """Composes deliveries. It lives as long as its process: what it keeps is bounded, and edits are noticed."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._key = settings.key
        self._site = settings.site
        self._mailbox = mailbox_of(settings)
        self._shelves: dict[int, Shelf] = {}
        self._editions: dict[int, tuple[str, tuple[int, ...]]] = {}
        self._jobs: dict[int, _Job] = {}

    def prepare(self, connection: Connection, claimed: Sequence[Claimed]) -> None:
        """Read what these deliveries need, in a few queries; what was prepared before is forgotten.

        Lists, vocabularies and items that were edited since the last time are read anew. An item that was
        withdrawn before a delivery was claimed is left out of it; one withdrawn later was too late.
        """
        self._prepare(connection, claimed, {})

    def compose(self, delivery: Claimed) -> Message | None:
        """The message of a delivery, or None if every item was withdrawn before it was claimed.

        The same bytes each time, as long as templates, texts and the reader's own data stay as they are.
        No database is asked if it was prepared.
        """
        job = self._jobs.get(delivery.id)
        if job is None or job.claim != delivery.claim:
            with reading(self._engine) as connection:
                self._prepare(connection, [delivery], {})
            job = self._jobs[delivery.id]
        return self._compose(delivery, job)

    def compose_unassembled(
        self, connection: Connection, delivery: Claimed, language: str, item_ids: Sequence[int]
    ) -> Message | None:
        """The message of a delivery that is not in the database, of these items."""
        self._prepare(connection, [delivery], {delivery.edition_id: (language, tuple(item_ids))})
        return self._compose(delivery, self._jobs[delivery.id])

    def _compose(self, delivery: Claimed, job: _Job) -> Message | None:
        shelf = job.shelf
        chosen = job.item_ids
        gone = shelf.withdrawn
        if gone and not gone.keys().isdisjoint(chosen):
            claimed_at = delivery.claimed_at
            chosen = tuple(number for number in chosen if gone.get(number, claimed_at) >= claimed_at)
            if not chosen:
                return None
        groups, rest = shelf.arranged(chosen, job.mask, job.language)
        mark = seal(self._key, "delivery", delivery.id)
        letter = digest_envelope(self._key, self._site, shelf, delivery, mark)
        if self._mailbox is not None:
            letter.leave_mail = self._mailbox.announced(seal(self._key, SEAL_KIND, delivery.subscription_id))
        day = _day(delivery.slot, delivery.timezone)
        message = shelf.frame(job.language).compose(groups, rest, day, delivery.frequency, letter)
        return signed(self._settings, message, shelf.domain, delivery.dated_at)

    def _prepare(
        self,
        connection: Connection,
        claimed: Sequence[Claimed],
        unassembled: Mapping[int, tuple[str, tuple[int, ...]]],
    ) -> None:
        self._read_shelves(connection, {delivery.list_id for delivery in claimed})
        chosen = dict(unassembled) | self._read_editions(
            connection, {delivery.edition_id for delivery in claimed} - unassembled.keys()
        )
        wanted: dict[int, set[int]] = {}
        profiles: dict[int, set[int]] = {}
        for delivery in claimed:
            wanted.setdefault(delivery.list_id, set()).update(chosen[delivery.edition_id][1])
            profiles.setdefault(delivery.list_id, set()).add(delivery.profile_id)
        for list_id, shelf in self._shelves.items():
            _read_items(connection, shelf, wanted.get(list_id, set()))
        self._jobs = {}
        masks = {
            list_id: self._shelves[list_id].masks(ids, lambda missing: load_profiles(connection, missing))
            for list_id, ids in profiles.items()
        }
        for delivery in claimed:
            language, ids = chosen[delivery.edition_id]
            mask = masks[delivery.list_id][delivery.profile_id]
            self._jobs[delivery.id] = _Job(delivery.claim, self._shelves[delivery.list_id], language, ids, mask)
        _forget(self._shelves, wanted)

    def _read_shelves(self, connection: Connection, ids: set[int]) -> None:
        found = connection.execute(select(*(lists.c[name] for name in SHELF_COLUMNS)).where(lists.c.id.in_(ids))).all()
        entries: dict[int, list[tuple[Any, ...]]] = {list_id: [] for list_id in ids}
        columns = (themes.c.list_id, themes.c.slug, themes.c.names, themes.c.parent_slug)
        for list_id, *entry in connection.execute(
            select(*columns).where(themes.c.list_id.in_(ids)).order_by(themes.c.list_id, themes.c.slug)
        ):
            entries[list_id].append(tuple(entry))
        for row in found:
            shelf = self._shelves.get(row.id)
            if shelf is None or shelf.row != tuple(row) or shelf.entries != entries[row.id]:
                self._shelves.pop(row.id, None)
                self._shelves[row.id] = Shelf(row, entries[row.id], self._site)

    def _read_editions(self, connection: Connection, ids: set[int]) -> dict[int, tuple[str, tuple[int, ...]]]:
        found = {number: self._editions[number] for number in ids if number in self._editions}
        for part in _parts(ids - found.keys()):
            statement = select(editions.c.id, editions.c.language, editions.c.item_ids).where(
                among(connection, editions.c.id, part)
            )
            for number, language, item_ids in connection.execute(statement):
                found[number] = self._editions[number] = language, tuple(item_ids)
        _drop_oldest(self._editions, EDITIONS_KEPT)
        return found


def _read_items(connection: Connection, shelf: Shelf, ids: set[int]) -> None:
    """Bring the items of a shelf up to date: those that are new to it, and those revised since."""
    stale = ids - shelf.revisions.keys()
    for part in _parts(ids & shelf.revisions.keys()):
        statement = select(items.c.id, items.c.revision, items.c.withdrawn_at).where(
            among(connection, items.c.id, part)
        )
        for number, revision, withdrawn_at in connection.execute(statement):
            if revision != shelf.revisions[number]:
                stale.add(number)
            shelf.withdraw(number, withdrawn_at)
    columns = [items.c[name] for name in (*Item.__slots__, "revision", "withdrawn_at")]
    for part in _parts(stale):
        for row in connection.execute(select(*columns).where(among(connection, items.c.id, part))):
            shelf.put(as_item(row), row.revision)
            shelf.withdraw(row.id, row.withdrawn_at)


def _forget(shelves: dict[int, Shelf], wanted: Mapping[int, set[int]]) -> None:
    """Drop the oldest of what is kept, until it is little enough: what is not wanted now, then cards that are."""
    held = sum(shelf.held for shelf in shelves.values())
    for list_id in [known for known in shelves if known not in wanted]:
        if held <= BYTES_KEPT and len(shelves) <= SHELVES_KEPT:
            break
        held -= shelves.pop(list_id).held
    for list_id, shelf in shelves.items():
        for number in list(shelf.revisions) if held > BYTES_KEPT else ():
            if held <= BYTES_KEPT:
                break
            if number not in wanted.get(list_id, ()):
                held -= shelf.drop(number)
        # Twice for what was asked for in this generation, too.
        for _ in range(2):
            if held > BYTES_KEPT:
                held -= shelf.age()


def _drop_oldest(kept: dict[Any, Any], most: int) -> None:
    for key in list(kept)[: max(0, len(kept) - most)]:
        del kept[key]


def _parts(values: Iterable[int]) -> Iterator[list[int]]:
    ordered = sorted(values)
    return (ordered[start : start + MANY] for start in range(0, len(ordered), MANY))


@lru_cache(maxsize=2000)
def _day(slot: datetime, timezone: str) -> date:
    return slot.astimezone(ZoneInfo(timezone)).date()


def digest_envelope(key: str, site: str, shelf: Shelf, delivery: Claimed, mark: str) -> Envelope:
    """The reader's few values of a digest."""
    return Envelope(
        delivery.email,
        delivery.name,
        f"bounces+{mark}@{shelf.domain}",
        f"digest.{mark}@{shelf.domain}",
        delivery.dated_at,
        f"{site}/u/{make_token(key, 'unsubscribe', delivery.subscription_id)}",
        f"{site}/p/{make_token(key, 'preferences', delivery.subscription_id)}",
        f"{delivery.run_id}:{shelf.slug}:digest:newsletter",
    )
