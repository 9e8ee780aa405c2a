"""Random mixtures of relays, many of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from mixtures import mixed
from sqlalchemy import Engine

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("seed", range(100, 140))
def test_random_mixture(seed: int, sqlite_engine: Engine, tmp_path: Path) -> None:
    """What a good relay may carry goes out soon and once, whatever others it is mixed with, and no leave is lost."""
    mixed(seed, sqlite_engine, tmp_path)
