"""The rows of an import between reading and writing, on disk: a million of them would be 500 MB in memory."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator

from newsletter.audience.merging import Row
from newsletter.audience.rows import dumped, folded, loaded


class Spool:
    """Rows by address, each address once, in the order of its last row. Gone when it is left.

    A file must be read to its end before anything is written: only then is it known which row of an address is its
    last, and that row decides. Somebody whom it says to have left must not be subscribed for a minute meanwhile.
    """

    def __enter__(self) -> Spool:
        # An empty name is a temporary database that is gone with its connection, however the process ends.
        self._kept = sqlite3.connect("", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA cache_size = -16384",
            "CREATE TABLE last (mark BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID",
            "CREATE TABLE rows (number INTEGER PRIMARY KEY, row TEXT NOT NULL)",
            "BEGIN",
        ):
            self._kept.execute(statement)
        self._digest = hashlib.sha256()
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def add(self, number: int, row: Row) -> bool:
        """Take in the row with this number, larger than all before; whether it was folded into an earlier one."""
        text = dumped(row)
        self._digest.update(f"{number} {text}\n".encode("utf-8", "surrogatepass"))
        mark = hashlib.blake2b(row.address.key.encode(), digest_size=12).digest()
        found = self._kept.execute("SELECT number FROM last WHERE mark = ?", (mark,)).fetchone()
        if found:
            earlier = self._kept.execute("DELETE FROM rows WHERE number = ? RETURNING row", found).fetchone()
            text = dumped(folded(loaded(earlier[0]), row))
        self._kept.execute("INSERT OR REPLACE INTO last VALUES (?, ?)", (mark, number))
        self._kept.execute("INSERT INTO rows VALUES (?, ?)", (number, text))
        return found is not None

    @property
    def fingerprint(self) -> str:
        """The same for the same rows."""
        return self._digest.hexdigest()

    def batches(self, after: int, size: int) -> Iterator[tuple[int, dict[str, Row]]]:
        """Rows by address key, ``size`` at a time, from behind number ``after``; with each batch's last number."""
        while found := self._kept.execute(
            "SELECT number, row FROM rows WHERE number > ? ORDER BY number LIMIT ?", (after, size)
        ).fetchall():
            after = found[-1][0]
            rows = [loaded(text) for _, text in found]
            yield after, {row.address.key: row for row in rows}
