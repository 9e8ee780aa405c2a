"""What everybody may read of a list: its archive, and feeds of any picks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Connection

from newsletter.catalogue.themes import all_themes
from newsletter.database import reading
from newsletter.digests.archive import Archive, wanted_of
from newsletter.errors import InputError
from subscribers.branding import masthead
from subscribers.feed import feed_of, matches
from subscribers.filters import read_filter
from subscribers.rendering import notice, page, speak
from subscribers.shelving import count_line, entry, offered, picked, public_list
from subscribers.site import Site, asked_language, shown

PAGE, FEED = 20, 30
Place = Annotated[int | None, Query(ge=1, le=2**63 - 2)]
"""A position, up to which or from which on a page goes."""
KEPT = "public, max-age=60"


def routes(site: Site) -> APIRouter:
    """``/LIST/archive`` and ``/LIST/feed.atom``."""
    router = APIRouter()

    @shown(router, "/{slug}/archive")
    def archive(request: Request, slug: str, before: Place = None, after: Place = None) -> Response:
        language = asked_language(request)
        with reading(site.engine) as connection:
            row = public_list(connection, slug)
            if row is None:
                return notice("missing", language, 404)
            vocabulary = all_themes(connection, row.id)
            try:
                chosen = read_filter(vocabulary, request.query_params.multi_items())
            except InputError:
                return page("archive_unknown.html", language, 404, list=row, masthead=masthead(row))
            found = Archive(connection, row.id, wanted_of(chosen.picks, vocabulary))
            here = found.page(PAGE, before, after)
            if after is not None and not here.newer:
                # The first page, whole: not only as much of it as is newer.
                here = found.page(PAGE)
            values: dict[str, Any] = {
                "fitting": count_line(found.count()),
                "picked": picked(chosen, vocabulary, language),
                "offered": offered(connection, row.id, vocabulary, chosen, language),
            }
        positions = [item.position for item in here.items]
        response = page(
            "archive.html",
            language,
            request=request,
            masthead=masthead(row),
            list=row,
            site=site.settings.site,
            chosen=chosen,
            entries=[entry(item, row.timezone, language) for item in here.items],
            newer=positions[0] if here.newer and positions else None,
            older=positions[-1] if here.older and positions else None,
            past=before is not None and not positions,
            # By its own place, whichever way it was reached.
            canonical=chosen.query(before=positions[0] + 1 if here.newer and positions else None),
            **values,
        )
        response.headers["Cache-Control"] = KEPT
        response.headers["Vary"] = "Accept-Language"
        return response

    @shown(router, "/{slug}/feed.atom")
    def feed(request: Request, slug: str, before: Place = None) -> Response:
        with reading(site.engine) as connection:
            made = _feed(connection, slug, request, before)
        if made is None:
            return notice("missing", asked_language(request), 404)
        headers = {"ETag": made.tag, "Last-Modified": made.last_modified, "Cache-Control": KEPT}
        # By the tag alone: when an item is withdrawn, what is left is no newer than before.
        if matches(request.headers.get("if-none-match", ""), made.tag):
            return Response(status_code=304, headers=headers)
        return Response(made.content, media_type="application/atom+xml; charset=utf-8", headers=headers)

    def _feed(connection: Connection, slug: str, request: Request, before: int | None) -> Any:
        row = public_list(connection, slug)
        if row is None:
            return None
        vocabulary = all_themes(connection, row.id)
        try:
            chosen = read_filter(vocabulary, request.query_params.multi_items())
        except InputError:
            return None
        # Not the browser's: what fetches feeds asks for no language, or for one that its user never chose.
        language = speak(chosen.lang or row.languages[0])
        here = Archive(connection, row.id, wanted_of(chosen.picks, vocabulary)).page(FEED, before)
        named = picked(chosen, vocabulary, language)
        return feed_of(site.settings.site, row, vocabulary, chosen, named, here, before=before, language=language)

    return router
