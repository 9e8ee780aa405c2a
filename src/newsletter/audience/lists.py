"""Lists: the newsletters that people subscribe to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from newsletter.audience.addresses import parse_address
from newsletter.controls import CONTROL
from newsletter.errors import InputError, StateError, UnknownName
from newsletter.languages import LANGUAGES
from newsletter.resembling import nearest
from newsletter.slugs import check_list_slug
from newsletter.tables import items, lists, subscriptions

LONGEST: Mapping[str, int] = {"name": 200, "sender_name": 200, "postal_address": 500, "description": 2000}
"""Texts of a list, and how many characters each may have: they stand in headers and in every mail."""

CHOICES: Mapping[str, tuple[str, ...]] = {"style": ("full", "compact"), "sections": ("country", "theme")}
"""How digests of a list are laid out; the first is what a list begins with."""


def create_list(connection: Connection, values: Mapping[str, Any], now: datetime) -> None:
    """Make a list; ``values`` are columns of the table.

    Raises:
        InputError: the slug or a value is not usable.
        StateError: there is one of this slug.
    """
    slug = check_list_slug(values["slug"])
    if connection.scalar(select(lists.c.id).where(lists.c.slug == slug)):
        raise StateError(f"There is a list {slug!r} already.", f"See `newsletter lists show {slug}`.")
    connection.execute(insert(lists).values(**_checked(values), created_at=now))


def edit_list(connection: Connection, slug: str, values: Mapping[str, Any]) -> None:
    """Change columns of a list; what is absent from ``values`` stays."""
    row = find_list(connection, slug)
    if values:
        connection.execute(update(lists).where(lists.c.id == row.id).values(**_checked(values)))


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    checked = dict(values)
    if "sender_email" in values:
        address = parse_address(values["sender_email"])
        if not address.email.isascii():
            raise InputError("The sender's address must be ASCII.", "Some relays and readers take no other (RFC 6532).")
        checked["sender_email"] = address.email
    for name in LONGEST:
        if name in values:
            checked[name] = _text(name, values[name])
    if "reports_to" in values:
        found = {address.key: address.email for address in map(parse_address, filter(None, values["reports_to"]))}
        checked["reports_to"] = list(found.values())
    if "languages" in values and not values["languages"]:
        raise InputError("The list has no language.", f"Give at least one of {', '.join(LANGUAGES)}.")
    if "max_items" in values and not 1 <= values["max_items"] <= 200:
        raise InputError("A digest shows 1 to 200 items.")
    for name, choices in CHOICES.items():
        if name in values and values[name] not in choices:
            raise InputError(f"--{name} cannot be {values[name]!r}.", f"It is {' or '.join(choices)}.")
    return checked


def _text(name: str, value: str) -> str:
    called, text = f"The list's {name.replace('_', ' ')}", value.strip()
    if not text and name != "description":
        raise InputError(f"{called} is empty.", "Every mail shows it.")
    if len(text) > LONGEST[name]:
        raise InputError(f"{called} has {len(text)} characters.", f"It may have {LONGEST[name]}.")
    if CONTROL.search(text):
        raise InputError(f"{called} holds a line end or control character.", "Write it on one line of plain text.")
    return text


def find_list(connection: Connection, slug: str) -> Any:
    """A list by its slug.

    Raises:
        UnknownName: there is none; with suggestions.
    """
    row = connection.execute(select(lists).where(lists.c.slug == slug)).one_or_none()
    if row is None:
        known = connection.execute(select(lists.c.slug, lists.c.name).order_by(lists.c.slug)).all()
        near = nearest(slug, {row.name: row.slug for row in known} | {row.slug: row.slug for row in known})
        if near or not known:
            raise UnknownName(f"There is no list {slug!r}.", near)
        slugs = ", ".join(row.slug for row in known[:8])
        raise UnknownName(f"There is no list {slug!r}; there {'is' if len(known) == 1 else 'are'} {slugs}.")
    return row


def open_list(connection: Connection, slug: str) -> Any:
    """A list that is not archived.

    Raises:
        UnknownName: there is none.
        StateError: it is archived.
    """
    row = find_list(connection, slug)
    if row.archived_at is not None:
        raise StateError(f"The list {slug!r} is archived.", f"`newsletter lists archive {slug} --undo` opens it again.")
    return row


def all_lists(connection: Connection) -> Sequence[Any]:
    """Every list with its numbers of active subscriptions and of items, by slug."""
    readers = (
        select(func.count())
        .where(subscriptions.c.list_id == lists.c.id, subscriptions.c.state == "active")
        .scalar_subquery()
    )
    stories = (
        select(func.count()).where(items.c.list_id == lists.c.id, items.c.withdrawn_at.is_(None)).scalar_subquery()
    )
    return connection.execute(
        select(lists, readers.label("readers"), stories.label("stories")).order_by(lists.c.slug)
    ).all()


def sending_domains(connection: Connection) -> dict[str, str]:
    """The domain that mails of each list come from, by slug; archived lists are left out."""
    rows = connection.execute(select(lists.c.slug, lists.c.sender_email).where(lists.c.archived_at.is_(None)))
    return {row.slug: row.sender_email.rpartition("@")[2] for row in rows}


def archive_list(connection: Connection, slug: str, now: datetime | None) -> None:
    """Stop a list, or with None open it again. Nothing is deleted."""
    row = find_list(connection, slug)
    connection.execute(update(lists).where(lists.c.id == row.id).values(archived_at=now))
