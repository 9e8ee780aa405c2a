"""``newsletter worker | beat | inbox | site | up``: the processes of the house.

What only they need is imported where they start: every other command would wait for it, too.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Annotated

import structlog
import typer
from sqlalchemy import Engine, select

from newsletter.cli.output import say, warn
from newsletter.cli.setup import make_key
from newsletter.cli.shared import opened
from newsletter.cli.supervising import Supervisor, free_port, is_listening
from newsletter.database import engine_for, reading
from newsletter.delivery.relays import LOCAL, relays_of
from newsletter.errors import StateError
from newsletter.migrations import upgrade
from newsletter.settings import PLACEHOLDER_SITE, Settings, load_settings
from newsletter.tables import lists

SITE_PORT = 8026
REDIS_SECONDS = 2
"""That Redis has for an answer when all starts."""
MOST_PAGES = 5

LEVELS = logging.getLevelNamesMapping()


def _set_up_logs(settings: Settings) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.log_level.upper()]))


def worker(
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, help="Processes. Default: NEWSLETTER_WORKERS.")
    ] = None,
) -> None:
    """Run a Celery worker: it assembles and sends. Start as many as you like, on any machine.

    Example: `newsletter worker --concurrency 4`
    """
    house = opened()
    house.settings.make_home()
    _set_up_logs(house.settings)
    from newsletter.delivery import dispatch

    dispatch.warm_up(house.settings)
    # Only here: it needs NEWSLETTER_REDIS_URL, which other commands do not.
    from worker.app import app

    count = str(concurrency or house.settings.workers)
    arguments = ["worker", "--concurrency", count, "--loglevel", house.settings.log_level]
    # Our tasks ask the database what to do; workers have nothing to tell one another.
    arguments += ["--without-gossip", "--without-mingle", "-n", f"newsletter-{os.getpid()}@%h"]
    app.worker_main(arguments)


def beat() -> None:
    """Run Celery beat: it asks the database every NEWSLETTER_TICK_SECONDS what is due. Two do no harm.

    Example: `NEWSLETTER_TICK_SECONDS=30 newsletter beat`
    """
    house = opened()
    _set_up_logs(house.settings)
    from worker.app import app

    app.start(["beat", "--loglevel", house.settings.log_level, "--pidfile="])


def inbox() -> None:
    """Run the capture inbox: an SMTP server that keeps what it gets and shows it in the browser.

    Links in the mails it holds lead to the readers' site, which it serves as well.

    Example: `NEWSLETTER_INBOX_WEB_PORT=8030 newsletter inbox`
    """
    from newsletter.hosts import host_names
    from newsletter.inbox.server import run_inbox
    from subscribers.app import site_app
    from subscribers.rendering import beside_inbox

    house = opened()
    settings = house.settings
    # With an address of its own it is a site that readers reach.
    if settings.site == PLACEHOLDER_SITE:
        beside_inbox("/")
    _set_up_logs(settings)
    run_inbox(
        settings.inbox_host,
        settings.inbox_smtp_port,
        settings.inbox_web_port,
        settings.home / "inbox",
        mount=site_app(house.engine, settings),
        site=settings.site,
        names=host_names(settings.site, settings.site_hosts.split()),
        on_ready=lambda smtp, web: say(
            f"Inbox: http://{settings.inbox_host}:{web}/ (SMTP on {settings.inbox_host}:{smtp})"
        ),
    )


def site(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = (
        SITE_PORT
    ),
) -> None:
    """Run the readers' site, which links in mails lead to: put an https proxy in front of it.

    Example: `newsletter site --host 0.0.0.0 --port 8026`
    """
    import uvicorn

    from newsletter.inbox.smtp import listen, port_of
    from subscribers.app import site_app
    from subscribers.serving import served

    house = opened()
    _set_up_logs(house.settings)
    app = site_app(house.engine, house.settings)
    with listen(host, port, "The site's", ("--host", "--port")) as listener:
        server = uvicorn.Server(served(app, log_level="warning"))
        say(f"Readers' site: http://{host}:{port_of(listener)}/")
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def with_ports(settings: Settings) -> Settings:
    """These settings with free ports in place of 0: worker and inbox have to speak of the same one."""
    chosen: dict[str, int] = {}
    for name in ("inbox_smtp_port", "inbox_web_port"):
        port = getattr(settings, name)
        while port == 0 or port in chosen.values():
            port = free_port(settings.inbox_host)
        chosen[name] = port
    return settings.model_copy(update=chosen)


def captures(settings: Settings) -> bool:
    """Whether mail goes to the inbox of this machine, so that it has to be there."""
    here = {settings.inbox_host, *LOCAL} if settings.inbox_host in LOCAL else {settings.inbox_host}
    return any(
        relay.security == "none" and relay.host in here and relay.port == settings.inbox_smtp_port
        for relay in relays_of(settings)
    )


def start_house(supervisor: Supervisor, settings: Settings, environment: dict[str, str]) -> None:
    """Start what ``settings``, in which no port is 0, does not say is elsewhere: Valkey, inbox or site, worker, beat.

    Raises:
        StateError: one of them does not start, or its port is taken.
    """
    environment = {
        "NEWSLETTER_HOME": str(settings.home.absolute()),
        "NEWSLETTER_INBOX_SMTP_PORT": str(settings.inbox_smtp_port),
        "NEWSLETTER_INBOX_WEB_PORT": str(settings.inbox_web_port),
        **environment,
    }
    in_front = "inbox" if captures(settings) else "site"
    _check_ports(settings, in_front)
    if not settings.redis_url:
        environment["NEWSLETTER_REDIS_URL"] = supervisor.start_valkey()
    if in_front == "site":
        site_child = supervisor.start_own("site", "site", environment=environment)
        supervisor.wait_for(site_child, lambda: is_listening("127.0.0.1", SITE_PORT))
    else:
        inbox_child = supervisor.start_own("inbox", "inbox", environment=environment)
        supervisor.wait_for(
            inbox_child,
            lambda: (
                is_listening(settings.inbox_host, settings.inbox_smtp_port)
                and is_listening(settings.inbox_host, settings.inbox_web_port)
            ),
        )
    supervisor.start_own("worker", "worker", environment=environment)
    supervisor.start_own("beat", "beat", environment=environment)


def _check_ports(settings: Settings, in_front: str) -> None:
    """Refuse to take another program for ours."""
    if in_front == "site":
        if is_listening("127.0.0.1", SITE_PORT):
            raise StateError(
                f"The port {SITE_PORT} of the readers' site is in use on this machine.", "Stop what uses it."
            )
        return
    from newsletter.inbox.server import check_ports

    check_ports(settings.inbox_host, settings.inbox_smtp_port, settings.inbox_web_port)


def _warn_of_redis(url: str) -> None:
    from redis import Redis, RedisError

    try:
        with Redis.from_url(url, socket_connect_timeout=REDIS_SECONDS, socket_timeout=REDIS_SECONDS) as client:
            client.ping()
    except (RedisError, OSError, ValueError):
        warn("Redis at NEWSLETTER_REDIS_URL does not answer.", "No digest is sent until it does; nothing is lost.")


def _site_pages(engine: Engine, front: str) -> str:
    """Where readers sign up: the pages of the public lists, where ``front`` is the site's address."""
    open_ones = select(lists.c.slug).where(lists.c.is_public, lists.c.archived_at.is_(None)).order_by(lists.c.slug)
    with reading(engine) as connection:
        slugs = connection.scalars(open_ones.limit(MOST_PAGES)).all()
    return " ".join(f"{front}{slug}" for slug in slugs) or f"{front}LIST, once there is a public list"


