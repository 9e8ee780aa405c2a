"""The routes of the readers' site. A GET changes nothing; whatever does is a POST behind a button."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from starlette.exceptions import HTTPException

from newsletter.audience import subscribers as audience
from newsletter.audience.links import make_token, read_token
from newsletter.database import reading
from newsletter.digests.calendar import next_due
from newsletter.errors import InputError
from newsletter.settings import Settings
from newsletter.tables import lists
from subscribers.guarding import Guard
from subscribers.reading import Reader, find_reader, find_story
from subscribers.rendering import DEFAULT, HERE, notice, page, preferences_page, preferred, story_page

SOURCE_LINK = "link in a mail"
Clock = Callable[[], datetime]
Handler = Callable[..., Response]
Number = Annotated[int, Path(ge=1, le=2**63 - 1)]


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _shown(app: FastAPI, path: str) -> Callable[[Handler], Handler]:
    return app.api_route(path, methods=["GET", "HEAD"], response_model=None)


def _done(app: FastAPI, path: str) -> Callable[[Handler], Handler]:
    return app.post(path, response_model=None)


def _asked_language(request: Request) -> str:
    return preferred(request.headers.get("accept-language", ""))


def site_app(engine: Engine, settings: Settings, clock: Clock = _utc_now) -> FastAPI:
    """The readers' site over the database behind ``engine``.

    Raises:
        SettingsError: there is no secret key to check links with.
    """
    key = settings.key
    app = FastAPI(title="Newsletter", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_middleware(Guard, too_large=notice("too_large", DEFAULT, 413))
    _problems(app)
    _health(app, engine)
    _items(app, engine)
    _leaving(app, engine, key, clock)
    _confirming(app, engine, key, clock)
    _preferences(app, engine, key, clock)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    return app


def _problems(app: FastAPI) -> None:
    @app.exception_handler(InputError)
    @app.exception_handler(RequestValidationError)
    def missing(request: Request, error: Exception) -> Response:
        return notice("missing", _asked_language(request), 404)

    @app.exception_handler(HTTPException)
    def other(request: Request, error: HTTPException) -> Response:
        kind = "missing" if error.status_code == 404 else "method"
        response = notice(kind, _asked_language(request), error.status_code)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(OperationalError)
    def busy(request: Request, error: OperationalError) -> Response:
        response = notice("busy", _asked_language(request), 503)
        response.headers["Retry-After"] = "120"
        return response


def _health(app: FastAPI, engine: Engine) -> None:
    @_shown(app, "/livez")
    def alive() -> Response:
        return PlainTextResponse("ok")

    @_shown(app, "/readyz")
    def ready() -> Response:
        try:
            with reading(engine) as conn:
                conn.execute(select(lists.c.id).limit(1)).all()
        except SQLAlchemyError:
            return PlainTextResponse("the database does not answer", 503)
        return PlainTextResponse("ready")


def _items(app: FastAPI, engine: Engine) -> None:
    @_shown(app, "/items/{item_id}")
    def item(request: Request, item_id: Number) -> Response:
        language = _asked_language(request)
        with reading(engine) as conn:
            story = find_story(conn, item_id, language)
        if story is None:
            return notice("missing", language, 404)
        if story.withdrawn:
            return notice("withdrawn", language, 410)
        response = story_page(story, language)
        response.headers["Cache-Control"] = "public, max-age=60"
        response.headers["Vary"] = "Accept-Language"
        return response


def _leaving(app: FastAPI, engine: Engine, key: str, clock: Clock) -> None:
    @_shown(app, "/u/{token}")
    def ask(token: str) -> Response:
        number = read_token(key, "unsubscribe", token)
        with reading(engine) as conn:
            reader = find_reader(conn, number)
        return page("leave.html", reader.language, reader=reader, left=reader.state == "unsubscribed")

    @_done(app, "/u/{token}")
    def leave(token: str) -> Response:
        # RFC 8058, 3.2: the token alone decides; no cookie, no redirect, and the body says nothing more.
        number = read_token(key, "unsubscribe", token)
        with engine.begin() as conn:
            reader = find_reader(conn, number)
            if reader.state != "unsubscribed":
                audience.unsubscribe(conn, number, SOURCE_LINK, clock())
        return page("leave.html", reader.language, reader=reader, left=True)


def _due(reader: Reader, now: datetime) -> datetime:
    return next_due(reader.frequency, reader.hour, reader.weekday, reader.timezone, now)


def _confirming(app: FastAPI, engine: Engine, key: str, clock: Clock) -> None:
    @_shown(app, "/c/{token}")
    def ask(token: str) -> Response:
        number = read_token(key, "confirm", token)
        with reading(engine) as conn:
            reader = find_reader(conn, number)
        return page("confirm.html", reader.language, reader=reader)

    @_done(app, "/c/{token}")
    def confirm(token: str) -> Response:
        number = read_token(key, "confirm", token)
        with engine.begin() as conn:
            reader = find_reader(conn, number)
            # A link from an old mail must not bring back somebody who has left since.
            if reader.state == "pending":
                now = clock()
                audience.confirm(conn, number, SOURCE_LINK, _due(reader, now), now)
            reader = find_reader(conn, number)
        return page("confirm.html", reader.language, reader=reader)


def _preferences(app: FastAPI, engine: Engine, key: str, clock: Clock) -> None:
    def show(conn: Connection, token: str, number: int, notice_key: str = "") -> Response:
        leave = "/u/" + make_token(key, "unsubscribe", number)
        return preferences_page(find_reader(conn, number), token, leave, notice_key)

    @_shown(app, "/p/{token}")
    def preferences(token: str) -> Response:
        number = read_token(key, "preferences", token)
        with reading(engine) as conn:
            return show(conn, token, number)

    @_done(app, "/p/{token}/pause")
    def pause(token: str) -> Response:
        number = read_token(key, "preferences", token)
        with engine.begin() as conn:
            changes = find_reader(conn, number).state == "active"
            if changes:
                audience.pause(conn, number, clock())
            return show(conn, token, number, "paused_notice" if changes else "")

    @_done(app, "/p/{token}/resume")
    def resume(token: str) -> Response:
        number = read_token(key, "preferences", token)
        with engine.begin() as conn:
            reader = find_reader(conn, number)
            if reader.state == "paused":
                now = clock()
                audience.resume(conn, number, _due(reader, now), now)
            return show(conn, token, number, "resumed_notice" if reader.state == "paused" else "")
