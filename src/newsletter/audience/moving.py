"""Changing one's address: asked for, confirmed at both ends within 24 hours, then it holds on every list.

Nobody learns here whether an address is known: one that is taken or suppressed is asked for like any other, gets no
mail that confirms it, and so the change never comes about.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from newsletter.audience import notices
from newsletter.audience.accounts import ask_link, pretend
from newsletter.audience.addresses import Address
from newsletter.audience.consents import Proof, consent_hash, note
from newsletter.audience.holding import hold
from newsletter.audience.links import LIFETIME, Keys
from newsletter.audience.suppressions import suppressed
from newsletter.errors import InputError, StateError
from newsletter.tables import address_changes, subscribers, subscriptions
from newsletter.tables import notices as table

End = Literal["old", "new"]
Outcome = Literal["waiting", "done", "gone"]
"""``waiting`` for the other end; ``done``, now or before; ``gone``: too late, given up, or not possible any more."""
SOURCE = "change of address, confirmed at both ends"
AT_MOST = 3
"""Changes that one subscriber can ask for within ``notices.PAUSE``: each sends a mail to an address that they name."""
KEPT = 7 * LIFETIME["address"]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of address as one of its ends sees it."""

    id: int
    end: End
    subscriber_id: int
    language: str
    old_email: str
    new_email: str
    is_confirmed: bool
    """Whether this end has confirmed."""
    state: Outcome


def number_of(change_id: int, end: End) -> int:
    """What a token for ``address`` names: a change, and the end that confirms with it."""
    return 2 * change_id + (end == "new")


def ask(connection: Connection, keys: Keys, subscriber_id: int, address: Address, now: datetime) -> None:
    """Ask for another address: a mail goes to each end. An earlier change that is not finished is given up.

    The notices ``address_old`` and ``address_new`` carry in ``data`` the ``number`` for a token of purpose
    ``address``, and the new ``email``.

    Raises:
        InputError: it is the address that they have.
        StateError: they asked for several just now.
    """
    person = connection.execute(select(subscribers).where(subscribers.c.id == subscriber_id)).one()
    if address.email == person.email:
        raise InputError(f"{address.email} is your address already.")
    mine = address_changes.c.subscriber_id == subscriber_id
    lately = select(func.count()).where(mine, address_changes.c.asked_at > now - notices.PAUSE)
    if (connection.scalar(lately) or 0) >= AT_MOST:
        raise StateError(
            "You asked for several changes of address just now.", "Open the latest mails, or wait an hour."
        )
    owner = connection.scalar(select(subscribers.c.id).where(subscribers.c.email_key == address.key))
    is_free = False
    # Before anything is written: who is erased at this moment takes along the changes of others to their address.
    if owner is not None and owner != subscriber_id:
        # Theirs, perhaps, from another time: a link to it is what helps.
        ask_link(connection, address, now)
    elif suppressed(connection, keys, [address.key]):
        pretend(connection, now)
    else:
        is_free = True
    connection.execute(update(address_changes).where(mine, address_changes.c.closed_at.is_(None)).values(closed_at=now))
    values = {"subscriber_id": subscriber_id, "email": address.email, "email_key": address.key, "asked_at": now}
    made = connection.execute(address_changes.insert().values(values).returning(address_changes.c.id)).scalar_one()
    _tell(connection, subscriber_id, made, "old", address.email, now)
    if is_free:
        _tell(connection, subscriber_id, made, "new", address.email, now)


def _tell(connection: Connection, subscriber_id: int, change_id: int, end: End, email: str, now: datetime) -> None:
    notices.ask(
        connection,
        "address_old" if end == "old" else "address_new",
        subscriber_id=subscriber_id,
        list_id=None,
        now=now,
        email=email if end == "new" else None,
        data={"number": number_of(change_id, end), "email": email},
        pause=None,
    )


