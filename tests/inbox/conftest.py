from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from inboxes import Inbox, start


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inbox]:
    running = start(tmp_path_factory.mktemp("inbox"))
    yield running
    running.process.terminate()
    running.process.communicate(timeout=10)


@pytest.fixture
def starter() -> Iterator[object]:
    """Starts inboxes that the test stops, or else this does."""
    started: list[Inbox] = []

    def go(folder: Path) -> Inbox:
        started.append(start(folder))
        return started[-1]

    yield go
    for running in started:
        running.process.kill()
        running.process.communicate()
