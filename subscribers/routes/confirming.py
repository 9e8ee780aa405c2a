"""Confirming a subscription: the link opens a page, its button confirms."""

from __future__ import annotations

from fastapi import APIRouter, Response

from newsletter.audience import subscribers as audience
from newsletter.audience.links import read_token
from newsletter.database import reading
from subscribers.reading import due, find_reader
from subscribers.rendering import page
from subscribers.site import SOURCE_LINK, Site, done, shown


def routes(site: Site) -> APIRouter:
    """``/c/TOKEN``."""
    router = APIRouter()

    @shown(router, "/c/{token}")
    def ask(token: str) -> Response:
        number = read_token(site.keys, "confirm", token)
        with reading(site.engine) as connection:
            reader = find_reader(connection, number)
        return page("confirm.html", reader.language, reader=reader)

    @done(router, "/c/{token}")
    def confirm(token: str) -> Response:
        number = read_token(site.keys, "confirm", token)
        with site.engine.begin() as connection:
            reader = find_reader(connection, number)
            # A link from an old mail must not bring back somebody who has left since.
            if reader.state == "pending":
                now = site.clock()
                audience.confirm(connection, number, SOURCE_LINK, due(reader, now), now)
            reader = find_reader(connection, number)
        return page("confirm.html", reader.language, reader=reader)

    return router