def up() -> None:
    """Run everything on this machine until Ctrl-C: worker, beat, and what no URL is configured for.

    Without NEWSLETTER_REDIS_URL an embedded Valkey is started; without a relay the capture
    inbox, so that nothing leaves this machine.

    Example: `newsletter init && newsletter up`
    """
    settings = with_ports(load_settings())
    settings.make_home()
    engine = engine_for(settings.database)
    upgrade(engine)
    make_key(settings, engine)
    from newsletter.delivery import dispatch

    dispatch.warm_up(settings)
    with Supervisor(settings.home) as supervisor:
        if settings.redis_url:
            _warn_of_redis(settings.redis_url)
        start_house(supervisor, settings, {})
        through = " and ".join(map(str, relays_of(settings)))
        inbox_page = f"http://{settings.inbox_host}:{settings.inbox_web_port}/"
        front = inbox_page if captures(settings) else f"http://127.0.0.1:{SITE_PORT}/"
        if not captures(settings):
            say(f"Sending through {through}.")
        elif len(relays_of(settings)) > 1:
            say(f"Sending through {through}. Inbox: {inbox_page}")
        else:
            say(f"Inbox: {inbox_page}  (nothing leaves this machine)")
        say(f"Readers' site: {_site_pages(engine, front)}")
        say(f"Logs: {supervisor.home / 'logs'}. Ctrl-C stops everything.")
        supervisor.watch()
        say("Stopping …")
    say("Stopped.")
