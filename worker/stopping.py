"""Whether this worker was asked to stop: a spell of sending then ends at once, with nothing left in hand."""

from __future__ import annotations

import mmap

from celery.signals import worker_shutting_down

# One byte that the worker's process shares with those it forks: Celery tells them nothing until they are done.
_ASKED = mmap.mmap(-1, 1)


@worker_shutting_down.connect
def _ask(**_: object) -> None:
    _ASKED[0] = 1


def stopping() -> bool:
    """Asked between two turns with the database."""
    return _ASKED[0] == 1
