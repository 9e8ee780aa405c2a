"""Requests as they may come off the wire, put to an ASGI application without a client that would mend them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

FORM = "application/x-www-form-urlencoded"
Pairs = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Raw:
    """An answer."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """A header's value; empty if there is none."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode()


class Wire:
    """An application, asked as uvicorn asks it."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()

    def __call__(
        self,
        method: str,
        target: str,
        headers: Pairs = (),
        body: bytes | Sequence[bytes] = b"",
        *,
        host: str = "localhost",
        client: str = "127.0.0.1",
        scheme: str = "http",
    ) -> Raw:
        """``target`` in ASCII, as it is sent; ``body`` in the pieces that it comes in."""
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": scheme,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in (*((("host", host),) if host else ()), *headers)
            ],
            "client": (client, 50000),
            "server": ("127.0.0.1", 80),
        }
        return self._loop.run_until_complete(self._ask(scope, [body] if isinstance(body, bytes) else list(body)))

    async def _ask(self, scope: dict[str, Any], pieces: list[bytes]) -> Raw:
        waiting = [
            {"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1}
            for number, piece in enumerate(pieces)
        ]
        sent: list[dict[str, Any]] = []

        async def receive() -> Any:
            if waiting:
                return waiting.pop(0)
            await asyncio.sleep(3600)

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in sent[0]["headers"]]
        return Raw(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))

    def close(self) -> None:
        """End the threads that worked for it."""
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
