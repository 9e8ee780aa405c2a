"""A worker without Celery: ``sending.py FILE`` sends by ``dispatch`` as long as there is ``FILE``.

That holds by how many seconds its clock is off. SIGTERM ends a spell, and nothing else.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from newsletter.database import connect
from newsletter.delivery import dispatch
from newsletter.delivery.kept import Kept
from newsletter.settings import load_settings


def send(offset: Path) -> None:
    """Say when all is loaded, then begin."""

    def clock() -> datetime:
        nonlocal off
        with contextlib.suppress(FileNotFoundError):
            off = float(offset.read_text() or off)
        return datetime.now(UTC) + timedelta(seconds=off)

    off = 0.0
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    settings = load_settings()
    engine = connect(settings.database)
    kept = Kept(engine, settings)
    dispatch.warm_up(settings)
    print("ready", flush=True)
    while offset.exists():
        dispatch.dispatch(engine, settings, clock, kept=kept)
        time.sleep(0.05)


if __name__ == "__main__":
    send(Path(sys.argv[1]))
