"""The journal: what a worker process knows of its claims, in a file that outlives the process.

A relay's answer is noted here the moment it comes, and settled in the database with many others a little later.
A process that is killed in between leaves its journal; whoever finds it settles what is in it (promise 5).

The file is mapped into memory: what is written there is the kernel's, whatever becomes of the process. It is as
large as it will ever be from the start, so that a full disk cannot stop it, and it is locked (flock) as long as
its owner lives: a journal that can be locked has no owner any more. A power cut may lose it; then the claims run
out by themselves, and what was unsettled is doubtful.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from newsletter.delivery.smtp.outcomes import Answer, Verdict
from newsletter.errors import StateError
from newsletter.settings import Settings

SLOTS = 4096
TEXT = 226
SLOT = struct.Struct(f"<BBHq16sH{TEXT}s")
"""State, verdict, code, delivery id, message hash, length of text, text."""

FREE, HANDED, ANSWERED = 0, 1, 2
VERDICTS = tuple(Verdict)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a journal says of one delivery; no ``answer``: it was handed over, and the answer was outstanding."""

    delivery_id: int
    body_hash: str
    answer: Answer | None


class Journal:
    """The journal of one owner. ``owner`` is what its claims in the database are marked with."""

    def __init__(self, folder: Path) -> None:
        """Make and lock a new one in ``folder``.

        Raises:
            StateError: the folder cannot be written, or the disk is full.
        """
        self.owner = uuid.uuid4().hex
        self._path = folder / f"{self.owner}.journal"
        making = folder / f"{self.owner}.new"
        self._file = -1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            _reserve(self._file, SLOTS * SLOT.size)
            self._map = mmap.mmap(self._file, SLOTS * SLOT.size)
            # Only now can others see it: locked from the first moment on.
            making.rename(self._path)
        except OSError as error:
            if self._file >= 0:
                os.close(self._file)
            making.unlink(missing_ok=True)
            raise StateError(f"The journal in {folder} cannot be written: {error.strerror}.") from error
        self._free = list(range(SLOTS))
        self._slots: dict[int, int] = {}

    @property
    def room(self) -> int:
        """How many more deliveries it has room for."""
        return len(self._free)

    def hold(self, delivery_id: int) -> None:
        """Hold a place for a delivery that is begun, so that there is one when it is handed over."""
        if delivery_id not in self._slots:
            self._slots[delivery_id] = self._free.pop()

    def note_handed(self, delivery_id: int, body_hash: bytes) -> None:
        """Before the end of its message is written to the relay: from here on it may have been accepted."""
        self.hold(delivery_id)
        self._write(self._slots[delivery_id], HANDED, 0, 0, delivery_id, body_hash, b"")

    def note_answer(self, delivery_id: int, answer: Answer) -> None:
        """As soon as the answer to a message that was handed over is read."""
        slot = self._slots[delivery_id]
        verdict, text = VERDICTS.index(answer.verdict), answer.text.encode()[:TEXT]
        body_hash = SLOT.unpack_from(self._map, slot * SLOT.size)[4]
        self._write(slot, ANSWERED, verdict, answer.code, delivery_id, body_hash, text)

    def forget(self, delivery_id: int) -> None:
        """When its answer stands in the database, or it was not handed over."""
        slot = self._slots.pop(delivery_id, None)
        if slot is not None:
            # The text too, in which relays like to repeat the address: it need not outlive its reader's erasure here.
            SLOT.pack_into(self._map, slot * SLOT.size, FREE, 0, 0, 0, b"", 0, b"")
            self._free.append(slot)

    def close(self, *, settled: bool) -> None:
        """Give up the ownership. A journal is left for ``abandoned`` to find if it still holds something, or if not
        all that its owner had claimed is ``settled`` or given back.
        """
        if settled and not self._slots:
            self._path.unlink(missing_ok=True)
        self._map.close()
        os.close(self._file)

    def _write(
        self, slot: int, state: int, verdict: int, code: int, delivery_id: int, body_hash: bytes, text: bytes
    ) -> None:
        at = slot * SLOT.size
        # The state last: a process that is killed in the middle leaves the old state of this slot.
        SLOT.pack_into(self._map, at, self._map[at], verdict, code, delivery_id, body_hash, len(text), text)
        self._map[at] = state


def _reserve(file: int, size: int) -> None:
    # Without it the first write to a page could meet a full disk, and that is a SIGBUS.
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.write(file, bytes(size))


def journals(settings: Settings) -> Path:
    """Where worker processes keep their journals: those who share the folder help one another at once."""
    return settings.home / "journals"


def living_owners(folder: Path) -> list[str]:
    """The owners whose processes live, on this machine or wherever else the folder is mounted."""
    living = []
    for path in sorted(folder.glob("*.journal")):
        with _locked(path) as file:
            if file is None and path.exists():
                living.append(path.stem)
    return living


@contextmanager
def abandoned(folder: Path) -> Iterator[dict[str, list[Entry]]]:
    """What the journals without an owner say, by owner. They are removed at the end, if nothing was raised."""
    with ExitStack() as locks:
        files = {path: locks.enter_context(_locked(path)) for path in sorted(folder.glob("*.journal"))}
        yield {path.stem: _entries(file) for path, file in files.items() if file is not None}
        for path, file in files.items():
            if file is not None:
                path.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """The file, locked; None if a living process holds it, or it is gone."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held the lock a moment ago may have removed it.
            held = path.exists()
        except BlockingIOError:
            held = False
        yield file if held else None
    finally:
        os.close(file)


def _entries(file: int) -> list[Entry]:
    content = os.pread(file, SLOTS * SLOT.size, 0)
    found = []
    for at in range(0, len(content) - SLOT.size + 1, SLOT.size):
        state, verdict, code, delivery_id, body_hash, length, text = SLOT.unpack_from(content, at)
        if state == FREE:
            continue
        answer = None
        if state == ANSWERED and verdict < len(VERDICTS):
            answer = Answer(VERDICTS[verdict], code, text[:length].decode(errors="ignore"))
        found.append(Entry(delivery_id, body_hash.hex(), answer))
    return found
