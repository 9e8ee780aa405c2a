"""A folder of captured messages: one ``.eml`` file each, and beside it the envelope as JSON.

Names begin with the message's number, so that the order of names is the order of arrival.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from newsletter.errors import UnknownName
from newsletter.inbox.messages import header, read_headers

HEADER_BYTES = 65_536


@dataclass(frozen=True)
class Entry:
    """What the list shows of a message. ``date`` is when it arrived (aware, UTC); ``size`` is in bytes."""

    id: int
    to: tuple[str, ...]
    sender: str
    subject: str
    date: datetime
    size: int

    def fits(self, query: str) -> bool:
        """Whether every word of ``query`` (casefolded) is in the recipients or the subject."""
        text = f"{' '.join(self.to)}\n{self.subject}".casefold()
        return all(word in text for word in query.split())


@dataclass(frozen=True)
class Captured:
    """One message: the bytes as received, and its envelope (RFC 5321, 2.3.1)."""

    entry: Entry
    raw: bytes
    mail_from: str


class Store:
    """The captured messages in ``folder``, which is made if need be. Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._entries: dict[int, Entry] | None = None
        self._paths: dict[int, Path] = {}
        self._last = 0

    def add(self, raw: bytes, sender: str, recipients: list[str], now: datetime | None = None) -> int:
        """Keep a message and give its number. It is there completely or not at all.

        Raises:
            OSError: the folder cannot be written.
        """
        arrived = now or datetime.now(UTC)
        with self._lock:
            entries = self._loaded()
            number = self._last + 1
            name = f"{number:08d}-{hashlib.sha256(raw).hexdigest()[:12]}"
            path = self.folder / f"{name}.eml"
            envelope = {
                "X-Inbox-Mail-From": sender,
                "X-Inbox-Rcpt-To": recipients,
                "X-Inbox-Date": arrived.isoformat(),
            }
            # The envelope goes first: a message that is listed is never without one.
            _write(path.with_suffix(".json"), json.dumps(envelope, ensure_ascii=False).encode("utf-8", "replace"))
            _write(path, raw)
            self._last = number
            self._paths[number] = path
            entries[number] = _entry(number, raw[:HEADER_BYTES], len(raw), sender, tuple(recipients), arrived)
        return number

    def entries(self, query: str = "", offset: int = 0, limit: int = 50) -> tuple[int, list[Entry]]:
        """How many messages have ``query``'s words in recipients or subject; a page of them, newest first."""
        wanted = query.casefold()
        with self._lock:
            newest_first = list(reversed(self._loaded().values()))
        found = [entry for entry in newest_first if entry.fits(wanted)] if wanted.strip() else newest_first
        return len(found), found[offset : offset + limit]

    def count(self) -> int:
        """How many messages there are."""
        with self._lock:
            return len(self._loaded())

    def read(self, number: int) -> Captured:
        """A message with its bytes exactly as received.

        Raises:
            UnknownName: there is no such message, or its file is gone.
        """
        with self._lock:
            entry = self._loaded().get(number)
            path = self._paths.get(number)
        if entry is None or path is None:
            raise UnknownName(f"There is no message {number} in the inbox.")
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            raise UnknownName(f"The file of message {number} is no longer in the inbox folder.") from None
        return Captured(entry, raw, _read_envelope(path)[0])

    def _loaded(self) -> dict[int, Entry]:
        if self._entries is None:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            entries: dict[int, Entry] = {}
            for path in sorted(self.folder.glob("*.eml")):
                digits = path.name.partition("-")[0]
                if digits.isdecimal():
                    entries[int(digits)] = _load(int(digits), path)
                    self._paths[int(digits)] = path
            self._last = max(entries, default=0)
            self._entries = entries
        return self._entries


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.touch(0o600)
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _read_envelope(path: Path) -> tuple[str, tuple[str, ...], datetime]:
    """MAIL FROM, RCPT TO and time of arrival; of a file that somebody put there by hand, its own time."""
    try:
        kept = json.loads(path.with_suffix(".json").read_text("utf-8"))
        arrived = datetime.fromisoformat(kept["X-Inbox-Date"])
        return str(kept["X-Inbox-Mail-From"]), tuple(map(str, kept["X-Inbox-Rcpt-To"])), arrived
    except (OSError, ValueError, KeyError, TypeError):
        return "", (), datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _load(number: int, path: Path) -> Entry:
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    mail_from, recipients, arrived = _read_envelope(path)
    return _entry(number, start, path.stat().st_size, mail_from, recipients, arrived)


def _entry(
    number: int, start: bytes, size: int, mail_from: str, recipients: tuple[str, ...], arrived: datetime
) -> Entry:
    headers = read_headers(start)
    to = recipients or tuple(filter(None, [header(headers, "to")]))
    return Entry(number, to, header(headers, "from") or mail_from, header(headers, "subject"), arrived, size)
