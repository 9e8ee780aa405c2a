"""A list's logos and colours."""

from __future__ import annotations

from typing import Any

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

    def brand_of(slug: str) -> Any:
        with reading(site.engine) as connection:
            return find_brand(connection, slug)

    def picture(slug: str, content: bytes | None, kind: str | None) -> Response:
        if content is None:
            raise UnknownName(f"The list {slug!r} has no such logo.")
        return Response(content, media_type=kind, headers={"Cache-Control": KEPT, **SHOWN_BY_ALL})

    @shown(router, "/{slug}/logo")
    def logo(slug: str) -> Response:
        row = brand_of(slug)
        return picture(slug, row.logo, row.logo_type)

    @shown(router, "/{slug}/logo-dark")
    def logo_dark(slug: str) -> Response:
        row = brand_of(slug)
        return picture(slug, row.logo_dark, row.logo_dark_type)

    @shown(router, "/{slug}/brand.css")
    def colours(slug: str) -> Response:
        row = brand_of(slug)
        return Response(brand_css(row.brand), media_type="text/css", headers={"Cache-Control": KEPT})

    return router


KEPT = "public, max-age=604800"
# Mails show it, and with them webmail on any host.
SHOWN_BY_ALL = {"Cross-Origin-Resource-Policy": "cross-origin"}
