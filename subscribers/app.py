"""The readers' site, put together. A GET changes nothing; whatever does is a POST behind a button."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.staticfiles import StaticFiles
from sqlalchemy import Engine
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from newsletter.hosts import host_names, trusted
from newsletter.settings import Settings
from subscribers.api.application import LIMITS, PREFIX, mounted
from subscribers.guarding import Guard
from subscribers.metrics import Metrics
from subscribers.refusing import answer_problems, refusal
from subscribers.rendering import HERE
from subscribers.routes import (
    account,
    archive,
    branding,
    confirming,
    health,
    leaving,
    muting,
    preferences,
    previewing,
    reading,
    robots,
    subscribing,
)
from subscribers.serving import running
from subscribers.site import Clock, Site, utc_now
from subscribers.vetting import Rules
from subscribers.watching import Watched


def site_app(engine: Engine, settings: Settings, clock: Clock = utc_now) -> FastAPI:
    """The readers' site over the database behind ``engine``.

    Raises:
        SettingsError: there is no secret key to check links with.
    """
    site = Site(engine, settings, clock)
    # Asked for now: a site that cannot check links is not to start.
    assert site.key
    app = FastAPI(
        title="Newsletter",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=running,
    )
    metrics = Metrics()
    metrics.watch(engine)
    # No page holds a secret beside what somebody else may put into it, so that compressing tells nothing (BREACH).
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=6)
    rules = Rules(host_names(settings.base_url, settings.site_hosts.split()), PREFIX)
    secure = settings.base_url.startswith("https:")
    app.add_middleware(Guard, refuse=refusal, rules=rules, secure=secure, others=LIMITS)
    app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=trusted(settings.proxies))
    app.add_middleware(Watched, metrics=metrics)
    answer_problems(app)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.router.routes.append(mounted(site))
    # Subscribing comes last: a list's page may have any address that nothing else has.
    parts = (robots, reading, leaving, confirming, preferences, muting, account, archive, branding, previewing)
    routers = [health.routes(site, metrics), *(part.routes(site) for part in (*parts, subscribing))]
    # Of a router that is included each route is asked twice, and with more ado.
    app.router.routes += [route for router in routers for route in router.routes]
    return app
