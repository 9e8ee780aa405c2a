"""The log of the site: a line a request, which names neither a reader nor a link."""

from __future__ import annotations

import time

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from subscribers.metrics import METHODS, template
from subscribers.vetting import PROBES

NOT_BELIEVED = (
    "X-Forwarded-For came from somewhere that is not in NEWSLETTER_TRUSTED_PROXIES, and is not believed: "
    "if that is your proxy, all readers count as one network. See docs/operating.md"
)

log = structlog.get_logger("site")


class Logged:
    """ASGI middleware: writes route, status and time of each answer; not path, query, body, address or agent.

    It stands around what believes proxies, and says once if one is not believed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
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
            method = scope["method"] if scope["method"] in METHODS else "other"
            refused = scope.get("state", {}).get("refused")
            why = {"refused": refused} if refused else {}
            quiet = scope["path"] in PROBES or scope["path"].startswith("/static/")
            tell = log.error if status >= 500 else log.debug if quiet else log.info
            ms = round((time.perf_counter() - began) * 1000, 1)
            if not self._warned and scope.get("client") is connected and "x-forwarded-for" in Headers(scope=scope):
                self._warned = True
                log.warning(NOT_BELIEVED)
            tell("request", method=method, route=template(scope), status=status, ms=ms, **why)
