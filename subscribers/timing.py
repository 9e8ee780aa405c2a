"""Answers of which nobody can tell how long the work took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from newsletter.database import MOST_CONNECTIONS

ANSWER_TIME = 0.05
"""Seconds: the answer comes at a whole multiple of this."""

_THREADS = ThreadPoolExecutor(MOST_CONNECTIONS, "evenly")
"""More would wait for connections, which costs more than to wait for a thread."""
_Answer = TypeVar("_Answer")


async def evenly(work: Callable[[], _Answer]) -> _Answer:
    """Do the work in a thread and give what it gives, at a whole multiple of ``ANSWER_TIME`` after it began."""
    began = time.monotonic()
    answer = await asyncio.get_running_loop().run_in_executor(_THREADS, work)
    await asyncio.sleep(ANSWER_TIME - (time.monotonic() - began) % ANSWER_TIME)
    return answer
