"""Real processes: Valkey, Celery workers, Celery beat and the inbox, over a state folder."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis
from sqlalchemy import select

from newsletter.cli.supervising import Child, Supervisor, free_port, is_listening
from newsletter.tables import deliveries, subscribers, subscriptions


def wait_until(met: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What ``met`` gives as soon as it gives something."""
    limit, pause = time.monotonic() + seconds, 0.002
    while time.monotonic() < limit:
        if found := met():
            return found
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    raise AssertionError(f"not met in {seconds} s")


def select_doubtful() -> Any:
    """The addresses whose digest may have come twice, as the ledger says."""
    return (
        select(subscribers.c.email)
        .join(subscriptions, subscriptions.c.subscriber_id == subscribers.c.id)
        .join(deliveries, deliveries.c.subscription_id == subscriptions.c.id)
        .where(deliveries.c.doubtful)
    )


@dataclass
class Stack:
    """The processes; ``environment`` is what they are configured with."""

    home: Path
    environment: dict[str, str]
    supervisor: Supervisor = field(init=False)
    inbox_port: int = 0

    def __enter__(self) -> Stack:
        self.supervisor = Supervisor(self.home)
        self.supervisor.__enter__()
        self.environment = {
            **{name: value for name, value in os.environ.items() if name.startswith("NEWSLETTER_")},
            "NEWSLETTER_HOME": str(self.home),
            "NEWSLETTER_REDIS_URL": self.supervisor.start_valkey(),
            "NEWSLETTER_TICK_SECONDS": "1",
            **self.environment,
        }
        return self

    def __exit__(self, *error: Any) -> None:
        self.supervisor.__exit__(*error)

    def start(self, *commands: str) -> list[Child]:
        return [self.supervisor.start_own(c, *c.split(), environment=self.environment) for c in commands]

    def start_inbox(self) -> None:
        smtp, self.inbox_port = free_port("127.0.0.1"), free_port("127.0.0.1")
        self.environment |= {
            "NEWSLETTER_INBOX_SMTP_PORT": str(smtp),
            "NEWSLETTER_INBOX_WEB_PORT": str(self.inbox_port),
        }
        (child,) = self.start("inbox")
        self.supervisor.wait_for(child, lambda: is_listening("127.0.0.1", self.inbox_port))

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.inbox_port}{path}", verify=False)

    def kill(self, child: Child) -> None:
        """SIGKILL to a process and all it started."""
        child.signal(signal.SIGKILL)
        assert child.process is not None
        child.process.wait()

    def flush(self) -> None:
        redis.Redis.from_url(self.environment["NEWSLETTER_REDIS_URL"]).flushall()
