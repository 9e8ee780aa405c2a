"""A table of the faults that were survived, at the end of the run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rich.console import Console
from rich.table import Table

COLUMNS = ("fault", "database", "times", "deliveries", "lost", "doubled", "at most")
ROWS = pytest.StashKey[list[dict[str, str | int]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin with no rows."""
    config.stash[ROWS] = []


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Note a row: ``fault``, ``database``, ``times`` (how often it struck), and deliveries by what became of them."""
    return lambda **row: request.config.stash[ROWS].append(row)


def pytest_terminal_summary(config: pytest.Config) -> None:
    """Print them."""
    rows = config.stash[ROWS]
    if not rows:
        return
    table = Table(box=None, title="Faults survived", title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("fault", "database") else "right")
    for row in rows:
        values = [row[column.replace(" ", "_")] for column in COLUMNS]
        table.add_row(*(f"{value:,}" if isinstance(value, int) else value for value in values))
    Console(highlight=False, width=120).print(table)
