"""A list's logos and colours."""

from __future__ import annotations

from fastapi import APIRouter, Response

from newsletter.database import reading
from newsletter.errors import UnknownName
from subscribers.branding import brand_css, find_brand
from subscribers.site import Site, shown


def routes(site: Site) -> APIRouter:
    """``/LIST/logo``, ``/LIST/logo-dark`` and ``/LIST/brand.css``.

    Their addresses change with them, so that browsers may keep them.
    """
    router = APIRouter()

    @shown(router, "/{slug}/logo")
    def logo(slug: str) -> Response:
        with reading(site.engine) as connection:
            row = find_brand(connection, slug)
        if row.logo is None:
            raise UnknownName(f"The list {slug!r} has no logo.")
        return Response(row.logo, media_type=row.logo_type, headers={"Cache-Control": KEPT, **SHOWN_BY_ALL})

    @shown(router, "/{slug}/logo-dark")
    def logo_dark(slug: str) -> Response:
        with reading(site.engine) as connection:
            row = find_brand(connection, slug)
        if row.logo_dark is None:
            raise UnknownName(f"The list {slug!r} has no logo for the dark.")
        return Response(row.logo_dark, media_type=row.logo_dark_type, headers={"Cache-Control": KEPT, **SHOWN_BY_ALL})

    @shown(router, "/{slug}/brand.css")
    def colours(slug: str) -> Response:
        with reading(site.engine) as connection:
            row = find_brand(connection, slug)
        return Response(brand_css(row.brand), media_type="text/css", headers={"Cache-Control": KEPT})

    return router


KEPT = "public, max-age=604800"
# Mails show it, and with them webmail on any host.
SHOWN_BY_ALL = {"Cross-Origin-Resource-Policy": "cross-origin"}
