"""What there is to read besides the archive: web copies of digests, and items that have no address of their own."""

from __future__ import annotations

from threading import Lock

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from newsletter.audience.links import read_token
from newsletter.database import reading
from newsletter.delivery.composing.letters import Letters
from subscribers.branding import masthead_of
from subscribers.copying import web_copy
from subscribers.reading import find_copied, find_story
from subscribers.rendering import fill, notice, story_page
from subscribers.site import Site, asked_language, shown


def routes(site: Site) -> APIRouter:
    """``/d/TOKEN`` and ``/items/NUMBER``, or ``/items/TOKEN`` where the list is not public."""
    router = APIRouter()
    # What one copy has read and set serves the next; it is made for one thread at a time.
    letters, one_at_a_time = Letters(site.engine, site.settings), Lock()

    @shown(router, "/d/{token}")
    def copy(request: Request, token: str) -> Response:
        number = read_token(site.keys, "copy", token)
        with reading(site.engine) as connection:
            copied = find_copied(connection, number, site.clock())
            if copied is None:
                return notice("copy_gone", asked_language(request), 410)
            with one_at_a_time:
                made = letters.copy(connection, copied.delivery)
        if not made.html:
            return notice("copy_empty", made.language, 410)
        top = fill(
            "copy_top.html", made.language, list_name=copied.list_name, slug=copied.slug, withdrawn=made.withdrawn
        )
        page = web_copy(made.html, fill("copy_head.html", made.language), top, site.settings.site)
        return HTMLResponse(
            page.html,
            headers={"Content-Security-Policy": page.policy, "X-Robots-Tag": "noindex", "Cache-Control": "no-store"},
        )

    @shown(router, "/items/{item_id}")
    def item(request: Request, item_id: str) -> Response:
        language = asked_language(request)
        with reading(site.engine) as connection:
            story = find_story(connection, site.keys, item_id, language)
            brand = masthead_of(connection, story.list_id) if story else None
        if story is None:
            return notice("missing", language, 404)
        if story.withdrawn:
            return notice("withdrawn", language, 410)
        response = story_page(story, language, site.settings.site, masthead=brand, request=request)
        if story.is_public:
            response.headers["Cache-Control"] = "public, max-age=60"
            response.headers["Vary"] = "Accept-Language"
        return response

    return router
