"""Leaving a list: a page with a button, and one click from the mail program (RFC 8058)."""

from __future__ import annotations

from fastapi import APIRouter, Response

from newsletter.audience import subscribers as audience
from newsletter.audience.links import read_token
from newsletter.database import reading
from subscribers.reading import find_reader
from subscribers.rendering import page
from subscribers.site import SOURCE_LINK, Site, done, shown


def routes(site: Site) -> APIRouter:
    """``/u/TOKEN``."""
    router = APIRouter()

    @shown(router, "/u/{token}")
    def ask(token: str) -> Response:
        number = read_token(site.keys, "unsubscribe", token)
        with reading(site.engine) as connection:
            reader = find_reader(connection, number)
        return page("leave.html", reader.language, reader=reader, left=reader.state == "unsubscribed")

    @done(router, "/u/{token}")
    def leave(token: str) -> Response:
        # RFC 8058, 3.2: the token alone decides; no cookie, no redirect, and the body says nothing more.
        number = read_token(site.keys, "unsubscribe", token)
        with site.engine.begin() as connection:
            reader = find_reader(connection, number)
            if reader.state != "unsubscribed":
                audience.unsubscribe(connection, number, SOURCE_LINK, site.clock())
        return page("leave.html", reader.language, reader=reader, left=True)

    return router
