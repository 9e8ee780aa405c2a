"""A worker whose clock jumps: ``jumping.py FILE`` sends by ``dispatch``, ``FILE`` holds the offset in seconds."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from newsletter.database import connect
from newsletter.delivery import dispatch
from newsletter.settings import load_settings

if __name__ == "__main__":
    offset = Path(sys.argv[1])
    settings = load_settings()
    engine = connect(settings.database)
    while True:
        dispatch.dispatch(
            engine, settings, lambda: datetime.now(UTC) + timedelta(seconds=float(offset.read_text() or "0"))
        )
        time.sleep(0.05)
