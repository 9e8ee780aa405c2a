"""Real parts for the tests: PostgreSQL and SQLite, an SMTP server that can misbehave, the command line."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from commanding import CHECKOUT, KEY, CommandLine
from house import House
from servers import Postgres, Relay, running_postgres, serving, unsafe
from sqlalchemy import Connection, Engine, event

from newsletter.collecting import collect_seldom
from newsletter.database import connect, engine_for
from newsletter.migrations import upgrade
from newsletter.settings import Settings, load_settings

# The same examples each time: a suite that fails now and then is not believed. `make chaos` looks for new ones.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None)
hypothesis.settings.register_profile("chaos", max_examples=1000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

# To read all tests, and then to run each, makes a hundred thousand small things that are no garbage.
collect_seldom()

BESIDE = next((p / "shared" for p in CHECKOUT.parents if (p / "shared/data/README.md").exists()), None)
"""Real input and a judge of mails that lie beside the checkout and are no part of the project; None elsewhere."""


def pytest_report_header() -> str:
    """Say whether the tests on real input can run."""
    return f"real input: {BESIDE or 'none beside this checkout, so the tests that read it are deselected'}"


APART = ("browser", "chaos")
"""Marks that all tests of the folder of that name have, and no others."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not read tests whose mark is not asked for: to read them all takes each process several seconds."""
    if collection_path.parent != Path(__file__).parent or not (
        collection_path.is_dir() or collection_path.name.startswith("test_")
    ):
        return None
    wanted, name = config.option.markexpr, collection_path.name
    return (wanted in APART and name != wanted) or (name in APART and f"not {name}" in wanted) or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse tests that would never be read; without real input, leave out what needs it."""
    for item, mark in itertools.product(items, APART):
        if (item.path.parent.name == mark) != (item.get_closest_marker(mark) is not None):
            raise pytest.UsageError(f"{item.nodeid}: tests marked {mark}, and no others, are in tests/{mark}/.")
    if BESIDE is None:
        needy = [item for item in items if {"material", "judge"} & set(getattr(item, "fixturenames", ()))]
        items[:] = [item for item in items if item not in needy]
        config.hook.pytest_deselected(items=needy)


def pytest_collection_finish() -> None:
    """Look no more for garbage in what was read."""
    collect_seldom()


@pytest.fixture
def material() -> Path:
    """The folder of real input."""
    assert BESIDE
    return BESIDE / "data"


@pytest.fixture
def judge() -> Path:
    """The program that judges whole messages."""
    assert BESIDE
    return BESIDE / "emailcheck/check"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the configuration of the machine it runs on."""
    for name in list(os.environ):
        if name.startswith("NEWSLETTER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


class Compiled(dict[Any, Any]):
    """Statements as one kind of database is told them; SQLAlchemy keeps them apart by the dialect of each engine."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(key[1:], default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key[1:], value)


COMPILED = {"sqlite": Compiled(), "postgresql": Compiled()}


@event.listens_for(Engine, "engine_connect")
def share_statements(connection: Connection) -> None:
    """Compile a statement once, and not again for the database of each test."""
    connection.execution_options(compiled_cache=COMPILED[connection.dialect.name])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL."""
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'newsletter.db'}"
    return str(request.getfixturevalue("postgres").create())


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with all tables, to be copied."""
    file = tmp_path_factory.mktemp("template") / "newsletter.db"
    made = connect(f"sqlite:///{file}")
    upgrade(made)
    made.dispose()
    return file


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A SQLite database with all tables."""
    file = shutil.copy(sqlite_template, tmp_path / "newsletter.db")
    return f"sqlite:///{file}"


@pytest.fixture
def postgresql_url(postgres: Postgres) -> Iterator[str]:
    """A database of PostgreSQL with all tables."""
    url = postgres.migrated()
    yield url
    postgres.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database with all tables, of either kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A database with all tables, of either kind."""
    made = unsafe(connect(database_url))
    yield made
    made.dispose()


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    """A SQLite database with all tables."""
    made = unsafe(connect(sqlite_url))
    yield made
    made.dispose()


@pytest.fixture
def relay() -> Iterator[Relay]:
    """An SMTP server on a free port."""
    with serving(Relay()) as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, database_url: str, relay: Relay) -> Settings:
    """Settings for the database and the relay."""
    return load_settings(
        home=tmp_path / "home",
        database_url=database_url,
        smtp_url=f"smtp://127.0.0.1:{relay.port}",
        base_url="https://news.example.org",
        secret_key=KEY,
        redis_url="redis://127.0.0.1:1/0",
    )


@pytest.fixture
def house(engine: Engine, settings: Settings) -> House:
    """A list, and a clock that stands still."""
    return House(engine, settings).create()


@pytest.fixture
def newsletter(sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    """The command line over a fresh state folder on SQLite."""
    monkeypatch.setenv("NEWSLETTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "home").mkdir(0o700)
    shutil.copy(sqlite_template, tmp_path / "home" / "newsletter.db")
    command = CommandLine(tmp_path / "home")
    command("init")
    yield command
    engine_for(load_settings().database).dispose()
    engine_for.cache_clear()
