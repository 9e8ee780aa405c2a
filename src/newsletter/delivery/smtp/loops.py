"""The event loop that drives a process's connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
try:
    import uvloop
except ImportError:
    # It is not made for every system (Windows, PyPy); asyncio's own takes a third more CPU for each message.
    pass
else:
    new_loop = uvloop.new_event_loop


def run(work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` on the fastest event loop there is."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(work)
