"""Random mixtures of relays: none holds up what another may carry. Many more of them are tried by the chaos tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from mixtures import mixed, mixed_by_several
from sqlalchemy import Engine


@pytest.mark.parametrize("seed", range(5))
def test_random_mixture(seed: int, sqlite_engine: Engine, tmp_path: Path) -> None:
    """What a good relay may carry goes out soon and once, whatever others it is mixed with, and no leave is lost."""
    mixed(seed, sqlite_engine, tmp_path)


@pytest.mark.parametrize("seed", range(2))
def test_random_mixture_by_several(seed: int, sqlite_engine: Engine, tmp_path: Path) -> None:
    """It does so from several processes, of which one is stopped, while a relay is paused and resumed."""
    mixed_by_several(seed, sqlite_engine, tmp_path)
