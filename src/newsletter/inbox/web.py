"""The inbox in the browser. Nothing here changes anything, so every route is a GET."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.middleware.base import RequestResponseEndpoint

from newsletter.errors import UnknownName
from newsletter.hosts import is_ours
from newsletter.inbox.messages import View, decode_text, for_frame, header, view
from newsletter.inbox.store import Captured, Entry, Store

HERE = Path(__file__).parent
PER_PAGE = 50
MOST = 500
SOURCE_SHOWN = 1_000_000
TABS = {"": "Preview", "text": "Text", "headers": "Headers", "source": "Source"}

Handler = Callable[..., Response]
Route = Callable[[Handler], Handler]

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# The popups must escape the sandbox: the page behind an unsubscribe link has a form.
FRAME_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)

CALLED = "Open it at 127.0.0.1 or localhost."

pages = Environment(
    loader=FileSystemLoader(HERE / "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    return f"{size / 1000:.0f} KB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


pages.filters["size"] = _size


def _page(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(pages.get_template(name).render(values), status)


def _summary(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "to": ", ".join(entry.to),
        "from": entry.sender,
        "subject": entry.subject,
        "date": entry.date.isoformat(),
        "size": entry.size,
    }


def _full(message: Captured, seen: View) -> dict[str, Any]:
    return _summary(message.entry) | {
        "envelope": {"mail_from": message.mail_from, "rcpt_to": list(message.entry.to)},
        "headers": [list(pair) for pair in seen.headers],
        "html": seen.html,
        "text": seen.text,
        "attachments": [vars(attachment) for attachment in seen.attachments],
    }


def _get(app: FastAPI, path: str) -> Route:
    return app.api_route(path, methods=["GET", "HEAD"], response_model=None)


def inbox_app(store: Store, mount: FastAPI | None = None, site: str = "", names: Collection[str] = ()) -> FastAPI:
    """The web pages and the API over ``store``; ``mount`` answers whatever the inbox has no page for.

    ``site`` is what links and logos in the mails begin with; in the preview they are those of ``mount``. ``names``:
    what it may be called besides the names of this machine; none: anything.
    """
    app = FastAPI(title="Newsletter inbox", docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def protect(request: Request, call_next: RequestResponseEndpoint) -> Response:
        if is_ours(request.headers.get("host", ""), names):
            response = await call_next(request)
        else:
            # A page of the web that has its own name lead here (DNS rebinding) would read every mail.
            response = _page("problem.html", 400, title="Sorry", message=f"This inbox is not called so. {CALLED}")
        response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        response.headers.setdefault("Cache-Control", "no-cache")
        return response

    _problems(app)
    _pages(app, store)
    _parts(app, store, site)
    _api(app, store)
    app.mount("/inbox", StaticFiles(directory=HERE / "static"), name="inbox-static")
    if mount is not None:
        app.mount("/", mount)
    return app


def _problems(app: FastAPI) -> None:
    def answer(request: Request, status: int, message: str) -> Response:
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": message}, status)
        return _page("problem.html", status, title="Not found" if status == 404 else "Sorry", message=message)

    @app.exception_handler(UnknownName)
    def unknown(request: Request, error: UnknownName) -> Response:
        return answer(request, 404, str(error))

    @app.exception_handler(RequestValidationError)
    def unreadable(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["loc"][0] == "path":
            return answer(
                request,
                404,
                "Messages have a number, like /messages/1; this address has none that can be read.",
            )
        return answer(request, 422, f"“{first['loc'][-1]}” in the address is not usable: {first['msg']}.")

    @app.exception_handler(AnyHTTPException)
    def other(request: Request, error: AnyHTTPException) -> Response:
        sentences = {404: "There is no page at this address.", 405: "This page can only be read."}
        return answer(request, error.status_code, sentences.get(error.status_code, str(error.detail)))


def _pages(app: FastAPI, store: Store) -> None:
    @_get(app, "/")
    def messages(q: str = "", page: int = Query(1, ge=1, le=10**9)) -> Response:
        total, entries = store.entries(q, (page - 1) * PER_PAGE, PER_PAGE)
        last = max(1, -(-total // PER_PAGE))
        if page > last:
            page = last
            total, entries = store.entries(q, (page - 1) * PER_PAGE, PER_PAGE)

        def link(number: int) -> str:
            return "/?" + urlencode({"q": q, "page": number} if q else {"page": number})

        return _page(
            "list.html",
            entries=entries,
            total=total,
            all=store.count(),
            q=q,
            page=page,
            last=last,
            newer=link(page - 1) if page > 1 else "",
            older=link(page + 1) if page < last else "",
        )

    def show(message_id: int, tab: str) -> Response:
        message = store.read(message_id)
        seen = view(message.raw)
        if tab == "" and seen.html is None:
            tab = "text"
        return _page(
            "message.html",
            entry=message.entry,
            mail_from=message.mail_from,
            sent=header(seen.headers, "date"),
            view=seen,
            tab=tab,
            tabs=TABS,
            source=decode_text(message.raw[:SOURCE_SHOWN], "utf-8") if tab == "source" else "",
            clipped=len(message.raw) > SOURCE_SHOWN,
        )

    @_get(app, "/messages/{message_id}")
    def preview(message_id: int) -> Response:
        return show(message_id, "")

    @_get(app, "/messages/{message_id}/text")
    def text(message_id: int) -> Response:
        return show(message_id, "text")

    @_get(app, "/messages/{message_id}/headers")
    def headers(message_id: int) -> Response:
        return show(message_id, "headers")

    @_get(app, "/messages/{message_id}/source")
    def source(message_id: int) -> Response:
        return show(message_id, "source")


def _parts(app: FastAPI, store: Store, site: str) -> None:
    @_get(app, "/messages/{message_id}/html")
    def framed(message_id: int) -> Response:
        html = view(store.read(message_id).raw).html
        if html is None:
            raise HTTPException(404, "no HTML")
        return HTMLResponse(for_frame(html, site), headers={"Content-Security-Policy": FRAME_POLICY})

    @_get(app, "/messages/{message_id}/raw")
    def raw(message_id: int) -> Response:
        return Response(
            store.read(message_id).raw,
            media_type="message/rfc822",
            headers={"Content-Disposition": f'attachment; filename="message-{message_id}.eml"'},
        )


def _api(app: FastAPI, store: Store) -> None:
    @_get(app, "/api/messages")
    def listing(q: str = "", offset: int = Query(0, ge=0), limit: int = Query(PER_PAGE, ge=0, le=MOST)) -> Response:
        total, entries = store.entries(q, offset, limit)
        return JSONResponse({"total": total, "messages": [_summary(entry) for entry in entries]})

    @_get(app, "/api/messages/{message_id}")
    def one(message_id: int) -> Response:
        message = store.read(message_id)
        return JSONResponse(_full(message, view(message.raw)))

    @_get(app, "/livez")
    def alive() -> Response:
        return PlainTextResponse("ok")
