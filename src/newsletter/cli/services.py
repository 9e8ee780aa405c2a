"""``newsletter worker | beat | inbox | site | up``: the processes of the house."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import structlog
import typer
import uvicorn

from newsletter.cli.output import say
from newsletter.cli.shared import opened
from newsletter.cli.supervising import Supervisor, is_listening
from newsletter.database import engine_for
from newsletter.delivery import dispatch
from newsletter.delivery.relays import relays_of
from newsletter.inbox.server import run_inbox
from newsletter.migrations import upgrade
from newsletter.settings import Settings, load_settings
from subscribers.app import site_app

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
    _set_up_logs(house.settings)
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
    house = opened()
    settings = house.settings
    run_inbox(
        settings.inbox_host,
        settings.inbox_smtp_port,
        settings.inbox_web_port,
        settings.home / "inbox",
        mount=site_app(house.engine, settings),
        site=settings.site,
        on_ready=lambda smtp, web: say(
            f"Inbox: http://{settings.inbox_host}:{web}/ (SMTP on {settings.inbox_host}:{smtp})"
        ),
    )


def site(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 8026,
) -> None:
    """Run the readers' site, which links in mails lead to: put an https proxy in front of it.

    Example: `newsletter site --host 0.0.0.0 --port 8026`
    """
    house = opened()
    # An access log would hold the tokens of every reader.
    uvicorn.run(site_app(house.engine, house.settings), host=host, port=port, access_log=False, server_header=False)


def start_house(supervisor: Supervisor, settings: Settings, environment: dict[str, str]) -> None:
    """Start what ``settings`` does not say is elsewhere: Valkey, inbox or site, worker and beat."""
    environment = {"NEWSLETTER_HOME": str(settings.home.absolute()), **environment}
    if not settings.redis_url:
        environment["NEWSLETTER_REDIS_URL"] = supervisor.start_valkey()
    if not any(relay.security == "none" and relay.host == settings.inbox_host for relay in relays_of(settings)):
        supervisor.start_own("site", "site", environment=environment)
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


def up() -> None:
    """Run everything on this machine until Ctrl-C: worker, beat, and what no URL is configured for.

    Without NEWSLETTER_REDIS_URL an embedded Valkey is started; without a relay the capture
    inbox, so that nothing leaves this machine.

    Example: `newsletter init && newsletter up`
    """
    settings = load_settings()
    upgrade(engine_for(settings.database))
    settings.make_key()
    dispatch.warm_up(settings)
    with Supervisor(settings.home) as supervisor:
        start_house(supervisor, settings, {})
        if settings.smtp_url or settings.relays:
            through = " and ".join(map(str, relays_of(settings)))
            say(f"Sending through {through}. Readers' site: http://127.0.0.1:8026/")
        else:
            say(f"Inbox: http://{settings.inbox_host}:{settings.inbox_web_port}/  (nothing leaves this machine)")
        say(f"Logs: {supervisor.home / 'logs'}. Ctrl-C stops everything.")
        supervisor.watch()
        say("Stopping …")
    say("Stopped.")
