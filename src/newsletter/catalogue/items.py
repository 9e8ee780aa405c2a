"""Items: publish, revise, retag, withdraw. A position is given once, under the lock of the list's row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, insert, select, update

from newsletter.catalogue.tagging import add_tags, drop_tags, lock_item, move_tags
from newsletter.errors import InputError, UnknownName
from newsletter.tables import items, lists

TAGS = ("countries", "regions", "themes")
Text = tuple[str, str, str]
"""Title, summary and body of an item."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An item on its way in: texts cleaned, tags as codes; without ``published_at``, published now.

    ``image``: the URL of a picture. ``left_out``: why the picture that came with it is not one, or nothing.
    """

    title: str
    summary: str
    language: str
    body: str = ""
    url: str | None = None
    external_id: str | None = None
    source: str = ""
    published_at: datetime | None = None
    countries: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    themes: tuple[str, ...] = ()
    image: str | None = None
    image_alt: str = ""
    left_out: str = ""

    @property
    def goes_by_title(self) -> bool:
        """Whether title and date are all that it is known by."""
        return not (self.external_id or self.url)

    @property
    def is_undated(self) -> bool:
        """Whether only title and text tell what it is, as in a printed newsletter."""
        return self.goes_by_title and self.published_at is None

    @property
    def text(self) -> Text:
        """Title, summary and body."""
        return self.title, self.summary, self.body

    def key(self, now: datetime) -> str:
        """What makes it the same item when it comes again: its id, else its URL, else title and date.

        The date of one that has none is the day on which it is published.
        """
        if self.external_id:
            identity = f"id {self.external_id}"
        elif self.url:
            identity = f"url {self.url}"
        else:
            day = (self.published_at or now).astimezone(UTC).date().isoformat()
            identity = f"title {day} {self.title.casefold()}"
        return hashlib.sha256(identity.encode()).hexdigest()


@dataclass(slots=True)
class Saved:
    """How many items were new, revised, or there already just so; which were none of these, and are not saved."""

    added: int = 0
    revised: int = 0
    unchanged: int = 0
    ambiguous: list[Draft] = field(default_factory=list)
    """Known by title and date only, with another text than came under them in the same import, or, without a date, on
    the same day: a correction, or another item."""
    keys: set[str] = field(default_factory=set)
    """Of all that are saved now."""


def save_items(
    connection: Connection, list_id: int, drafts: Sequence[Draft], now: datetime, seen: set[str] | None = None
) -> Saved:
    """Publish new items and revise those that come again changed; a revision keeps its position.

    The list's row stays locked until the transaction ends, so that positions become visible in order
    (promise 1): whoever reads position 8 will not find 7 appear later. An item that was withdrawn stays so.

    ``seen``: the keys of those that go by title, of the same import so far, for one that comes in several batches;
    those of this batch are added.
    """
    saved = Saved()
    seen = set() if seen is None else seen
    # Not its key: whoever retags holds an item, and then has the list's row looked up for the new tag.
    last = connection.scalar(select(lists.c.last_position).where(lists.c.id == list_id).with_for_update(key_share=True))
    position = last = last or 0
    latest = _by_key(connection, list_id, drafts, now, saved)
    # Locked, as an editor may be retagging one of them: what is kept of the tags depends on theirs.
    known = select(items).where(items.c.list_id == list_id, items.c.key.in_(latest)).with_for_update()
    present = {row.key: row for row in connection.execute(known)}
    fresh = []
    for key, draft in latest.items():
        row = present.get(key)
        if row is None:
            position += 1
            fresh.append(_columns(draft, now) | {"list_id": list_id, "key": key, "position": position})
        elif (draft.is_undated or key in seen) and draft.text != (row.title, row.summary, row.body):
            saved.ambiguous.append(draft)
            continue
        elif _revise(connection, row, draft, now):
            saved.revised += 1
        else:
            saved.unchanged += 1
        saved.keys.add(key)
        if draft.goes_by_title:
            seen.add(key)
    if fresh:
        connection.execute(insert(items), [row | {"created_at": now, "revised_at": now} for row in fresh])
        add_tags(connection, fresh)
        connection.execute(update(lists).where(lists.c.id == list_id).values(last_position=position))
    saved.added = len(fresh)
    return saved


def _by_key(
    connection: Connection, list_id: int, drafts: Sequence[Draft], now: datetime, saved: Saved
) -> dict[str, Draft]:
    """Drafts by key, the later in place of the earlier; what came before, undated, has the key that it got then."""
    known = _known_texts(connection, list_id, [draft.title for draft in drafts if draft.is_undated])
    latest: dict[str, Draft] = {}
    for draft in drafts:
        key = (known.get(draft.text) if draft.is_undated else None) or draft.key(now)
        if key in latest and draft.goes_by_title and latest[key].text != draft.text:
            saved.ambiguous.append(draft)
            continue
        saved.unchanged += key in latest
        latest[key] = draft
    return latest


def _known_texts(connection: Connection, list_id: int, titles: Sequence[str]) -> dict[Text, str]:
    """The keys of items with these titles and neither id nor URL, by their whole text; the latest of each."""
    if not titles:
        return {}
    statement = (
        select(items.c.title, items.c.summary, items.c.body, items.c.key)
        .where(items.c.list_id == list_id, items.c.external_id.is_(None), items.c.url.is_(None))
        .where(items.c.title.in_(set(titles)))
        .order_by(items.c.position)
    )
    return {(row.title, row.summary, row.body): row.key for row in connection.execute(statement)}


def _columns(draft: Draft, now: datetime) -> dict[str, Any]:
    values = {name: getattr(draft, name) for name in Draft.__slots__ if name != "left_out"}
    values |= {tag: list(values[tag]) for tag in TAGS}
    values["published_at"] = draft.published_at or now
    return values


def _revise(connection: Connection, row: Any, draft: Draft, now: datetime) -> bool:
    """Bring a locked row up to date; whether that changed anything.

    An editor's tags stay until the source says others.
    """
    if row.withdrawn_at is not None:
        return False
    values = _columns(draft, row.published_at)
    said = {kind: values[kind] for kind in TAGS}
    before = row.source_tags or {kind: getattr(row, kind) for kind in TAGS}
    values |= {kind: getattr(row, kind) for kind in TAGS if said[kind] == before[kind]}
    changed = any(getattr(row, name) != value for name, value in values.items())
    if changed:
        values |= {"revision": row.revision + 1, "revised_at": now}
    if row.source_tags is not None:
        values["source_tags"] = said
    if changed or said != before:
        move_tags(connection, row, values)
        connection.execute(update(items).where(items.c.id == row.id).values(**values))
    return changed


def retag(connection: Connection, item_id: int, tags: dict[str, list[str]], now: datetime) -> bool:
    """Set some of countries, regions and themes anew; whether that changed anything.

    The position stays: readers whose cursor has not passed it are matched by the new tags, unless an open digest of
    theirs covers it, which stays as it was made. What the source said is kept beside them, so that it can be told
    whether it says something else when the item comes again.
    """
    locked = lock_item(connection, item_id)
    row = find_item(connection, item_id)
    if all(getattr(row, kind) == value for kind, value in tags.items()):
        return False
    said = row.source_tags or {kind: getattr(row, kind) for kind in TAGS}
    move_tags(connection, locked, tags)
    connection.execute(
        update(items)
        .where(items.c.id == item_id)
        .values(**tags, source_tags=said, revision=items.c.revision + 1, revised_at=now)
    )
    return True


def withdraw(connection: Connection, item_id: int, now: datetime) -> bool:
    """Take an item out of every digest that is not yet sent; whether it was still in."""
    row = lock_item(connection, item_id)
    find_item(connection, item_id)
    if row.withdrawn_at is not None:
        return False
    drop_tags(connection, row)
    connection.execute(update(items).where(items.c.id == item_id).values(withdrawn_at=now))
    return True


def find_item(connection: Connection, item_id: int) -> Any:
    """An item with its list's slug.

    Raises:
        UnknownName: there is none of this number.
    """
    row = connection.execute(
        select(items, lists.c.slug).join(lists, lists.c.id == items.c.list_id).where(items.c.id == item_id)
    ).one_or_none()
    if row is None:
        raise UnknownName(f"There is no item {item_id}. `newsletter items list` shows those there are.")
    return row


def find_by_key(connection: Connection, list_id: int, key: str) -> Any:
    """The item of a list that a draft of this key is."""
    return connection.execute(select(items).where(items.c.list_id == list_id, items.c.key == key)).one()


def identify_item(connection: Connection, text: str, list_id: int | None) -> Any:
    """An item by its number, its own id, or its URL; ``list_id``: the list that it has to be of, whichever it is.

    Raises:
        UnknownName: there is none.
        InputError: there are several.
    """
    called = (items.c.external_id == text) | (items.c.url == text)
    if text.isascii() and text.isdigit() and len(text) < 19:
        called |= items.c.id == int(text)
    statement = select(items, lists.c.slug).join(lists, lists.c.id == items.c.list_id).where(called)
    if list_id is not None:
        statement = statement.where(items.c.list_id == list_id)
    rows = connection.execute(statement.order_by(items.c.id).limit(4)).all()
    if len(rows) == 1:
        return rows[0]
    if rows:
        raise InputError(
            f"More than one item is called {text!r}: {'; '.join(map(item_name, rows[:3]))}.",
            "Name the list with --list, or the item by another of number, id and URL; 07 is number 7 and not the id 7.",
        )
    where = "" if list_id is None else " on this list"
    raise UnknownName(f"There is no item {text!r}{where}. `newsletter items list` shows those there are.")


def day_of(published_at: datetime, timezone: str) -> date:
    """The day that an item is of where its list is. What was given as a day stands at midnight in UTC, and is of it."""
    at = published_at.astimezone(UTC)
    return at.date() if at.time() == time() else at.astimezone(ZoneInfo(timezone)).date()


def item_name(row: Any) -> str:
    """What people are told an item by: number, title and list; ``row`` as of ``find_item``."""
    return f"{row.id} {row.title!r} of {row.slug}"


def select_items(
    connection: Connection,
    list_id: int,
    *,
    place: Iterable[str] = (),
    theme: frozenset[str] = frozenset(),
    withdrawn: bool = False,
    limit: int = 50,
) -> Iterator[Any]:
    """The latest items of a list by position, newest first; ``place``: countries and regions, any of them."""
    statement = select(items).where(items.c.list_id == list_id).order_by(items.c.position.desc())
    if not withdrawn:
        statement = statement.where(items.c.withdrawn_at.is_(None))
    wanted = frozenset(place)
    fitting = (
        row
        for row in connection.execute(statement.execution_options(yield_per=500))
        if (not wanted or wanted & {*row.countries, *row.regions}) and (not theme or theme & {*row.themes})
    )
    yield from islice(fitting, limit)
