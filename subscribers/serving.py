"""The site over HTTP: uvicorn with llhttp, which reads requests in C."""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from newsletter.collecting import collect_seldom
from subscribers.guarding import ALWAYS
from subscribers.rendering import notice

HEAD_LIMIT = 64 * 1024
"""Bytes that may come without being a body: of a head or of trailers. What is beyond half of it, ``vetting`` refuses
in the reader's language; this only keeps one that has no end from growing."""
REQUEST_SECONDS = 75
"""A connection has this long until the end of its first request, and each further request has. It is longer than any
body has (``guarding``), so that who is only slow is told so."""


class Requests(HttpToolsProtocol):
    """Requests of one connection. llhttp sets no limit to their heads; and what is no request gets a page, too."""

    _unread = 0
    """Bytes since the last piece of a body or end of a request."""
    _patience: TimerHandle | None = None
    """What hangs up on a request that does not come to its end, unless it is cancelled."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Wait for the first request, but not for ever: a process can hold some thousand connections."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins, and is to come to its end."""
        self._wait()
        super().on_message_begin()

    def data_received(self, data: bytes) -> None:
        """Read on, unless this has been going on for too long."""
        self._unread += len(data)
        super().data_received(data)
        if self._unread > HEAD_LIMIT:
            self._refuse(431)

    def on_body(self, body: bytes) -> None:
        """What comes is a body, which the site itself sets a limit to."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has come to its end."""
        self._unread = 0
        self._stop_waiting()
        super().on_message_complete()

    def _wait(self) -> None:
        self._stop_waiting()
        self._patience = self.loop.call_later(REQUEST_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request (RFC 9112, 2.2), or has a method that is none."""
        self._refuse(400)

    def _refuse(self, status: int) -> None:
        # Into an answer that has begun, nothing can be written.
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            # In which language to answer stood in what could not be read.
            self.transport.write(_wired(notice("unreadable", "en", status)))
        self.transport.close()


def _wired(response: Response) -> bytes:
    """An answer as it goes over the wire, the last of its connection."""
    headers: Mapping[str, str] = {**response.headers, **ALWAYS, "Cache-Control": "no-store", "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    reason = {400: "Bad Request", 431: "Request Header Fields Too Large"}[response.status_code]
    return f"HTTP/1.1 {response.status_code} {reason}\r\n{head}\r\n".encode() + bytes(response.body)


@asynccontextmanager
async def running(_app: ASGIApp) -> AsyncIterator[None]:
    """How the process lives while it serves the site (an ASGI lifespan)."""
    collect_seldom()
    yield


def served(app: ASGIApp, **options: Any) -> uvicorn.Config:
    """How uvicorn serves the site. An access log would hold the tokens of every reader; whom a proxy asks for
    (``X-Forwarded-For``) is read by the site itself."""
    return uvicorn.Config(
        app, http=Requests, ws="none", access_log=False, server_header=False, proxy_headers=False, **options
    )
