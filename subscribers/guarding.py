"""What every answer of the site has in common: its headers, no more body read than is needed, and never a trace."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Callable, Mapping
from pathlib import PurePath

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from subscribers.vetting import Fault, Rules, vet, vet_body

BODY_LIMIT = 64 * 1024
SECONDS, SLOWEST = 20.0, 50_000
"""A body has this long, and a second more for each so many bytes that it may have."""
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
ALWAYS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Permissions-Policy": (
        "accelerometer=(), autoplay=(), browsing-topics=(), camera=(), display-capture=(), geolocation=(), "
        "gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), usb=()"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""An answer that brings its own is believed."""
FRAMED = {
    "Content-Security-Policy": POLICY.replace("frame-ancestors 'none'", "frame-ancestors *"),
    "Cross-Origin-Resource-Policy": "cross-origin",
}
"""For the one page that other sites may frame: a route says so with ``request.state.framed = True``."""
HSTS = "max-age=31536000"
"""RFC 6797. Not for names below ours: those are somebody else's to decide about."""
STATIC = "/static/"
KEPT = "public, max-age=600, stale-while-revalidate=86400"

OURS = re.compile(r"[/\\](newsletter|subscribers|tests)[/\\](?!.*site-packages)")

Refuse = Callable[[Scope, Fault, int], Response]
log = structlog.get_logger("site")


class Guard:
    """ASGI middleware: what it refuses, and whatever fails, is answered by ``refuse(scope, fault, limit)``.

    ``secure``: readers reach the site by https only. ``others``: what an address begins with → bytes of a body, in
    place of 64 KB; the first that fits. Why a request was refused is left in its state as ``refused``.
    """

    def __init__(
        self, app: ASGIApp, refuse: Refuse, rules: Rules, secure: bool = False, others: Mapping[str, int] | None = None
    ) -> None:
        self.app = app
        self.refuse = refuse
        self.rules = rules
        self.secure = secure
        self.others = others or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        begun = False

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._complete(scope, message)
            await send(message)

        async def refused(fault: Fault) -> None:
            state["refused"] = fault
            await self.refuse(scope, fault, limit)(scope, receive, with_headers)

        limit = next((most for start, most in self.others.items() if scope["path"].startswith(start)), BODY_LIMIT)
        try:
            fault, body = vet(scope, self.rules), b""
            if not fault:
                read = await _read(receive, Headers(scope=scope).get("content-length", ""), limit)
                fault, body = (vet_body(scope, read, self.rules), read) if isinstance(read, bytes) else (read, b"")
            if fault:
                await refused(fault)
                return
            await self.app(scope, _replay(body, receive), with_headers)
        except Exception as error:  # noqa: BLE001 - the last who can answer, and the one who must not tell too much
            # No trace: what was worked on stands in it.
            log.error("failed", error=type(error).__qualname__, at=_where(error))  # noqa: TRY400
            if not begun:
                await refused("broken")

    def _complete(self, scope: Scope, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        if scope["state"].get("framed"):
            headers.update(FRAMED)
        for name, value in ALWAYS.items():
            headers.setdefault(name, value)
        if self.secure or scope["scheme"] == "https":
            headers["Strict-Transport-Security"] = HSTS
        if scope["path"].startswith(STATIC) and message["status"] in (200, 206, 304):
            headers.setdefault("Cache-Control", KEPT)
        # Whatever does not say that it may be kept is about one reader.
        headers.setdefault("Cache-Control", "no-store")


def _where(error: BaseException) -> str:
    """The places in the code that an error came through, and nothing of what was worked on there."""
    frames = list(traceback.extract_tb(error.__traceback__))
    # Those of libraries are many, and the last of them says enough.
    frames = [frame for frame in frames[:-1] if OURS.search(frame.filename)][-6:] + frames[-1:]
    return " < ".join(f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))


async def _read(receive: Receive, announced: str, limit: int) -> bytes | Fault:
    """The whole body, or why there is none."""
    if announced.isdecimal() and int(announced) > limit:
        return "too_large"
    body = bytearray()
    try:
        async with asyncio.timeout(SECONDS + limit / SLOWEST):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return "broken_off"
                body += message.get("body", b"")
                if len(body) > limit:
                    return "too_large"
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        return "slow"


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return again
