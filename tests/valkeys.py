"""A real Valkey for the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from newsletter.cli.supervising import Child, Supervisor, is_listening


@dataclass
class Valkey:
    """The server; it can be killed and started again on the same port."""

    url: str
    child: Child
    supervisor: Supervisor

    @property
    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def kill(self) -> None:
        assert self.child.process
        self.child.process.kill()
        self.child.process.wait()

    def start(self) -> None:
        self.child.start()
        port = int(self.url.rsplit(":", 1)[1].split("/")[0])
        self.supervisor.wait_for(self.child, lambda: is_listening("127.0.0.1", port))


@contextmanager
def running_valkey(folder: Path) -> Iterator[Valkey]:
    """A Valkey of its own; signals stay the test runner's."""
    supervisor = Supervisor(folder)
    url = supervisor.start_valkey()
    try:
        yield Valkey(url, supervisor.children[0], supervisor)
    finally:
        supervisor.__exit__(None, None, None)
