"""What picks would have brought: how many items last week, and the digest as it will look."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from newsletter.database import reading
from newsletter.errors import UnknownName
from subscribers.branding import masthead
from subscribers.copying import web_copy
from subscribers.offering import public_list
from subscribers.picking import FIELDS, offer_of, read_form
from subscribers.rendering import page
from subscribers.site import Site, asked_language, shown

MAIL_POLICY = (
    "default-src 'none'; style-src {style}; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"
)
"""For a mail shown as it will look: its own style, and nothing else may happen there."""


def routes(site: Site) -> APIRouter:
    """``/LIST/preview`` and ``/LIST/preview/digest``; picks as in a link to the subscribe page."""
    router = APIRouter()

    @shown(router, "/{slug}/preview")
    def preview(request: Request, slug: str) -> Response:
        language = asked_language(request)
        with reading(site.engine) as connection:
            list_row = public_list(connection, slug)
            form = read_form(offer_of(connection, list_row), request.query_params.multi_items())
            sample = site.samples.count(connection, list_row, form.picks, site.clock())
        response = page(
            "preview.html",
            language,
            request=request,
            list=list_row,
            masthead=masthead(list_row),
            sample=sample,
            errors={name: form.errors[name] for name in FIELDS if name in form.errors},
            query=urlencode(form.query()),
        )
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Vary"] = "Accept-Language"
        return response

    @shown(router, "/{slug}/preview/digest")
    def digest(request: Request, slug: str) -> Response:
        language = asked_language(request)
        with reading(site.engine) as connection:
            list_row = public_list(connection, slug)
            form = read_form(offer_of(connection, list_row), request.query_params.multi_items())
            html = site.samples.digest(
                connection,
                list_row,
                form.picks,
                language=language if language in list_row.languages else list_row.languages[0],
                frequency=form.frequency,
                timezone=form.timezone,
                now=site.clock(),
            )
        if html is None:
            raise UnknownName("Nothing fits.")
        # Links lead out of the frame, which is too small for what is behind them.
        made = web_copy(html, '<base target="_blank">', "", site.settings.site)
        headers = {
            "Content-Security-Policy": MAIL_POLICY.format(style=made.style),
            "Cache-Control": "public, max-age=60",
            "Vary": "Accept-Language",
        }
        return HTMLResponse(made.html, headers=headers)

    return router
