"""Mails of sample data in the browser, for authors of templates: on this machine only, shown anew on each save."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader
from lxml import html as lxml_html
from starlette.middleware.base import RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware

from newsletter.languages import LANGUAGES
from newsletter.mail.auditing import blemishes
from newsletter.mail.faults import Fault, breaks
from newsletter.mail.look import Look
from newsletter.mail.samples import PICTURE, parts_of, sample_masthead, sample_message
from newsletter.mail.templates import KINDS

HERE = Path(__file__).parent
MODES = ("light", "dark")
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The mail's own styles stand in it; of pictures there is the logo.
FRAME_POLICY = (
    "sandbox allow-popups; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_DARK = re.compile(r"@media\s*\(\s*prefers-color-scheme\s*:\s*dark\s*\)", re.IGNORECASE)
_SCHEME = re.compile(r'(<meta name="color-scheme" content=")[^"]*"', re.IGNORECASE)
_LOGO = re.compile(r'src="[^"]*(/logo|/logo-dark)\?v=[^"]*"')


def in_mode(html: str, mode: str) -> str:
    """A mail as it looks where the reader's system is ``light`` or ``dark``, whatever this one is."""
    html = _DARK.sub("@media all" if mode == "dark" else "@media not all", html)
    return _SCHEME.sub(rf'\g<1>{mode}"', html).replace(PICTURE, _picture())


@cache
def _picture() -> str:
    """What stands for the pictures of items, as a URL of its own."""
    return f"data:image/svg+xml,{quote((HERE / 'picture.svg').read_text('utf-8').strip())}"


class Seen(NamedTuple):
    """A mail as an author sees it."""

    faults: tuple[Fault, ...]
    is_shipped: bool
    """Whether its own templates cannot be used, so that it has the shipped look."""
    subject: str
    preheader: str
    text: str
    html: str


@lru_cache(maxsize=100)
def seen(kind: str, look: Look, language: str, name: str) -> Seen:
    """A kind of mail, and what is wrong with it; ``name``: of the list, if there is one."""
    broken = tuple(breaks(kind, look))
    masthead = sample_masthead(look.shipped if broken else look, language)
    if name:
        masthead = replace(masthead, list_name=name)
    subject, text, html = parts_of(sample_message(kind, masthead))
    hidden = lxml_html.document_fromstring(html).find_class("preheader")
    preheader = hidden[0].text_content() if hidden else ""
    return Seen(broken or tuple(blemishes(kind, look)), bool(broken and look.files), subject, preheader, text, html)


def preview_app(name: str, look: Callable[[], Look], logos: Mapping[str, tuple[bytes | None, str]]) -> FastAPI:
    """The preview of a list called ``name``; ``look`` reads its look as it is now.

    ``logos``: content and type of ``logo`` and ``logo-dark``.
    """
    app = FastAPI(title="Preview of mails", docs_url=None, redoc_url=None, openapi_url=None)
    # A page of another name that resolves to this machine may not read it.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    pages = Environment(loader=FileSystemLoader(HERE), autoescape=True)

    @app.middleware("http")
    async def protect(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response

    def checked(kind: str, language: str) -> tuple[str, str]:
        if kind not in KINDS or language not in LANGUAGES:
            raise HTTPException(404, f"Kinds: {', '.join(KINDS)}; languages: {', '.join(LANGUAGES)}.")
        return kind, language

    @app.get("/")
    def page(kind: str = "digest", language: str = "en") -> HTMLResponse:
        checked(kind, language)
        values = {"name": name, "kind": kind, "language": language, "kinds": KINDS, "languages": LANGUAGES}
        return HTMLResponse(pages.get_template("page.html").render(values))

    @app.get("/page.css")
    def style() -> FileResponse:
        return FileResponse(HERE / "page.css", media_type="text/css")

    @app.get("/page.js")
    def script() -> FileResponse:
        return FileResponse(HERE / "page.js", media_type="text/javascript")

    @app.get("/logo")
    @app.get("/logo-dark")
    def picture(request: Request) -> Response:
        content, kind = logos.get(request.url.path.strip("/"), (None, ""))
        if content is None:
            raise HTTPException(404, "The list has no such logo.")
        return Response(content, media_type=kind)

    @app.get("/state/{kind}/{language}")
    def state(kind: str, language: str) -> JSONResponse:
        checked(kind, language)
        found = seen(kind, look(), language, name)
        told = [asdict(fault) | {"place": fault.place} for fault in found.faults]
        version = hashlib.sha256(repr(found).encode()).hexdigest()
        return JSONResponse(
            {
                "version": version,
                "subject": found.subject,
                "preheader": found.preheader,
                "text": found.text,
                "faults": told,
                "shipped": found.is_shipped,
            }
        )

    @app.get("/mail/{kind}/{language}/{mode}")
    def mail(kind: str, language: str, mode: str) -> HTMLResponse:
        checked(kind, language)
        html = seen(kind, look(), language, name).html
        shown = _LOGO.sub(r'src="\1"', in_mode(html, mode if mode in MODES else "light"))
        return HTMLResponse(shown, headers={"Content-Security-Policy": FRAME_POLICY})

    return app
