"""The inbox as one process: SMTP and web side by side until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Collection
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from newsletter.hosts import is_this_machine
from newsletter.inbox.smtp import listen, port_of, start_smtp
from newsletter.inbox.store import Store
from newsletter.inbox.web import inbox_app

SMTP = "The inbox's SMTP", ("NEWSLETTER_INBOX_HOST", "NEWSLETTER_INBOX_SMTP_PORT")
WEB = "The inbox's web", ("NEWSLETTER_INBOX_HOST", "NEWSLETTER_INBOX_WEB_PORT")

Ready = Callable[[int, int], None]


class _Server(uvicorn.Server):
    """uvicorn, which tells when it answers."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self.on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self.on_started()


async def _serve(
    store: Store,
    smtp: socket.socket,
    web: socket.socket,
    mount: FastAPI | None,
    site: str,
    names: Collection[str],
    ready: Ready,
) -> None:
    config = uvicorn.Config(
        inbox_app(store, mount, site, names),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=3,
    )
    server = _Server(config, lambda: ready(port_of(smtp), port_of(web)))
    listening = await start_smtp(store, smtp)
    try:
        await server.serve(sockets=[web])
    finally:
        listening.close()


def check_ports(host: str, smtp_port: int, web_port: int) -> None:
    """Whether an inbox could be started here.

    Raises:
        StateError: a port is in use; the message names it and its setting.
    """
    with listen(host, smtp_port, *SMTP), listen(host, web_port, *WEB):
        pass


def run_inbox(
    host: str,
    smtp_port: int,
    web_port: int,
    folder: Path,
    mount: FastAPI | None = None,
    site: str = "",
    names: Collection[str] = (),
    on_ready: Ready = lambda smtp_port, web_port: None,
) -> None:
    """Serve the inbox until SIGTERM or SIGINT; ``on_ready`` gets the real SMTP and web ports at the start.

    ``mount`` is the readers' site, served by the same web server so that links
    in the mails, which begin with ``site``, work. Where only this machine reaches it, it answers to this machine's
    names and those of the site (``names``) alone.

    Raises:
        StateError: a port is in use; the message names it and its setting.
    """
    names = {"localhost", *names} if is_this_machine(host) else ()
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    with listen(host, smtp_port, *SMTP) as smtp, listen(host, web_port, *WEB) as web:
        try:
            asyncio.run(_serve(Store(folder), smtp, web, mount, site, names, on_ready))
        except KeyboardInterrupt:
            # uvicorn has already stopped in good order and hands the signal on.
            return
