"""A client that speaks to an ASGI application in this process, over the bytes of HTTP but without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx


class Direct(httpx.BaseTransport):
    """Carries requests into an application and its answers out; what it raises comes out too."""

    def __init__(self, app: object) -> None:
        self._inner = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        self._loop = asyncio.new_event_loop()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def carry() -> httpx.Response:
            body = request.read()
            sent = httpx.Request(request.method, request.url, headers=request.headers, content=body)
            answer = await self._inner.handle_async_request(sent)
            return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

        return self._loop.run_until_complete(carry())

    def close(self) -> None:
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


def client_of(app: object, headers: Mapping[str, str]) -> httpx.Client:
    """A client of an application."""
    return httpx.Client(transport=Direct(app), base_url="http://localhost", headers=dict(headers))
