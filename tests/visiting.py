"""The readers' site on a free port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from house import House
from sites import asking
from stack import wait_until

from subscribers.app import site_app
from subscribers.serving import served


@contextmanager
def visiting(house: House) -> Iterator[httpx.Client]:
    """The site over a house, and a client that asks it."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = site_app(house.engine, house.settings, house.clock)
    server = uvicorn.Server(served(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    wait_until(lambda: server.started, 10)
    with asking(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
        yield client
    server.should_exit = True
    thread.join()
