"""What mail is sent to and compared with: Postfix's smtp-sink and smtp-source, or a sink of our own."""

from __future__ import annotations

import asyncio
import os
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from postfix import find_tool, tool_environment

from newsletter.cli.supervising import free_port, is_listening

ENVELOPE = b"MAIL FROM:<bench@example.org>\r\nRCPT TO:<reader@example.org>\r\nDATA\r\n"
ROUND_TRIP_SECONDS = 5.0


@contextmanager
def running_sink() -> Iterator[tuple[int, str]]:
    """A server that takes every mail and keeps none: its port, and what it is."""
    port, tool = free_port("127.0.0.1"), find_tool("smtp-sink")
    if tool:
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        command, what = [tool, *user, f"127.0.0.1:{port}", "1024"], "smtp-sink"
    else:
        command, what = [sys.executable, __file__, str(port)], "a sink of our own, without smtp-sink"
    with subprocess.Popen(
        command, env=tool_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as sink:
        try:
            limit = time.monotonic() + 20
            while not is_listening("127.0.0.1", port):
                assert time.monotonic() < limit, "the sink does not start"
                time.sleep(0.05)
            yield port, what
        finally:
            sink.kill()


def smtp_source(port: int, size: int, messages: int) -> float | None:
    """Messages a second that ``smtp-source -s 4 -d`` brings to the same sink; None without it."""
    tool = find_tool("smtp-source")
    if tool is None:
        return None
    began = time.perf_counter()
    command = [tool, "-s", "4", "-d", "-l", str(size), "-m", str(messages), f"127.0.0.1:{port}"]
    subprocess.run(command, env=tool_environment(), check=True, stdout=subprocess.DEVNULL)
    return messages / (time.perf_counter() - began)


class _Sink(asyncio.Protocol):
    """Enough of RFC 5321 and 2920 to take mail as fast as Python can."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.rest = b""
        self.in_data = False
        transport.write(b"220 sink\r\n")  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.rest += data
        answers = []
        while True:
            end, length = (self.rest.find(b"\r\n.\r\n"), 5) if self.in_data else (self.rest.find(b"\r\n"), 2)
            if end < 0:
                # What cannot be the beginning of the end is of no interest.
                self.rest = self.rest[-4:] if self.in_data else self.rest
                break
            line, self.rest = self.rest[:end], self.rest[end + length :]
            answers.append(self.answer(line))
        if answers:
            self.transport.write(b"".join(answers))  # type: ignore[attr-defined]

    def answer(self, line: bytes) -> bytes:
        if self.in_data:
            self.in_data = False
            return b"250 2.0.0 Ok\r\n"
        verb = line[:4].upper()
        self.in_data = verb == b"DATA"
        return {b"EHLO": b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n", b"DATA": b"354 go\r\n"}.get(
            verb, b"250 2.0.0 Ok\r\n"
        )


@contextmanager
def far_away(port: int, round_trip: float) -> Iterator[int]:
    """A port behind which the server at ``port`` is ``round_trip`` seconds away."""
    near = free_port("127.0.0.1")
    command = [sys.executable, __file__, str(near), str(port), str(round_trip)]
    with subprocess.Popen(command) as proxy:
        try:
            while not is_listening("127.0.0.1", near):
                time.sleep(0.05)
            yield near
        finally:
            proxy.kill()


def round_trip(port: int, size: int, connections: int) -> float:
    """Seconds from a message of ``size`` bytes to its answer, of a client that has nothing else to do; the mean.

    It says all that a round trip can hold (RFC 2920): a content, its end, and the next envelope.
    """
    message = b"%b.\r\n%b" % ((b"x" * 76 + b"\r\n") * (size // 78), ENVELOPE)

    async def rounds() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        writer.write(b"EHLO bench\r\n")
        while (await reader.readline())[3:4] == b"-":
            pass
        writer.write(ENVELOPE)
        for _ in range(ENVELOPE.count(b"\n")):
            await reader.readline()
        done, over = 0, time.perf_counter() + ROUND_TRIP_SECONDS
        while time.perf_counter() < over:
            writer.write(message)
            for _ in range(ENVELOPE.count(b"\n") + 1):
                await reader.readline()
            done += 1
        writer.close()
        return done

    async def all_rounds() -> float:
        done = await asyncio.gather(*(rounds() for _ in range(connections)))
        return ROUND_TRIP_SECONDS * connections / sum(done)

    return asyncio.run(all_rounds())


class _Delaying(asyncio.Protocol):
    """One side of a connection that the proxy makes longer: what it hears, the other side says ``delay`` later."""

    def __init__(self, delay: float, other: asyncio.WriteTransport | None = None) -> None:
        self.delay = delay
        self.other = other
        self.early: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        else:
            asyncio.get_running_loop().call_later(self.delay, self.other.write, data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None:
            asyncio.get_running_loop().call_later(self.delay, self.other.close)


class _Near(_Delaying):
    """The side of whoever connects."""

    def __init__(self, delay: float, target: int) -> None:
        super().__init__(delay)
        self.target = target

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.opening = asyncio.get_running_loop().create_task(self.open(transport))

    async def open(self, near: asyncio.BaseTransport) -> None:
        assert isinstance(near, asyncio.WriteTransport)
        loop = asyncio.get_running_loop()
        far, _ = await loop.create_connection(lambda: _Delaying(self.delay, near), "127.0.0.1", self.target)
        self.other = far
        for data in self.early:
            self.data_received(data)


async def _serve(port: int, target: int, delay: float) -> None:
    made = (lambda: _Near(delay, target)) if target else _Sink
    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    assert re.fullmatch(r"\d+", sys.argv[1])
    one_way = float(sys.argv[3]) / 2 if len(sys.argv) > 3 else 0.0
    # epoll rounds a delay up to whole milliseconds, select(2) does not.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(_serve(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0, one_way))
