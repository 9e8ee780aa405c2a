"""What every answer of the site has in common: its headers, and no more body read than is needed."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_LIMIT = 64 * 1024
ALWAYS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}
FRAMED = ALWAYS["Content-Security-Policy"].replace("frame-ancestors 'none'", "frame-ancestors *")
"""For the one page that other sites may frame: a route says so with ``request.state.framed = True``."""


class Guard:
    """ASGI middleware: adds the headers, and answers ``too_large`` (413) to a body beyond 64 KB.

    ``others``: what an address begins with → another limit in bytes, and the answer beyond it; the first that fits.
    """

    def __init__(
        self, app: ASGIApp, too_large: Response, others: Mapping[str, tuple[int, Response]] | None = None
    ) -> None:
        self.app = app
        self.too_large = too_large
        self.others = others or {}

    def _limit(self, path: str) -> tuple[int, Response]:
        for beginning, found in self.others.items():
            if path.startswith(beginning):
                return found
        return BODY_LIMIT, self.too_large

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        scope.setdefault("state", {})

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ALWAYS.items():
                    headers.setdefault(name, value)
                if scope["state"].get("framed"):
                    headers["Content-Security-Policy"] = FRAMED
                # Whatever does not say that it may be kept is about one reader.
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        limit, too_large = self._limit(scope["path"])
        body = await _read(receive, Headers(scope=scope).get("content-length", ""), limit)
        if body is None:
            await too_large(scope, receive, with_headers)
            return
        await self.app(scope, _replay(body, receive), with_headers)


async def _read(receive: Receive, announced: str, limit: int) -> bytes | None:
    """The whole body, or None if it is larger than the limit or was broken off."""
    if announced.isdecimal() and int(announced) > limit:
        return None
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body"):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return again
