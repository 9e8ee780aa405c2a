"""A small house with tokens, and a client that speaks to its interface for machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from commanding import KEY
from house import House
from sites import asking, listening
from sqlalchemy import Engine

from newsletter.machines.tokens import SCOPES, create_token
from newsletter.settings import load_settings
from subscribers.app import site_app

Machines = Callable[..., httpx.Client]


def made(engine: Engine, folder: Path) -> House:
    values = {"home": folder / "home", "base_url": "https://news.example.org", "secret_key": KEY}
    return House(engine, load_settings(**values)).create()


@pytest.fixture
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    """On SQLite, unless the test asks for ``both`` databases."""
    name = "engine" if "both" in request.fixturenames else "sqlite_engine"
    return made(request.getfixturevalue(name), tmp_path)


@pytest.fixture
def both(engine: Engine, house: House) -> House:
    """The house, once on each kind of database."""
    return house


@pytest.fixture
def machine(house: House) -> Iterator[Machines]:
    """Makes clients: by default with a token for everything; with ``token=""`` they show none."""
    app = site_app(house.engine, house.settings, house.clock)
    clients: list[httpx.Client] = []

    def make(scopes: Sequence[str] = SCOPES, list_id: int | None = None, token: str | None = None) -> httpx.Client:
        if token is None:
            with house.engine.begin() as connection:
                scopes = [scope for scope in scopes if list_id is None or scope != "metrics:read"]
                token = create_token(connection, f"machine {len(clients)}", scopes, list_id, house.now)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        clients.append(asking(url, headers=headers))
        return clients[-1]

    with listening(app) as url:
        yield make
        for client in clients:
            client.close()


@pytest.fixture
def api(machine: Machines) -> httpx.Client:
    """With a token for everything."""
    return machine()
