"""Whether the site is alive and able to work."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from newsletter.database import reading
from newsletter.tables import lists
from subscribers.site import Site, shown


def routes(site: Site) -> APIRouter:
    """``/livez`` and ``/readyz``."""
    router = APIRouter()

    @shown(router, "/livez")
    def alive() -> Response:
        return PlainTextResponse("ok")

    @shown(router, "/readyz")
    def ready() -> Response:
        try:
            with reading(site.engine) as connection:
                connection.execute(select(lists.c.id).limit(1)).all()
        except SQLAlchemyError:
            return PlainTextResponse("the database does not answer", 503)
        return PlainTextResponse("ready")

    return router
