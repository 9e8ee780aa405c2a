"""What is told of each request: a line in the log and a count, which name neither a reader nor a link."""

from __future__ import annotations

import time

import structlog
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from newsletter.database import why_away
from subscribers.metrics import Metrics
from subscribers.vetting import PROBES

METHODS = ("GET", "HEAD", "POST")
NOT_BELIEVED = (
    "X-Forwarded-For came from somewhere that is not in NEWSLETTER_TRUSTED_PROXIES, and is not believed: "
    "if that is your proxy, all readers count as one network. See docs/operating.md"
)

log = structlog.get_logger("site")


class Watched:
    """ASGI middleware: route, status and time of each answer; not path, query, body, address or agent.

    It stands around what believes proxies, and says once if one is not believed.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics
        self._warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        connected = scope.get("client")
        began = time.perf_counter()
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            self._tell(scope, status, time.perf_counter() - began)
            if not self._warned and scope.get("client") is connected and "x-forwarded-for" in Headers(scope=scope):
                self._warned = True
                log.warning(NOT_BELIEVED)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = template(scope)
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.metrics.answered(method, route, status, seconds)
        refused = scope.get("state", {}).get("refused")
        why = {"refused": refused} if refused else {}
        quiet = scope["path"] in PROBES or scope["path"].startswith("/static/")
        tell = log.error if status >= 500 else log.debug if quiet else log.info
        tell("request", method=method, route=route, status=status, ms=round(seconds * 1000, 1), **why)


def note_failure(request: Request, error: Exception) -> None:
    """Have the log say why the database did not serve a request; of what is no outage only its kind, without values."""
    request.state.refused = why_away(error) or type(error).__qualname__


def template(scope: Scope) -> str:
    """The address of the route that took a request, placeholders for what varies; ``none`` if nothing did."""
    return str(scope.get("root_path", "")) + str(getattr(scope.get("route"), "path", "")) or "none"
