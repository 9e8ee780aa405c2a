"""Subscribing through the site. From outside it looks the same whether or not an address is there already."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import IntegrityError

from newsletter.audience import notices
from newsletter.audience import subscribers as audience
from newsletter.audience.addresses import Address, parse_address
from newsletter.audience.consents import Proof, consent_hash, network_of
from newsletter.digests.calendar import next_due
from newsletter.errors import InputError, StateError
from newsletter.tables import subscriptions
from subscribers.picking import PicksForm, Problem
from subscribers.rendering import say, strings
from subscribers.site import Site

LONGEST_ADDRESS = 254
"""RFC 5321, 4.5.3.1.3: a path has 256 characters with its angle brackets."""


@dataclass(frozen=True)
class Applicant:
    """Who wants to subscribe, as it was typed; ``address`` is None if that is none."""

    email: str = ""
    name: str = ""
    address: Address | None = None
    errors: Mapping[str, Problem] = field(default_factory=dict)


def read_applicant(pairs: Sequence[tuple[str, Any]]) -> Applicant:
    """Address and name from a form that was sent, with what is wrong with either."""
    sent = {name: value for name, value in pairs if isinstance(value, str)}
    email, name = sent.get("email", "").strip(), sent.get("name", "")
    errors: dict[str, Problem] = {}
    address = None
    if not email:
        errors["email"] = Problem("email_missing")
    else:
        try:
            if len(email) > LONGEST_ADDRESS:
                raise InputError("The address is too long.")
            address = parse_address(email)
        except InputError:
            errors["email"] = Problem("email_wrong")
    try:
        name = audience.check_name(name)
    except InputError:
        errors["name"] = Problem("name_wrong")
    return Applicant(email[:LONGEST_ADDRESS], name[:200], address, errors)


def wording(language: str, list_row: Any) -> str:
    """What a reader agrees to by subscribing, word by word."""
    return say(language, "consent", list=list_row.name, sender=list_row.sender_name)


def page_version(language: str) -> str:
    """Which version of the words the page had: it changes when they do."""
    said = strings()[language]
    text = "\0".join(f"{key}={said[key]}" for key in sorted(said) if key.startswith(("consent", "subscribe", "picks")))
    return f"subscribe-{language}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Wish:
    """What somebody wants, in which language, where (a word for the consent history), and from which IP address."""

    applicant: Applicant
    form: PicksForm
    language: str
    source: str
    host: str | None


def sign_up(site: Site, list_row: Any, wish: Wish, now: datetime) -> None:
    """Subscribe an address, or do what is right for one that is there: nobody outside learns which it was.

    Who is new or had left is asked to confirm; who has not confirmed yet is asked again, with the new picks;
    whoever is subscribed gets a mail with a link to their preferences; an address that must not be mailed gets none.
    """
    try:
        _sign_up(site, list_row, wish, now)
    except IntegrityError:
        # Somebody else was faster with the same address: now it is there.
        _sign_up(site, list_row, wish, now)


def _sign_up(site: Site, list_row: Any, wish: Wish, now: datetime) -> None:
    address, keys = wish.applicant.address, site.settings.keys
    assert address is not None
    proof = Proof(
        address_hash=consent_hash(keys, address.key),
        network=network_of(wish.host),
        page=page_version(wish.language),
        wording=wording(wish.language, list_row),
    )
    with site.engine.begin() as connection:
        present = next(
            (row for row in audience.subscriptions_of(connection, address.email) if row.list_id == list_row.id), None
        )
        if present is None or present.state == "unsubscribed":
            try:
                audience.subscribe(
                    connection,
                    list_row.id,
                    address,
                    wish.form.picks,
                    wish.form.schedule,
                    keys=keys,
                    name=wish.applicant.name,
                    language=wish.language,
                    timezone=wish.form.timezone,
                    cursor=list_row.last_position,
                    due_at=None,
                    source=wish.source,
                    now=now,
                    proof=proof,
                )
            except StateError:
                # The address must not be mailed, and who typed it is not told.
                return
        elif present.state == "pending":
            _change_wish(connection, present, wish, proof, now)
            notices.ask(connection, "confirm", subscriber_id=present.subscriber_id, list_id=list_row.id, now=now)
        else:
            notices.ask(connection, "known", subscriber_id=present.subscriber_id, list_id=list_row.id, now=now)


def _change_wish(connection: Connection, present: Any, wish: Wish, proof: Proof, now: datetime) -> None:
    """What somebody asked for last is what the mail asks them to confirm."""
    theirs = select(func.count()).where(subscriptions.c.subscriber_id == present.subscriber_id)
    # Language and zone belong to all of a reader's lists: a form that anybody can send must not change those.
    alone = connection.scalar(theirs) == 1
    audience.edit(
        connection,
        present,
        person={"language": wish.language, "timezone": wish.form.timezone} if alone else {},
        picks=wish.form.picks,
        schedule=wish.form.schedule,
        next_due=next_due,
        source=wish.source,
        now=now,
        proof=proof,
    )
