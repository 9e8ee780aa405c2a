"""Forgetting kept answers: once an hour, by whichever request comes then."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Engine

from newsletter.machines.answers import prune

PAUSE = timedelta(hours=1)


class Pruner:
    """Prunes at most once an hour in this process; two processes that both do it do no harm."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last: datetime | None = None

    def prune(self, now: datetime) -> None:
        """Forget what is over, if it is time."""
        if self._last is not None and now - self._last < PAUSE:
            return
        self._last = now
        with self._engine.begin() as connection:
            prune(connection, now)
