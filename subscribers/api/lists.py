"""Lists for machines: which there are, with their vocabulary, and signing readers up."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from sqlalchemy import select

from newsletter.audience.schedule import WEEKDAYS
from newsletter.database import reading
from newsletter.machines.tokens import Machine
from newsletter.tables import lists, themes
from subscribers.api.access import list_of, needs, open_list_of
from subscribers.api.schemas import Accepted, Lists, SignUp, Theme, WholeList
from subscribers.api.schemas import List as ShownList
from subscribers.api.signing_up import read_request
from subscribers.enrolling import sign_up
from subscribers.limiting import TooMany
from subscribers.site import Site
from subscribers.timing import evenly

Slug = Annotated[str, Path(pattern="^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
ACCEPTED = Accepted(
    detail="Thank you. If nothing stands against it, a mail is on its way to this address; what it says is to be done."
)


def routes(site: Site) -> APIRouter:
    """``/lists`` and what is below it."""
    router = APIRouter(tags=["lists"])

    @router.get("/lists", response_model=Lists, operation_id="listLists", summary="The lists that the token is for")
    def show_all(machine: Machine = needs(site, "lists:read")) -> Response:
        """Needs the scope `lists:read`."""
        statement = select(lists).order_by(lists.c.slug)
        if machine.list_id is not None:
            statement = statement.where(lists.c.id == machine.list_id)
        with reading(site.engine) as connection:
            rows = connection.execute(statement).all()
        return _json(Lists(lists=[ShownList(**_facts(row)) for row in rows]))

    @router.get(
        "/lists/{slug}", response_model=WholeList, operation_id="showList", summary="A list with its vocabulary"
    )
    def show(slug: Slug, machine: Machine = needs(site, "lists:read")) -> Response:
        """Needs the scope `lists:read`."""
        with reading(site.engine) as connection:
            row = list_of(connection, machine, slug)
            vocabulary = connection.execute(
                select(themes).where(themes.c.list_id == row.id).order_by(themes.c.slug)
            ).all()
        shown = [
            Theme(slug=theme.slug, names=theme.names, descriptions=theme.descriptions, parent=theme.parent_slug)
            for theme in vocabulary
        ]
        return _json(WholeList(**_facts(row), themes=shown))

    @router.post(
        "/lists/{slug}/subscriptions",
        status_code=202,
        response_model=Accepted,
        operation_id="signUp",
        summary="Sign a reader up, who is then asked by mail to confirm",
    )
    async def subscribe(slug: Slug, body: SignUp, machine: Machine = needs(site, "subscriptions:write")) -> Response:
        """Needs the scope `subscriptions:write`. The answer is the same for every address, and comes after the same
        time. Nobody gets a digest before they confirm. An address that is on the list already gets a mail that leads
        to its preferences, at most one an hour.
        """
        await evenly(lambda: _sign_up(site, machine, slug, body))
        return _json(ACCEPTED, 202)

    return router


def _sign_up(site: Site, machine: Machine, slug: str, body: SignUp) -> None:
    with reading(site.engine) as connection:
        list_row = open_list_of(connection, machine, slug)
        request = read_request(connection, site, list_row, body, machine.name)
    seconds = site.limiter.wait(("signup_address", request.address.key))
    if seconds:
        raise TooMany(seconds)
    sign_up(site, list_row, request, site.clock())


def _facts(row: Any) -> dict[str, Any]:
    return {
        "slug": row.slug,
        "name": row.name,
        "description": row.description,
        "languages": row.languages,
        "frequency": row.frequency,
        "hour": row.hour,
        "weekday": WEEKDAYS[row.weekday],
        "timezone": row.timezone,
        "archived": row.archived_at is not None,
    }


def _json(model: Any, status: int = 200) -> Response:
    return Response(model.model_dump_json(), status, media_type="application/json")
