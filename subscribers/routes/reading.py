"""Pages of items that have no address of their own."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from newsletter.database import reading
from subscribers.reading import find_story
from subscribers.rendering import notice, story_page
from subscribers.site import Number, Site, asked_language, shown


def routes(site: Site) -> APIRouter:
    """``/items/NUMBER``."""
    router = APIRouter()

    @shown(router, "/items/{item_id}")
    def item(request: Request, item_id: Number) -> Response:
        language = asked_language(request)
        with reading(site.engine) as connection:
            story = find_story(connection, item_id, language)
        if story is None:
            return notice("missing", language, 404)
        if story.withdrawn:
            return notice("withdrawn", language, 410)
        response = story_page(story, language)
        response.headers["Cache-Control"] = "public, max-age=60"
        response.headers["Vary"] = "Accept-Language"
        return response

    return router
