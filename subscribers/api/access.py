"""Who may: bearer tokens (RFC 6750) in the Authorization header, and nowhere else."""

from __future__ import annotations

from typing import Any

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Connection, select

from newsletter.audience.lists import find_list
from newsletter.database import reading
from newsletter.errors import StateError, UnknownName
from newsletter.machines.tokens import Machine, Scope, find_machine, is_stale, note_use
from newsletter.tables import lists
from subscribers.api.problems import Refused
from subscribers.limiting import TooMany
from subscribers.site import Site

CHALLENGE = 'Bearer realm="newsletter"'

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="A token made by `newsletter tokens create`. Which scope a request needs stands with it.",
)


def admit(site: Site, token: str | None, scope: Scope) -> Machine:
    """The machine whose token this is, if it may do what ``scope`` says.

    Raises:
        Refused: 401 without a valid token, 403 without the scope (RFC 6750, section 3.1).
        TooMany: it asks too often.
    """
    if token is None:
        raise Refused(401, "A token is needed: Authorization: Bearer TOKEN.", headers={"WWW-Authenticate": CHALLENGE})
    now = site.clock()
    with reading(site.engine) as connection:
        found = find_machine(connection, token)
    if found is None:
        raise Refused(
            401,
            "The token is not known, or was revoked. `newsletter tokens create` makes one.",
            headers={"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'},
        )
    machine, used_at = found
    seconds = site.limiter.wait(("api", str(machine.id)))
    if seconds:
        raise TooMany(seconds)
    if is_stale(used_at, now):
        with site.engine.begin() as connection:
            note_use(connection, machine.id, now)
    if scope not in machine.scopes:
        raise Refused(
            403,
            f"The token may not do this: it has no scope {scope}.",
            headers={"WWW-Authenticate": f'{CHALLENGE}, error="insufficient_scope", scope="{scope}"'},
        )
    return machine


def needs(site: Site, scope: Scope) -> Any:
    """The dependency that admits a machine to a route."""

    def admitted(credentials: HTTPAuthorizationCredentials | None = Depends(bearer)) -> Machine:
        return admit(site, credentials.credentials if credentials else None, scope)

    return Depends(admitted)


def list_of(connection: Connection, machine: Machine, slug: str | None) -> Any:
    """The list that a request is about: the one named, else the token's, else the only one.

    Raises:
        Refused: 404 if there is none of this slug for this token; 422 if none was named and there are several.
    """
    if machine.list_id is not None:
        row = connection.execute(select(lists).where(lists.c.id == machine.list_id)).one()
        if slug not in (None, row.slug):
            raise Refused(404, f"There is no list {slug!r} for this token: it is for {row.slug!r}.")
        return row
    if slug is not None:
        try:
            return find_list(connection, slug)
        except UnknownName as error:
            raise Refused(404, str(error)) from None
    rows = connection.execute(select(lists).where(lists.c.archived_at.is_(None)).limit(2)).all()
    if len(rows) != 1:
        detail = "Which list? Name it with ?list=SLUG." if rows else "There is no list yet."
        raise Refused(422, detail, [{"detail": detail, "parameter": "list"}])
    return rows[0]


def open_list_of(connection: Connection, machine: Machine, slug: str | None) -> Any:
    """As ``list_of``, but not an archived one.

    Raises:
        Refused: as there.
        StateError: the list is archived.
    """
    row = list_of(connection, machine, slug)
    if row.archived_at is not None:
        raise StateError(f"The list {row.slug!r} is archived.", "Nothing is published or subscribed to there.")
    return row
