"""Answers kept under the key that a machine gave its request (``Idempotency-Key``), so that a repeat does nothing.

The answer is kept in the transaction that did the work: either both are there or neither. A repeat that comes while
the first is under way waits for it, at the key's row.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select, update

from newsletter.database import insert
from newsletter.errors import StateError
from newsletter.tables import requests

KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered: HTTP status and JSON text."""

    status: int
    text: str


def body_hash(*parts: bytes) -> str:
    """What tells one request from another: SHA-256 over its parts, each with its length before it."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d " % len(part) + part)
    return digest.hexdigest()


def earlier_answer(connection: Connection, token_id: int, key: str, hashed: str, now: datetime) -> Answer | None:
    """The answer kept under ``key``, if there is one; None if the work is to be done, and the key is ours.

    Raises:
        StateError: the key came with another request.
    """
    ours = (requests.c.token_id == token_id, requests.c.key == key)
    connection.execute(delete(requests).where(*ours, requests.c.at <= now - KEPT))
    taken = connection.execute(
        insert(connection, requests)
        .values(token_id=token_id, key=key, body_hash=hashed, at=now, status=0, answer="")
        .on_conflict_do_nothing()
        .returning(requests.c.key)
    ).one_or_none()
    if taken is not None:
        return None
    row = connection.execute(select(requests).where(*ours)).one()
    if row.body_hash != hashed:
        raise StateError(
            f"The Idempotency-Key {key!r} came with another request before.",
            "Use a new key for each new request, and the same one only to repeat it.",
        )
    return Answer(row.status, row.answer)


def keep_answer(connection: Connection, token_id: int, key: str, answer: Answer) -> None:
    """Keep the answer under the key that ``earlier_answer`` made ours."""
    connection.execute(
        update(requests)
        .where(requests.c.token_id == token_id, requests.c.key == key)
        .values(status=answer.status, answer=answer.text)
    )


def prune(connection: Connection, now: datetime) -> int:
    """Forget what is older than 24 hours; how many answers that were."""
    return connection.execute(delete(requests).where(requests.c.at <= now - KEPT)).rowcount
