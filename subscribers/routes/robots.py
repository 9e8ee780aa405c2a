"""What search engines are asked to leave alone: pages for one reader, which no page links to, and machines' own."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from subscribers.site import Site, shown

PRIVATE = ("/a/", "/address/", "/api/", "/c/", "/d/", "/p/", "/u/")


def routes(site: Site) -> APIRouter:
    """``/robots.txt`` (RFC 9309)."""
    router = APIRouter()

    @shown(router, "/robots.txt")
    def robots() -> Response:
        lines = ["User-agent: *", *(f"Disallow: {beginning}" for beginning in PRIVATE)]
        return PlainTextResponse("\n".join(lines) + "\n", headers={"Cache-Control": "public, max-age=86400"})

    return router
