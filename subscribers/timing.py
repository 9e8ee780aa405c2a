"""Where forms are worked on, and answers of which nobody can tell how long that took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from newsletter.database import MOST_CONNECTIONS

ANSWER_TIME = 0.05
"""Seconds: the answer comes at a whole multiple of this."""

_THREADS = ThreadPoolExecutor(MOST_CONNECTIONS, "forms")
"""More would wait for connections, which costs more than to wait for a thread."""
_Answer = TypeVar("_Answer")


async def aside(work: Callable[[], _Answer]) -> _Answer:
    """Do the work of a form in a thread. They have threads of their own: on SQLite all of them may have to wait for
    another process that writes, and pages are not to wait with them.
    """
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work)


async def evenly(work: Callable[[], _Answer]) -> _Answer:
    """Do the work in a thread and give what it gives, at a whole multiple of ``ANSWER_TIME`` after it began."""
    began = time.monotonic()
    answer = await aside(work)
    await asyncio.sleep(ANSWER_TIME - (time.monotonic() - began) % ANSWER_TIME)
    return answer