def find(connection: Connection, number: int, now: datetime) -> Change | None:
    """The change that a token's number names, for the page that asks; None if there is none any more."""
    row = connection.execute(
        select(address_changes, subscribers.c.email.label("old_email"), subscribers.c.language)
        .join(subscribers, subscribers.c.id == address_changes.c.subscriber_id)
        .where(address_changes.c.id == number // 2, subscribers.c.erased_at.is_(None))
    ).one_or_none()
    if row is None:
        return None
    end: End = "new" if number % 2 else "old"
    confirmed = {"old": row.old_confirmed_at, "new": row.new_confirmed_at}
    state: Outcome = "gone"
    if all(confirmed.values()) and row.closed_at is not None and row.old_email == row.email:
        state = "done"
    elif row.closed_at is None and now <= row.asked_at + LIFETIME["address"]:
        state = "waiting"
    return Change(
        id=row.id,
        end=end,
        subscriber_id=row.subscriber_id,
        language=row.language,
        old_email=row.old_email,
        new_email=row.email,
        is_confirmed=confirmed[end] is not None,
        state=state,
    )


def confirm(
    connection: Connection, keys: Keys, number: int, now: datetime, proof: Proof | None = None
) -> tuple[Outcome, Change | None]:
    """Confirm at one end; with both, the address changes. Doing it again changes nothing.

    The change that comes with the outcome is as it was before.
    """
    # Two ends that confirm at one moment must not each take the other for missing.
    whose = select(address_changes.c.subscriber_id).where(address_changes.c.id == number // 2)
    hold(connection, subscribers.c.id == whose.scalar_subquery())
    # Who is erased takes along the changes of others to that address.
    connection.execute(select(address_changes.c.id).where(address_changes.c.id == number // 2).with_for_update())
    change = find(connection, number, now)
    if change is None or change.state != "waiting":
        return (change.state if change else "gone"), change
    column = address_changes.c.old_confirmed_at if change.end == "old" else address_changes.c.new_confirmed_at
    row = connection.execute(
        update(address_changes)
        .where(address_changes.c.id == change.id)
        .values({column: func.coalesce(column, now)})
        .returning(address_changes)
    ).one()
    if row.old_confirmed_at is None or row.new_confirmed_at is None:
        return "waiting", change
    done = _move(connection, keys, row, now, proof)
    connection.execute(
        update(address_changes).where(address_changes.c.id == change.id).values(closed_at=now)
        if done
        else delete(address_changes).where(address_changes.c.id == change.id)
    )
    return ("done" if done else "gone"), change


def give_up(connection: Connection, number: int, now: datetime) -> bool:
    """End a change that is not finished, at the word of either end; False if there is none any more."""
    open_still = (address_changes.c.id == number // 2, address_changes.c.closed_at.is_(None))
    change = find(connection, number, now)
    if change is None or change.state != "waiting":
        return False
    return connection.execute(update(address_changes).where(*open_still).values(closed_at=now)).rowcount == 1


def _move(connection: Connection, keys: Keys, row: Any, now: datetime, proof: Proof | None) -> bool:
    """Write the new address, unless somebody has it by now or it must not be mailed."""
    if suppressed(connection, keys, [row.email_key]):
        return False
    values = {"email": row.email, "email_key": row.email_key, "suppressed_at": None}
    values |= {"failed_at": None, "failure_code": None, "failure": None}  # of the old address
    try:
        with connection.begin_nested():
            connection.execute(update(subscribers).where(subscribers.c.id == row.subscriber_id).values(values))
    except IntegrityError:
        return False
    proof = proof or Proof()
    moved = Proof(consent_hash(keys, row.email_key), proof.network, proof.page, proof.wording)
    left = subscriptions.c.state == "unsubscribed"
    lists = select(subscriptions.c.list_id).where(subscriptions.c.subscriber_id == row.subscriber_id, ~left)
    for list_id in connection.scalars(lists.order_by(subscriptions.c.list_id)).all():
        note(connection, row.subscriber_id, list_id, "changed", SOURCE, now, moved)
    return True


def forget_old(connection: Connection, now: datetime) -> None:
    """Delete what is over, and the mails that named it: an address that somebody named may belong to a person who has
    nothing to do with us."""
    connection.execute(delete(table).where(table.c.kind.in_(notices.ADDRESS), table.c.asked_at < now - KEPT))
    connection.execute(delete(address_changes).where(address_changes.c.asked_at < now - KEPT))
