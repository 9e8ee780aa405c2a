"""Whether the site is alive and able to work, and what it counts."""

from __future__ import annotations

import json
from functools import cache

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from redis import Redis, RedisError
from sqlalchemy.exc import SQLAlchemyError

from newsletter.database import reading
from newsletter.migrations import latest, revision_of
from subscribers.api.access import admit
from subscribers.api.problems import Refused, problem, too_many
from subscribers.gauges import gauges
from subscribers.limiting import TooMany
from subscribers.metrics import Metrics
from subscribers.site import Site, shown

PATIENCE = 2
"""Seconds that Redis has for each step of an answer."""


def routes(site: Site, metrics: Metrics) -> APIRouter:
    """``/healthz``, ``/readyz`` and ``/metrics``."""
    router = APIRouter()

    @shown(router, "/healthz")
    def alive() -> Response:
        return PlainTextResponse("ok")

    @shown(router, "/readyz")
    def ready() -> Response:
        needed = _database(site)
        able = all(said == "ok" for said in needed.values())
        # Without Redis every page is shown, and each process counts by itself: it takes no reader away.
        told = {"ready": able, **needed, "redis": _redis(site.settings.redis_url)}
        return Response(json.dumps(told), 200 if able else 503, media_type="application/json")

    @shown(router, "/metrics")
    def counted(request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            admit(site, token.strip() if scheme.lower() == "bearer" and token.strip() else None, "metrics:read")
        except Refused as refused:
            return problem(refused)
        except TooMany as error:
            return problem(too_many(error))
        return Response(metrics.text() + gauges(site), media_type=CONTENT_TYPE_LATEST)

    return router


NO_REDIS = "not configured"

_needed = cache(latest)


def _database(site: Site) -> dict[str, str]:
    """``database`` and ``migrations``: ok, or why not; nothing that would tell where the database is."""
    try:
        with reading(site.engine) as connection:
            revision = revision_of(connection)
    except SQLAlchemyError:
        return {"database": "does not answer", "migrations": "not known"}
    if not revision:
        return {"database": "ok", "migrations": "none has run; run `newsletter init`"}
    if revision != _needed():
        return {"database": "ok", "migrations": f"at {revision}, this version needs {_needed()}"}
    return {"database": "ok", "migrations": "ok"}


def _redis(url: str) -> str:
    if not url:
        return NO_REDIS
    try:
        with Redis.from_url(url, socket_connect_timeout=PATIENCE, socket_timeout=PATIENCE) as client:
            client.ping()
    except (RedisError, OSError, ValueError):
        return "does not answer"
    return "ok"
