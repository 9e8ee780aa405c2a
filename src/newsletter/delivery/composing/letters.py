"""From rows to messages: a batch of deliveries is read in a few queries, then each is composed without any."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, func, select

from newsletter.audience.links import make_token, seal
from newsletter.audience.picks import load_profiles
from newsletter.database import IDS, Among, reading
from newsletter.delivery.composing.shelves import SHELF_COLUMNS, Arranged, Pages, Shelf
from newsletter.delivery.composing.signatures import signed
from newsletter.delivery.outbox import Claimed
from newsletter.digests.matching import Item
from newsletter.digests.runs import as_item
from newsletter.feedback.mailbox import SEAL_KIND, mailbox_of
from newsletter.mail.letter import Envelope, Message
from newsletter.mail.overriding import looks_of
from newsletter.settings import Settings
from newsletter.tables import editions, items, lists, runs, themes

SHELVES_KEPT = 50
EDITION_BYTES_KEPT = 8_000_000
NOTES_KEPT = 100
BYTES_KEPT = 64_000_000
"""Of items and cards, roughly, in a process. Reached with many lists or languages: see ``shelves.GENERATION``."""

# What Python keeps of an edition, and of each id in it, in bytes.
_EDITION, _ID = 250, 40

_LISTS = select(*(lists.c[name] for name in SHELF_COLUMNS)).where(Among(lists.c.id, IDS))
_THEMES = (
    select(themes.c.list_id, themes.c.slug, themes.c.names, themes.c.parent_slug)
    .where(Among(themes.c.list_id, IDS))
    .order_by(themes.c.list_id, themes.c.slug)
)
_EDITIONS = select(editions.c.id, editions.c.language, editions.c.item_ids).where(Among(editions.c.id, IDS))
_NOTES = select(runs.c.id, runs.c.notes, runs.c.approved_at, runs.c.needs_approval).where(Among(runs.c.id, IDS))
_EDITS = select(func.sum(items.c.revision), func.count(items.c.withdrawn_at)).where(Among(items.c.id, IDS))
_REVISIONS = select(items.c.id, items.c.revision, items.c.withdrawn_at).where(Among(items.c.id, IDS))
_ITEMS = select(*(items.c[name] for name in (*Item.__slots__, "revision", "withdrawn_at"))).where(
    Among(items.c.id, IDS)
)


_Editions = Mapping[int, tuple[str, tuple[int, ...]]]
"""Language and items of each."""


@dataclass(slots=True, eq=False)
class _Job:
    """What composing needs of a delivery, and of those of its batch that are alike."""

    shelf: Shelf
    language: str
    item_ids: tuple[int, ...]
    mask: int
    note: str
    shared: bool = False
    arranged: Arranged | None = None
    """The items as the digests show them, if several do and one is made."""


class Copy(NamedTuple):
    """A digest to read in a browser: a whole page of HTML, or nothing if every item was withdrawn."""

    html: str
    language: str
    withdrawn: int
    """How many items of it were withdrawn by now, and are left out."""


class Letters:
    """Composes deliveries. It lives as long as its process: what it keeps is bounded, and edits are noticed."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._key = settings.key
        self._site = settings.site
        self._mailbox = mailbox_of(settings)
        self._looks = looks_of(settings)
        self._shelves: dict[int, Shelf] = {}
        self._editions: dict[int, tuple[str, tuple[int, ...]]] = {}
        self._notes: dict[int, dict[str, str]] = {}
        self._jobs: dict[tuple[int, datetime], _Job] = {}
        """By delivery and the moment of the claim that it was prepared for: the next may be of fewer items."""

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
        job = self._jobs.get((delivery.id, delivery.claimed_at))
        if job is None:
            with reading(self._engine) as connection:
                job = self._prepared(connection, delivery)
        return self._looks.made(
            job.shelf.look, "digest", lambda: self._compose(delivery, job), lambda: self._compose_afresh(delivery)
        )

    def _compose_afresh(self, delivery: Claimed) -> Message | None:
        del self._jobs[delivery.id, delivery.claimed_at]
        return self.compose(delivery)

    def compose_unassembled(
        self, connection: Connection, delivery: Claimed, language: str, item_ids: Sequence[int]
    ) -> Message | None:
        """The message of a delivery that is not in the database, of these items."""
        job = self._prepared(connection, delivery, {delivery.edition_id: (language, tuple(item_ids))})
        return self._looks.made(
            job.shelf.look,
            "digest",
            lambda: self._compose(delivery, job),
            lambda: self.compose_unassembled(connection, delivery, language, item_ids),
        )

    def copy(self, connection: Connection, delivery: Claimed) -> Copy:
        """A delivery as anybody may read it: without its reader's links, and without what was withdrawn by now."""
        job = self._prepared(connection, delivery)
        shelf, language = job.shelf, job.language
        chosen = tuple(number for number in job.item_ids if number not in shelf.withdrawn)
        withdrawn = len(job.item_ids) - len(chosen)
        if not chosen:
            return Copy("", language, withdrawn)

        def made() -> Copy:
            groups, rest = shelf.arranged(chosen, job.mask, language)
            day = _day(delivery.slot, delivery.timezone)
            return Copy(shelf.frame(language).copy(groups, rest, day, job.note), language, withdrawn)

        return self._looks.made(shelf.look, "digest", made, lambda: self.copy(connection, delivery))

    def _compose(self, delivery: Claimed, job: _Job) -> Message | None:
        shelf = job.shelf
        chosen = job.item_ids
        gone = shelf.withdrawn
        if gone and not gone.keys().isdisjoint(chosen):
            claimed_at = delivery.claimed_at
            chosen = tuple(number for number in chosen if gone.get(number, claimed_at) >= claimed_at)
            if not chosen:
                return None
        if job.shared and chosen is job.item_ids:
            if job.arranged is None:
                job.arranged = shelf.arranged(chosen, job.mask, job.language)
                for group in job.arranged[0]:
                    group.share()
            groups, rest = job.arranged
        else:
            groups, rest = shelf.arranged(chosen, job.mask, job.language)
        mark = seal(self._key, "delivery", delivery.id)
        letter = digest_envelope(self._key, self._site, shelf, delivery, mark)
        if self._mailbox is not None:
            letter.leave_mail = self._mailbox.announced(seal(self._key, SEAL_KIND, delivery.subscription_id))
        day = _day(delivery.slot, delivery.timezone)
        message = shelf.frame(job.language).compose(groups, rest, day, delivery.frequency, letter, job.note)
        return signed(self._settings, message, shelf.domain, delivery.dated_at)

    def _prepared(self, connection: Connection, delivery: Claimed, unassembled: _Editions | None = None) -> _Job:
        self._prepare(connection, [delivery], unassembled or {})
        return self._jobs[delivery.id, delivery.claimed_at]

    def _prepare(
        self,
        connection: Connection,
        claimed: Sequence[Claimed],
        unassembled: _Editions,
    ) -> None:
        self._read_shelves(connection, {delivery.list_id for delivery in claimed})
        # What is prepared and still waits is as it was, unless its list was edited.
        jobs = {} if unassembled else self._jobs
        self._jobs = {}
        wanted: dict[int, set[int]] = {delivery.list_id: set() for delivery in claimed}
        fresh = []
        for delivery in claimed:
            key = delivery.id, delivery.claimed_at
            job = jobs.get(key)
            if job is None or job.shelf is not self._shelves[delivery.list_id]:
                fresh.append(delivery)
                continue
            job.arranged = None
            self._jobs[key] = job
            wanted[delivery.list_id].update(job.item_ids)
        chosen = dict(unassembled) | self._read_editions(
            connection, {delivery.edition_id for delivery in fresh} - unassembled.keys()
        )
        profiles: dict[int, set[int]] = {}
        for delivery in fresh:
            wanted[delivery.list_id].update(chosen[delivery.edition_id][1])
            profiles.setdefault(delivery.list_id, set()).add(delivery.profile_id)
        for list_id, shelf in self._shelves.items():
            _read_items(connection, shelf, wanted.get(list_id, set()))
        masks = {
            list_id: self._shelves[list_id].masks(ids, lambda missing: load_profiles(connection, missing))
            for list_id, ids in profiles.items()
        }
        notes = self._read_notes(connection, {delivery.run_id for delivery in fresh})
        alike: dict[tuple[int, int], _Job] = {}
        for delivery in fresh:
            same = delivery.edition_id, delivery.profile_id
            job = alike.get(same)
            if job is None:
                language, ids = chosen[delivery.edition_id]
                note = notes[delivery.run_id].get(language, "")
                mask = masks[delivery.list_id][delivery.profile_id]
                job = alike[same] = _Job(self._shelves[delivery.list_id], language, ids, mask, note)
            else:
                job.shared = True
            self._jobs[delivery.id, delivery.claimed_at] = job
        _forget(self._shelves, wanted)

    def _read_shelves(self, connection: Connection, ids: set[int]) -> None:
        found = connection.execute(_LISTS, {"ids": ids}).all()
        entries: dict[int, list[tuple[Any, ...]]] = {list_id: [] for list_id in ids}
        for list_id, *entry in connection.execute(_THEMES, {"ids": ids}):
            entries[list_id].append(tuple(entry))
        for row in found:
            shelf = self._shelves.get(row.id)
            look = self._looks.of(row, "digest")
            if shelf is None or shelf.row != tuple(row) or shelf.entries != entries[row.id] or shelf.look != look:
                self._shelves.pop(row.id, None)
                self._shelves[row.id] = Shelf(row, entries[row.id], Pages(self._site, self._key), look)

    def _read_notes(self, connection: Connection, ids: set[int]) -> dict[int, dict[str, str]]:
        """The editors' notes of these runs, by language. They stand fast once a run is sent, and are kept then."""
        found = {number: self._notes[number] for number in ids if number in self._notes}
        if missing := ids - found.keys():
            # A run that is only tried out is not in the database.
            found |= {number: {} for number in missing}
            for row in connection.execute(_NOTES, {"ids": missing}):
                found[row.id] = row.notes
                if row.approved_at or not row.needs_approval:
                    self._notes[row.id] = row.notes
            _drop_oldest(self._notes, NOTES_KEPT, lambda _: 1)
        return found

    def _read_editions(self, connection: Connection, ids: set[int]) -> dict[int, tuple[str, tuple[int, ...]]]:
        found = {number: self._editions[number] for number in ids if number in self._editions}
        missing = ids - found.keys()
        if missing:
            for number, language, item_ids in connection.execute(_EDITIONS, {"ids": missing}).all():
                found[number] = self._editions[number] = language, tuple(item_ids)
            _drop_oldest(self._editions, EDITION_BYTES_KEPT, lambda edition: _EDITION + _ID * len(edition[1]))
        return found


