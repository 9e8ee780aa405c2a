"""Double opt-in for an address from outside: by our form, or by a machine. Nobody learns whether it was known."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from newsletter.audience import notices
from newsletter.audience import subscribers as audience
from newsletter.audience.addresses import Address
from newsletter.audience.consents import Proof, note
from newsletter.audience.holding import hold
from newsletter.audience.picks import Picks
from newsletter.audience.schedule import Schedule
from newsletter.audience.suppressions import ERASED, suppressed
from newsletter.database import at_once
from newsletter.digests.calendar import next_due
from newsletter.errors import StateError
from newsletter.tables import subscribers, subscriptions
from subscribers.site import Site

TRIES = 10
"""So often an address may come and go under our hands: a thread of the site is not to be held for ever."""


@dataclass(frozen=True)
class Wish:
    """What somebody wants, and where they said so: ``source`` is a word for the consent history."""

    address: Address
    name: str
    language: str
    timezone: str
    picks: Picks
    schedule: Schedule
    source: str
    proof: Proof


def sign_up(site: Site, list_row: Any, wish: Wish, now: datetime) -> None:
    """Subscribe an address, or do what is right for one that is there, and never say which it was.

    Who is new or had left is asked to confirm; who has not confirmed yet is asked again, with the newer picks, though
    not twice in an hour; whoever is subscribed gets a mail with a link to their preferences; an address that must not
    be mailed gets none.

    Raises:
        StateError: the list is archived, or the address is changed again and again at this moment.
    """
    for _ in range(TRIES):
        # If neither, who was there has been forgotten or erased at this moment.
        if _enlisted(site, list_row, wish, now) or _answered(site, list_row, wish, now):
            return
    raise StateError("This address is being changed at this moment.", "Try again in a minute.")


def _enlisted(site: Site, list_row: Any, wish: Wish, now: datetime) -> bool:
    """Put an address on the list, as most are, without a look at how it stands with it; whether that was all to do."""
    with suppress(StateError), at_once(site.engine) as connection:
        audience.subscribe(
            connection,
            list_row.id,
            wish.address,
            wish.picks,
            wish.schedule,
            keys=site.keys,
            name=wish.name,
            language=wish.language,
            timezone=wish.timezone,
            cursor=None,
            due_at=None,
            source=wish.source,
            now=now,
            proof=wish.proof,
            by_reader=True,
        )
        return True
    return False


def _answered(site: Site, list_row: Any, wish: Wish, now: datetime) -> bool:
    """Do what is right for an address that is on the list, or must not be mailed; False if it is neither."""
    key = wish.address.key
    with site.engine.begin() as connection:
        is_there = hold(connection, subscribers.c.email_key == key)
        present = audience.standing(connection, list_row.id, wish.address)
        if present.archived_at is not None:
            raise StateError(f"The list {present.slug!r} is archived.")
        if not is_there or present.state not in audience.LIVE:
            # Who gave it is not told.
            return suppressed(connection, site.keys, [key]).get(key, ERASED) != ERASED
        kind: notices.Kind = "confirm" if present.state == "pending" else "known"
        if kind == "confirm":
            _ask_anew(connection, present, wish, now)
        notices.ask(connection, kind, subscriber_id=present.subscriber_id, list_id=list_row.id, now=now)
        return True


def _ask_anew(connection: Connection, present: Any, wish: Wish, now: datetime) -> None:
    """What somebody asked for last is what the mail asks them to confirm."""
    theirs = select(func.count()).where(subscriptions.c.subscriber_id == present.subscriber_id)
    # Language and zone belong to all of a reader's lists: what anybody can send must not change those.
    alone = connection.scalar(theirs) == 1
    audience.edit(
        connection,
        present,
        person={"language": wish.language, "timezone": wish.timezone} if alone else {},
        picks=wish.picks,
        schedule=wish.schedule,
        next_due=next_due,
        source=wish.source,
        now=now,
        proof=wish.proof,
    )
    note(connection, present.subscriber_id, present.list_id, "asked", wish.source, now, wish.proof)
