"""A table of the faults that were survived, at the end of the run."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.table import Table

ROWS = pytest.StashKey[list[tuple[str, int, int, int, int]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin with no rows."""
    config.stash[ROWS] = []


@pytest.fixture
def survived(request: pytest.FixtureRequest) -> list[tuple[str, int, int, int, int]]:
    """Rows of fault, deliveries, lost, doubled, and the bound for doubles."""
    return request.config.stash[ROWS]


def pytest_terminal_summary(config: pytest.Config) -> None:
    """Print them."""
    rows = config.stash[ROWS]
    if not rows:
        return
    table = Table(box=None, title="Faults survived", title_justify="left")
    for column in ("fault", "deliveries", "lost", "doubled", "at most"):
        table.add_column(column, justify="left" if column == "fault" else "right")
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else value for value in row))
    Console(highlight=False, width=100).print(table)
