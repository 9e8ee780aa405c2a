"""The event loop of the connections."""

from __future__ import annotations

import asyncio
import importlib
import sys

import pytest
import uvloop

from newsletter.delivery.smtp import loops


def loop_of_a_run() -> type[asyncio.AbstractEventLoop]:
    found: list[type[asyncio.AbstractEventLoop]] = []

    async def work() -> None:
        found.append(type(asyncio.get_running_loop()))

    loops.run(work())
    return found[0]


def test_the_fastest_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections run on uvloop, and where it is not installed on asyncio's own loop."""
    assert loop_of_a_run() is uvloop.Loop
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "uvloop", None)
        importlib.reload(loops)
        assert loop_of_a_run() is asyncio.SelectorEventLoop
    importlib.reload(loops)
    assert loop_of_a_run() is uvloop.Loop
