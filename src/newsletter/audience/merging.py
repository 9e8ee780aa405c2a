"""Merging imported rows into a list: a batch at a time, in sets, by address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from newsletter.audience import notices
from newsletter.audience.addresses import Address
from newsletter.audience.consents import agreed, consent_hash
from newsletter.audience.links import Keys
from newsletter.audience.picks import Picks, load_profiles, parse_picks, profile_ids
from newsletter.audience.schedule import NextDue, Schedule
from newsletter.audience.subscribers import LIVE, PERSON, reschedule
from newsletter.audience.suppressions import suppressed
from newsletter.database import insert
from newsletter.tables import consents, subscribers, subscriptions

SCHEDULE = ("frequency", "hour", "weekday")


@dataclass(frozen=True)
class ImportContext:
    """What holds for a whole import; ``keys``: all secret keys.

    ``confirmed``: consent was given elsewhere, no mail asks for it. ``proven``: ``source`` or ``consent_at`` was
    given for this import, so that it proves the consent of each row that has no evidence of its own.
    """

    list_row: Any
    find_place: Callable[[str], str]
    find_theme: Callable[[str], str]
    next_due: NextDue
    source: str
    consent_at: datetime
    cursor: int
    now: datetime
    confirmed: bool
    keys: Keys
    proven: bool = False


@dataclass
class Progress:
    """Rows read, and what became of them; a row folded into a later one of its address counts as merged.

    ``confirmed``: pending until now, activated by the consent that the row brings. ``unsubscribed``: by the file's
    word. ``left``: had left before, or is marked in the file as somebody who gets no mail.
    """

    read: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    confirmed: int = 0
    unsubscribed: int = 0
    merged: int = 0
    suppressed: int = 0
    left: int = 0
    bad: int = 0


OUTCOMES = ("added", "changed", "unchanged", "confirmed", "unsubscribed", "suppressed", "left")
"""The numbers that writing makes; the others come from reading."""


@dataclass(frozen=True)
class Row:
    """A row understood; None is what the file does not say. ``state``: active, unsubscribed or waiting."""

    address: Address
    name: str | None
    language: str | None
    timezone: str | None
    places: tuple[str, ...] | None
    themes: tuple[str, ...] | None
    item_languages: tuple[str, ...] | None
    frequency: str | None
    hour: int | None
    weekday: int | None
    state: str | None
    consent_at: datetime | None
    source: str | None


def merge(connection: Connection, context: ImportContext, rows: Mapping[str, Row], progress: Progress) -> None:
    """Merge a batch of rows, by address key, into the list; counts what became of each in ``progress``."""
    if not rows:
        return
    blocked = suppressed(connection, context.keys, rows)
    present = _present(connection, context.list_row.id, rows)
    profiles = load_profiles(connection, sorted({old.profile_id for old in present.values() if old.profile_id}))
    fresh: list[Row] = []
    changes = _Changes()
    for key, row in rows.items():
        old = present.get(key)
        state = old.state if old is not None else None
        if old is not None and row.state == "unsubscribed" and state in LIVE:
            changes.end(row, old, profiles[old.profile_id], context)
            outcome = "unsubscribed"
        elif key in blocked:
            outcome = "suppressed"
        elif row.state in ("unsubscribed", "waiting") or state == "unsubscribed":
            outcome = "left"
        elif old is None or state is None:
            fresh.append(row)
            changes.add_person(row, old)
            outcome = "added"
        else:
            outcome = changes.add(row, old, profiles[old.profile_id], context)
        setattr(progress, outcome, getattr(progress, outcome) + 1)
    changes.write_people(connection)
    _insert(connection, context, fresh, present)
    changes.write(connection, context)


def _present(connection: Connection, list_id: int, rows: Mapping[str, Row]) -> dict[str, Any]:
    statement = (
        select(
            subscribers.c.id.label("subscriber_id"),
            subscribers.c.email_key,
            subscribers.c.name,
            subscribers.c.language,
            subscribers.c.timezone,
            subscriptions.c.id,
            subscriptions.c.state,
            subscriptions.c.profile_id,
            subscriptions.c.frequency,
            subscriptions.c.hour,
            subscriptions.c.weekday,
        )
        .outerjoin(
            subscriptions,
            (subscriptions.c.subscriber_id == subscribers.c.id) & (subscriptions.c.list_id == list_id),
        )
        .where(subscribers.c.email_key.in_(rows))
    )
    return {row.email_key: row for row in connection.execute(statement)}


def _picks(row: Row, context: ImportContext, old: Picks | None) -> Picks:
    # Names were resolved when the row was read; here codes only find themselves.
    read = parse_picks(row.places or (), (), row.themes or (), row.item_languages or (), lambda c: c, lambda s: s)
    if old is None:
        return read
    return Picks(
        read.countries if row.places is not None else old.countries,
        read.regions if row.places is not None else old.regions,
        read.themes if row.themes is not None else old.themes,
        read.languages if row.item_languages is not None else old.languages,
    )


@dataclass
class _Changes:
    """What a batch changes of people and subscriptions that are there."""

    people: list[dict[str, Any]] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)  # people whose zone is another now
    schedules: list[tuple[dict[str, Any], Picks]] = field(default_factory=list)
    due: list[dict[str, Any]] = field(default_factory=list)
    activated: list[dict[str, Any]] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)

    def add_person(self, row: Row, old: Any) -> bool:
        """Note what ``row`` says of the person; whether it is new."""
        if old is None:
            return False
        person = {name: getattr(row, name) or getattr(old, name) for name in PERSON}
        if all(getattr(old, name) == value for name, value in person.items()):
            return False
        self.people.append({"row_id": old.subscriber_id, **{f"new_{k}": v for k, v in person.items()}})
        if person["timezone"] != old.timezone:
            self.moved.append(old.subscriber_id)
        return True

    def add(self, row: Row, old: Any, picks: Picks, context: ImportContext) -> str:
        """Note what ``row`` changes of a subscription; the outcome."""
        other_person = self.add_person(row, old)
        schedule = {n: getattr(old, n) if getattr(row, n) is None else getattr(row, n) for n in SCHEDULE}
        wanted = _picks(row, context, picks)
        other_schedule = any(getattr(old, name) != value for name, value in schedule.items())
        if other_schedule or wanted != picks:
            self.schedules.append(({"row_id": old.id, **schedule}, wanted))
        due_at = _due(context, schedule, row.timezone or old.timezone)
        proof = context.proven or row.consent_at or row.source
        if old.state == "pending" and context.confirmed and proof:
            self.activated.append({"row_id": old.id, "new_due_at": due_at})
            self.notes.append(_note(old.subscriber_id, context, row, "imported", agreed(wanted, Schedule(**schedule))))
            return "confirmed"
        if not (other_person or other_schedule or wanted != picks):
            return "unchanged"
        if other_schedule:
            self.due.append({"row_id": old.id, "new_due_at": due_at})
        self.notes.append(_note(old.subscriber_id, context, row, "changed", agreed(wanted, Schedule(**schedule))))
        return "changed"

    def end(self, row: Row, old: Any, picks: Picks, context: ImportContext) -> None:
        """Note that the file says of somebody to have left."""
        self.ended.append(old.id)
        had = agreed(picks, Schedule(*(getattr(old, name) for name in SCHEDULE)))
        evidence = (context.now, context.source)
        self.notes.append(_consent(old.subscriber_id, context, row, "unsubscribed", evidence, had))

    def write_people(self, connection: Connection) -> None:
        """Write what changes of people."""
        if self.people:
            connection.execute(
                update(subscribers)
                .where(subscribers.c.id == bindparam("row_id"))
                .values({name: bindparam(f"new_{name}") for name in PERSON}),
                self.people,
            )

    def write(self, connection: Connection, context: ImportContext) -> None:
        """Write what changes of subscriptions. States are asked for again: a reader may have left meanwhile."""
        one = update(subscriptions).where(subscriptions.c.id == bindparam("row_id"))
        if self.ended:
            connection.execute(
                update(subscriptions)
                .where(subscriptions.c.id.in_(self.ended))
                .values(state="unsubscribed", due_at=None, paused_until=None)
            )
        if self.schedules:
            ids = profile_ids(connection, {picks for _, picks in self.schedules})
            connection.execute(
                one.values({name: bindparam(f"new_{name}") for name in (*SCHEDULE, "profile_id")}),
                [
                    {"row_id": values["row_id"], **{f"new_{name}": values[name] for name in SCHEDULE}}
                    | {"new_profile_id": ids[picks]}
                    for values, picks in self.schedules
                ],
            )
        if self.due:
            statement = one.where(subscriptions.c.state == "active").values(due_at=bindparam("new_due_at"))
            connection.execute(statement, self.due)
        if self.activated:
            connection.execute(
                one.where(subscriptions.c.state == "pending").values(state="active", due_at=bindparam("new_due_at")),
                self.activated,
            )
        if self.moved:
            reschedule(connection, self.moved, context.next_due, context.now)
        if self.notes:
            connection.execute(insert(connection, consents), self.notes)


def _due(context: ImportContext, schedule: Mapping[str, Any], timezone: str) -> datetime:
    return context.next_due(schedule["frequency"], schedule["hour"], schedule["weekday"], timezone, context.now)


def _note(subscriber_id: int, context: ImportContext, row: Row, event: str, picks: Mapping[str, Any]) -> dict[str, Any]:
    at = context.now if event == "changed" else row.consent_at or context.consent_at
    return _consent(subscriber_id, context, row, event, (at, row.source or context.source), picks)


def _consent(
    subscriber_id: int,
    context: ImportContext,
    row: Row,
    event: str,
    evidence: tuple[datetime, str],
    picks: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "subscriber_id": subscriber_id,
        "list_id": context.list_row.id,
        "at": evidence[0],
        "event": event,
        "source": evidence[1],
        "address_hash": consent_hash(context.keys, row.address.key),
        "picks": picks,
    }


def _insert(connection: Connection, context: ImportContext, rows: Sequence[Row], present: Mapping[str, Any]) -> None:
    if not rows:
        return
    list_row, now = context.list_row, context.now
    newcomers = [row for row in rows if row.address.key not in present]
    if newcomers:
        connection.execute(
            # Somebody may sign up with one of these at this moment.
            insert(connection, subscribers).on_conflict_do_nothing(),
            [
                {
                    "email": row.address.email,
                    "email_key": row.address.key,
                    "name": row.name or "",
                    "language": row.language or list_row.languages[0],
                    "timezone": row.timezone or list_row.timezone,
                    "created_at": now,
                }
                for row in newcomers
            ],
        )
    keys = [row.address.key for row in rows]
    people = {
        found.email_key: found
        for found in connection.execute(select(subscribers).where(subscribers.c.email_key.in_(keys)))
    }
    picks = {row.address.key: _picks(row, context, None) for row in rows}
    ids = profile_ids(connection, set(picks.values()))
    made, notes = [], []
    event = "imported" if context.confirmed else "asked"
    for row in rows:
        person = people[row.address.key]
        schedule = {
            name: getattr(list_row, name) if getattr(row, name) is None else getattr(row, name) for name in SCHEDULE
        }
        wanted = picks[row.address.key]
        notes.append(_note(person.id, context, row, event, agreed(wanted, Schedule(**schedule))))
        made.append(
            {
                "list_id": list_row.id,
                "subscriber_id": person.id,
                "profile_id": ids[wanted],
                "state": "active" if context.confirmed else "pending",
                **schedule,
                "start": context.cursor,
                "cursor": context.cursor,
                "due_at": _due(context, schedule, person.timezone) if context.confirmed else None,
                "created_at": now,
            }
        )
    new = insert(connection, subscriptions).on_conflict_do_nothing().returning(subscriptions.c.subscriber_id)
    ids_made = set(connection.scalars(new, made))
    written = [note for note in notes if note["subscriber_id"] in ids_made]
    if written:
        connection.execute(insert(connection, consents), written)
    if not context.confirmed:
        notices.ask_all(connection, "confirm", sorted(ids_made), list_id=list_row.id, now=now)
