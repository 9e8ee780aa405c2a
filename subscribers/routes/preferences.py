"""A reader's preferences, by the link in every mail."""

from __future__ import annotations

from fastapi import APIRouter, Response
from sqlalchemy import Connection

from newsletter.audience import subscribers as audience
from newsletter.audience.links import make_token, read_token
from newsletter.database import reading
from subscribers.reading import due, find_reader
from subscribers.rendering import preferences_page
from subscribers.site import Site, done, shown


def routes(site: Site) -> APIRouter:
    """``/p/TOKEN`` and what its buttons do."""
    router = APIRouter()

    def show(connection: Connection, token: str, number: int, notice_key: str = "") -> Response:
        leave = "/u/" + make_token(site.key, "unsubscribe", number)
        return preferences_page(find_reader(connection, number), token, leave, notice_key)

    @shown(router, "/p/{token}")
    def preferences(token: str) -> Response:
        number = read_token(site.keys, "preferences", token)
        with reading(site.engine) as connection:
            return show(connection, token, number)

    @done(router, "/p/{token}/pause")
    def pause(token: str) -> Response:
        number = read_token(site.keys, "preferences", token)
        with site.engine.begin() as connection:
            changes = find_reader(connection, number).state == "active"
            if changes:
                audience.pause(connection, number, site.clock())
            return show(connection, token, number, "paused_notice" if changes else "")

    @done(router, "/p/{token}/resume")
    def resume(token: str) -> Response:
        number = read_token(site.keys, "preferences", token)
        with site.engine.begin() as connection:
            reader = find_reader(connection, number)
            if reader.state == "paused":
                now = site.clock()
                audience.resume(connection, number, due(reader, now), now)
            return show(connection, token, number, "resumed_notice" if reader.state == "paused" else "")

    return router
