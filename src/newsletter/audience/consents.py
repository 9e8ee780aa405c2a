"""The consent history: what each reader asked for, confirmed, changed or ended, and what proves it (GDPR, article 7).

An event is written once and never altered; only erasure removes it, with its subscriber.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from sqlalchemy import Connection, insert, select

from newsletter.audience.links import Keys
from newsletter.audience.picks import KINDS, Picks
from newsletter.audience.schedule import WEEKDAYS, Schedule
from newsletter.audience.suppressions import keyed_hash
from newsletter.controls import CONTROL
from newsletter.errors import InputError
from newsletter.tables import consents, lists, profiles, subscriptions


@dataclass(frozen=True, slots=True)
class Proof:
    """What proves an event besides its time and source; None is what is not known.

    ``address_hash``: of the address that it was given for (``consent_hash``). ``network``: where it came from, as a
    prefix (``network_of``). ``page``: the version of the page; ``wording``: exactly what was agreed to on it.
    ``picks``: picks and schedule at that time (``agreed``); ``note`` reads them itself if they are None.
    """

    address_hash: str | None = None
    network: str | None = None
    page: str | None = None
    wording: str | None = None
    picks: Mapping[str, Any] | None = None


LONGEST_SOURCE = 200


def check_source(text: str) -> str:
    """Where an event was asked for, in one line of 1 to 200 characters.

    Raises:
        InputError: it is empty, too long, or holds a line end or another control character.
    """
    source = text.strip()
    if CONTROL.search(source):
        raise InputError("The source of a consent holds a line end or control character.", "Write plain text.")
    if not 0 < len(source) <= LONGEST_SOURCE:
        raise InputError(f"The source of a consent has {len(source)} characters.", f"Write 1 to {LONGEST_SOURCE}.")
    return source


_PROOF = tuple(field.name for field in fields(Proof))


def consent_hash(keys: Keys, address_key: str) -> str:
    """A comparable address as consents keep it: HMAC-SHA-256 under the newest key."""
    return keyed_hash(keys[0], "consent", address_key)


def was_given_for(keys: Keys, hashed: str | None, address_key: str) -> bool | None:
    """Whether a consent was given for this address; None if it does not say.

    After its key was dropped it is taken for another's.
    """
    if hashed is None:
        return None
    return any(hmac.compare_digest(keyed_hash(key, "consent", address_key), hashed) for key in keys)


def network_of(host: str | None) -> str | None:
    """The network of a client's IP address, too large to tell one person: its /24, or /48 of IPv6; None if it is none.

    An IPv4 address that is written as IPv6 (RFC 4291, 2.5.5.2) is one of IPv4.
    """
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(ip_network((address, 24 if address.version == 4 else 48), strict=False))


def agreed(picks: Picks, schedule: Schedule) -> dict[str, Any]:
    """Picks and schedule as a consent keeps them."""
    return {**picks.columns(), **_schedule(schedule)}


def _schedule(row: Any) -> dict[str, Any]:
    return {"frequency": row.frequency, "hour": row.hour, "weekday": WEEKDAYS[row.weekday]}


def note(
    connection: Connection,
    subscriber_id: int,
    list_id: int,
    event: str,
    source: str,
    now: datetime,
    proof: Proof | None = None,
) -> None:
    """Write an event down, after what it changes: picks and schedule are read as they are then, if not in ``proof``."""
    proof = proof or Proof()
    if proof.picks is None:
        proof = replace(proof, picks=_present(connection, subscriber_id, list_id))
    values = {"subscriber_id": subscriber_id, "list_id": list_id, **written(event, source, now, proof)}
    connection.execute(insert(consents), values)


def written(event: str, source: str, now: datetime, proof: Proof) -> dict[str, Any]:
    """The columns of an event, but for whose it is and of which list."""
    return {"at": now, "event": event, "source": source, **{name: getattr(proof, name) for name in _PROOF}}


def _present(connection: Connection, subscriber_id: int, list_id: int) -> dict[str, Any] | None:
    row = connection.execute(
        select(
            *(profiles.c[kind] for kind in KINDS),
            subscriptions.c.frequency,
            subscriptions.c.hour,
            subscriptions.c.weekday,
        )
        .join(profiles, profiles.c.id == subscriptions.c.profile_id)
        .where(subscriptions.c.subscriber_id == subscriber_id, subscriptions.c.list_id == list_id)
    ).one_or_none()
    return None if row is None else {**{kind: getattr(row, kind) for kind in KINDS}, **_schedule(row)}


def consent_history(connection: Connection, subscriber_id: int) -> Sequence[Any]:
    """What this subscriber asked for and confirmed, when and where, oldest first."""
    return connection.execute(
        select(consents, lists.c.slug)
        .join(lists, lists.c.id == consents.c.list_id)
        .where(consents.c.subscriber_id == subscriber_id)
        .order_by(consents.c.id)
    ).all()


def as_shown(row: Any) -> dict[str, Any]:
    """A row of ``consent_history`` as commands and exports give it."""
    return {
        "at": row.at,
        "list": row.slug,
        "event": row.event,
        "source": row.source,
        "address_hash": row.address_hash,
        "network": row.network,
        "page": row.page,
        "wording": row.wording,
        "picks": row.picks,
    }
