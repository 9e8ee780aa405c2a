"""Tokens of machines: what one may do, and on which list. A token is shown once; only its SHA-256 is kept.

It holds 256 random bits, so that a plain hash cannot be turned back, and looking one up by its hash tells a guesser
nothing by the time that it takes; what was found is compared as a whole in constant time all the same.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from sqlalchemy import Connection, insert, select, update

from newsletter.errors import InputError, StateError, UnknownName
from newsletter.resembling import nearest
from newsletter.tables import lists, tokens

Scope = Literal["items:write", "items:read", "lists:read", "subscriptions:write", "metrics:read"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "nl_"
"""What tokens begin with, so that they are recognised where they must not stand: in a log, in a repository."""
LONGEST = 100
REFRESH = timedelta(minutes=1)
"""How old "used" may be in what admins see; each refresh is a write."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Who shows a token: its number, what it may do, and the one list that it is for (None: every list)."""

    id: int
    name: str
    scopes: frozenset[str]
    list_id: int | None


def create_token(connection: Connection, name: str, scopes: Sequence[str], list_id: int | None, now: datetime) -> str:
    """Make a token and give it back, once.

    Raises:
        InputError: the name or a scope cannot be used.
        StateError: there is one of this name.
    """
    name = _checked_name(name)
    wanted = list(dict.fromkeys(scopes))
    if not wanted:
        raise InputError("A token without a scope may do nothing.", f"Give one or more of {', '.join(SCOPES)}.")
    for scope in wanted:
        if scope not in SCOPES:
            raise UnknownName(
                f"There is no scope {scope!r}; there are {', '.join(SCOPES)}.",
                nearest(scope, {known: known for known in SCOPES}),
            )
    if "metrics:read" in wanted and list_id is not None:
        raise InputError("Metrics are about every list.", "Make a token of its own for them, with --all.")
    present = connection.execute(select(tokens.c.revoked_at).where(tokens.c.name == name)).one_or_none()
    if present is not None:
        raise StateError(
            f"There is a token {name!r} already{' (revoked)' if present.revoked_at else ''}.", "Choose another name."
        )
    token = PREFIX + secrets.token_urlsafe(32)
    connection.execute(
        insert(tokens).values(
            name=name, token_hash=_hash(token), scopes=sorted(wanted), list_id=list_id, created_at=now
        )
    )
    return token


def _checked_name(text: str) -> str:
    name = text.strip()
    if not name or len(name) > LONGEST or not name.isprintable():
        raise InputError(f"The name of a token has 1 to {LONGEST} letters on one line.", "Example: feed-importer")
    return name


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def find_machine(connection: Connection, token: str) -> tuple[Machine, datetime | None] | None:
    """Whose token this is, and when it was last used; None if it is nobody's, or revoked."""
    hashed = _hash(token)
    row = connection.execute(select(tokens).where(tokens.c.token_hash == hashed)).one_or_none()
    if row is None or not hmac.compare_digest(row.token_hash, hashed) or row.revoked_at is not None:
        return None
    return Machine(row.id, row.name, frozenset(row.scopes), row.list_id), row.used_at


def is_stale(used_at: datetime | None, now: datetime) -> bool:
    """Whether it is time to write down that a token is in use."""
    return used_at is None or now - used_at >= REFRESH


def note_use(connection: Connection, token_id: int, now: datetime) -> None:
    """Write down that a token was used."""
    connection.execute(update(tokens).where(tokens.c.id == token_id).values(used_at=now))


def all_tokens(connection: Connection) -> Sequence[Any]:
    """Every token but for the token itself, with its list's slug, by name."""
    columns = [column for column in tokens.c if column.name != "token_hash"]
    return connection.execute(
        select(*columns, lists.c.slug).outerjoin(lists, lists.c.id == tokens.c.list_id).order_by(tokens.c.name)
    ).all()


def find_token(connection: Connection, name: str) -> Any:
    """One of ``all_tokens``, by its name.

    Raises:
        UnknownName: there is none of this name; with suggestions.
    """
    found = {row.name: row for row in all_tokens(connection)}
    if name not in found:
        raise UnknownName(f"There is no token {name!r}.", nearest(name, {known: known for known in found}))
    return found[name]


def revoke_token(connection: Connection, name: str, now: datetime) -> bool:
    """End a token at once; False if it was revoked before."""
    done = connection.execute(
        update(tokens).where(tokens.c.name == name, tokens.c.revoked_at.is_(None)).values(revoked_at=now)
    )
    return done.rowcount > 0
