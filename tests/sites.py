"""An ASGI application on a free port, and a client to ask it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from stack import wait_until


def asking(url: str, **options: Any) -> httpx.Client:
    """A client without certificates of the world: to read them takes longer than most tests."""
    return httpx.Client(base_url=url, timeout=60, verify=False, **options)


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """Serve an application; its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    wait_until(lambda: server.started, 20)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
