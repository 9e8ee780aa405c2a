"""The readers' site over the house of a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from house import House
from rawly import Wire
from starlette.testclient import TestClient

from subscribers.app import site_app


@pytest.fixture
def wire(house: House) -> Iterator[Wire]:
    """What is sent and answered, byte for byte."""
    made = Wire(site_app(house.engine, house.settings, house.clock))
    yield made
    made.close()


@pytest.fixture
def site(house: House) -> TestClient:
    """A browser that follows no redirect."""
    return TestClient(
        site_app(house.engine, house.settings, house.clock), base_url="http://127.0.0.1", follow_redirects=False
    )
