"""The Celery application. Redis only carries rings of the bell; losing one costs at most a tick."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from celery import Celery
from celery.signals import before_task_publish, heartbeat_sent

from newsletter.errors import SettingsError
from newsletter.settings import Settings, load_settings
from worker.calming import calm_logs

# One process a container: the sign is of whoever runs there.
MAILBOX_SECONDS = 120
ALIVE = Path(tempfile.gettempdir()) / "newsletter.alive"


def make_app(settings: Settings) -> Celery:
    """A Celery application for these settings.

    Raises:
        SettingsError: no Redis is configured; the embedded one is started by ``newsletter up``.
    """
    if not settings.redis_url:
        raise SettingsError(
            "NEWSLETTER_REDIS_URL is not set.",
            "`newsletter up` starts an embedded Valkey and everything else on this machine.",
        )
    app = Celery("newsletter", broker=settings.redis_url, include=["worker.tasks"])
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        # What we log has its own level and time; Celery would call all of it a warning.
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        # As long as it takes; Celery itself gives up after a hundred, and ends.
        broker_connection_max_retries=None,
        # A publisher does not wait for a Redis that is away: the next tick rings again.
        broker_transport_options={"socket_connect_timeout": 3, "socket_timeout": 30},
        task_publish_retry=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # The default scheduler keeps a pickled file; ours has one entry and nothing to remember.
        beat_scheduler="celery.beat:Scheduler",
        beat_max_loop_interval=min(settings.tick_seconds, 30),
        beat_schedule={
            "tick": {
                "task": "newsletter.tick",
                "schedule": settings.tick_seconds,
                # Celery counts from beat's start: what waits would wait for another interval after each.
                "last_run_at": datetime.min.replace(tzinfo=UTC),
                "options": {"expires": settings.tick_seconds},
            }
        },
        timezone="UTC",
    )
    if settings.leave_mailbox:
        app.conf.beat_schedule["mailbox"] = {
            "task": "newsletter.mailbox",
            "schedule": MAILBOX_SECONDS,
            "options": {"expires": MAILBOX_SECONDS},
        }
    return app


@before_task_publish.connect(sender="newsletter.tick")
def _show_life(**_: object) -> None:
    """Beat leaves a sign with each tick, for health checks; only beat sends this task."""
    ALIVE.touch()


@heartbeat_sent.connect
def _show_worker_life(**_: object) -> None:
    """A worker does so every two seconds, as long as it is connected to Redis."""
    ALIVE.touch()


calm_logs()
app = make_app(load_settings())
