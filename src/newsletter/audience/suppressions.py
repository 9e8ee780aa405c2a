"""Suppressions: addresses that must not be mailed, kept as hashes under the secret keys.

Each is HMAC-SHA-256 of the comparable address, under a key derived from the newest secret key at that time: useless
without it, even to somebody who tries every address there is. It is looked up under every key that still verifies.
Those of earlier versions are plain SHA-256 and go on working.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Connection, delete, func, select, update

from newsletter.audience.addresses import address_hash
from newsletter.audience.links import Keys
from newsletter.database import insert
from newsletter.tables import subscribers, suppressions

PART = 500
ERASED = "erased at the reader's request"
"""The one reason that its reader may lift: by confirming, from the mailbox itself, that they sign up again."""


def fingerprint(key: str) -> str:
    """What a secret key is called where it must not be shown: 12 hexadecimal digits."""
    return hmac.digest(key.encode(), b"newsletter.fingerprint", "sha256")[:6].hex()


def keyed_hash(key: str, purpose: str, text: str) -> str:
    """HMAC-SHA-256 of a text in hexadecimal, under a key derived from ``key`` for this purpose alone."""
    return hmac.digest(_derived(key, purpose), text.encode(), "sha256").hex()


@lru_cache(maxsize=64)
def _derived(key: str, purpose: str) -> bytes:
    return hmac.digest(key.encode(), f"newsletter.{purpose}".encode(), "sha256")


def suppression_hashes(keys: Keys, address_key: str) -> list[str]:
    """All forms in which this address may stand among the suppressions, the present one first."""
    # Versions before 0012 folded its case. Of whom such a hash was cannot be told, so nobody it may be of is mailed.
    folded = address_key.casefold()
    return _own_hashes(keys, address_key) + (_own_hashes(keys, folded) if folded != address_key else [])


def _own_hashes(keys: Keys, address_key: str) -> list[str]:
    return [*(keyed_hash(key, "suppression", address_key) for key in keys), address_hash(address_key)]


def suppressed(connection: Connection, keys: Keys, address_keys: Iterable[str]) -> dict[str, str]:
    """Those of these addresses (in their comparable form) that must not be mailed, each with the reason."""
    owners = {hashed: key for key in address_keys for hashed in suppression_hashes(keys, key)}
    hashes = list(owners)
    found: dict[str, str] = {}
    for start in range(0, len(hashes), PART):
        rows = connection.execute(
            select(suppressions.c.address_hash, suppressions.c.reason).where(
                suppressions.c.address_hash.in_(hashes[start : start + PART])
            )
        )
        found.update((owners[row.address_hash], row.reason) for row in rows)
    return found


def suppress(connection: Connection, keys: Keys, address_key: str, reason: str, now: datetime) -> None:
    """Have nobody mail this address any more; its subscriber, if there is one, is marked.

    One that is suppressed already keeps reason and time, and is kept under the newest key from now on.
    """
    # A folded form may be somebody else's, who would be mailed again if it were taken for this one.
    present, *older = _own_hashes(keys, address_key)
    newest = {"address_hash": present, "key_print": fingerprint(keys[0])}
    stands = suppressions.c.address_hash
    known = connection.scalars(select(stands).where(stands.in_([present, *older]))).all()
    if not known:
        values = {**newest, "reason": reason, "at": now}
        connection.execute(insert(connection, suppressions).values(values).on_conflict_do_nothing())
    elif present not in known:
        connection.execute(update(suppressions).where(stands == known[0]).values(newest))
    connection.execute(
        update(subscribers)
        .where(subscribers.c.email_key == address_key, subscribers.c.suppressed_at.is_(None))
        .values(suppressed_at=now)
    )


def lift(connection: Connection, keys: Keys, address_key: str) -> None:
    """Have this address mailed again, if all that barred it is that its reader was erased."""
    theirs = suppressions.c.address_hash.in_(suppression_hashes(keys, address_key))
    connection.execute(delete(suppressions).where(theirs, suppressions.c.reason == ERASED))


def counts_by_key(connection: Connection) -> Mapping[str | None, int]:
    """How many suppressions were made under the key of each fingerprint; None: without a key."""
    counted = select(suppressions.c.key_print, func.count()).group_by(suppressions.c.key_print)
    return {row[0]: row[1] for row in connection.execute(counted)}


def counts_by_lost_key(connection: Connection, keys: Keys) -> dict[str, int]:
    """How many suppressions are not found, by the fingerprint of the key that they were made under."""
    here = {None, *map(fingerprint, keys)}
    return {name: count for name, count in counts_by_key(connection).items() if name and name not in here}
