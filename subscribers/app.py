"""The readers' site, put together. A GET changes nothing; whatever does is a POST behind a button."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.staticfiles import StaticFiles
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from newsletter.errors import InputError
from newsletter.settings import Settings
from subscribers.api.application import LIMITS, mounted
from subscribers.guarding import Guard
from subscribers.metrics import Measured, Metrics
from subscribers.rendering import DEFAULT, HERE, notice
from subscribers.routes import (
    account,
    archive,
    branding,
    confirming,
    health,
    leaving,
    preferences,
    previewing,
    reading,
    subscribing,
)
from subscribers.site import Clock, Site, asked_language, utc_now


def site_app(engine: Engine, settings: Settings, clock: Clock = utc_now) -> FastAPI:
    """The readers' site over the database behind ``engine``.

    Raises:
        SettingsError: there is no secret key to check links with.
    """
    site = Site(engine, settings, clock)
    # Asked for now: a site that cannot check links is not to start.
    assert site.key
    app = FastAPI(title="Newsletter", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    metrics = Metrics()
    metrics.watch(engine)
    # No page holds a secret beside what somebody else may put into it, so that compressing tells nothing (BREACH).
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=6)
    app.add_middleware(Guard, too_large=notice("too_large", DEFAULT, 413), others=LIMITS)
    app.add_middleware(Measured, metrics=metrics)
    _problems(app)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.router.routes.append(mounted(site))
    app.include_router(health.routes(site, metrics))
    # Subscribing comes last: a list's page may have any address that nothing else has.
    parts = (reading, leaving, confirming, preferences, account, archive, branding, previewing, subscribing)
    for part in parts:
        app.include_router(part.routes(site))
    return app


def _problems(app: FastAPI) -> None:
    @app.exception_handler(InputError)
    @app.exception_handler(RequestValidationError)
    def missing(request: Request, error: Exception) -> Response:
        return notice("missing", asked_language(request), 404)

    @app.exception_handler(HTTPException)
    def other(request: Request, error: HTTPException) -> Response:
        kind = "missing" if error.status_code == 404 else "method"
        response = notice(kind, asked_language(request), error.status_code)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(OperationalError)
    def busy(request: Request, error: OperationalError) -> Response:
        response = notice("busy", asked_language(request), 503)
        response.headers["Retry-After"] = "120"
        return response
