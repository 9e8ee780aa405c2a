"""One browser and one site for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browsing import NONE, chromium, obtainable
from playwright.sync_api import Browser
from world import World, running


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("world")) as made:
        yield made


# Gone with the last test of the folder: while Playwright runs, no other loop can run in its thread.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if not obtainable():
        pytest.skip(NONE)
    with chromium() as made:
        yield made
