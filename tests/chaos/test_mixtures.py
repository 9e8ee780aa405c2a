"""Random mixtures of relays, many of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from mixtures import mixed, mixed_by_several
from sqlalchemy import Engine

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("seed", range(100, 140))
def test_random_mixture(seed: int, sqlite_engine: Engine, tmp_path: Path) -> None:
    """What a good relay may carry goes out soon and once, whatever others it is mixed with, and no leave is lost."""
    mixed(seed, sqlite_engine, tmp_path)


@pytest.mark.parametrize("seed", range(100, 120))
def test_random_mixture_by_several(seed: int, engine: Engine, tmp_path: Path) -> None:
    """It does so from several processes, of which one is stopped, while a relay is paused and resumed."""
    mixed_by_several(seed, engine, tmp_path)