def _read_items(connection: Connection, shelf: Shelf, ids: set[int]) -> None:
    """Bring the items of a shelf up to date: those that are new to it, and those edited since."""
    stale = ids - shelf.revisions.keys()
    known = ids - stale
    if known and not _as_known(connection, shelf, known):
        for number, revision, withdrawn_at in connection.execute(_REVISIONS, {"ids": known}):
            if revision != shelf.revisions[number]:
                stale.add(number)
            shelf.withdraw(number, withdrawn_at)
    if stale:
        for row in connection.execute(_ITEMS, {"ids": stale}):
            shelf.put(as_item(row), row.revision)
            shelf.withdraw(row.id, row.withdrawn_at)


def _as_known(connection: Connection, shelf: Shelf, ids: set[int]) -> bool:
    """Whether none of these items was edited: revisions only grow, and what was withdrawn stays so."""
    revisions = sum([shelf.revisions[number] for number in ids])
    return connection.execute(_EDITS, {"ids": ids}).one() == (revisions, len(shelf.withdrawn.keys() & ids))


def _forget(shelves: dict[int, Shelf], wanted: Mapping[int, set[int]]) -> None:
    """Drop of what is kept, until it is little enough, lists and items that are not wanted now, then cards that are."""
    held = sum(shelf.held for shelf in shelves.values())
    for list_id in [known for known in shelves if known not in wanted]:
        if held <= BYTES_KEPT and len(shelves) <= SHELVES_KEPT:
            break
        held -= shelves.pop(list_id).held
    for list_id, shelf in shelves.items():
        if held > BYTES_KEPT:
            held -= shelf.age()
        for number in list(shelf.revisions) if held > BYTES_KEPT else ():
            if held <= BYTES_KEPT:
                break
            if number not in wanted.get(list_id, ()):
                held -= shelf.drop(number)
        # Once more for what was asked for in this generation, too.
        if held > BYTES_KEPT:
            held -= shelf.age()


def _drop_oldest(kept: dict[Any, Any], most: int, size: Callable[[Any], int]) -> None:
    """Drop what was put there first, until the sizes of the others come to ``most``."""
    held = sum(map(size, kept.values()))
    for key in list(kept) if held > most else ():
        if held <= most:
            break
        held -= size(kept.pop(key))


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
        # One that is only tried out has no number.
        copy_url=f"{site}/d/{make_token(key, 'copy', delivery.id)}" if delivery.id else "",
    )
