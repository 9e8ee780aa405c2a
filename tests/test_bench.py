"""What `make bench` says before it measures anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_figure_that_there_is_not() -> None:
    """A name that is none is refused at once, with those that there are."""
    command = [sys.executable, "-m", "bench", "--only", "compose,site", "--json"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no figure 'site'; there are end_to_end, " in done.stderr
    assert "sign_ups" in done.stderr
