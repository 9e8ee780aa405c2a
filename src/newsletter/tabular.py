"""Reading CSV as spreadsheets write it: any delimiter, quote, encoding and line end; a record at a time."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from charset_normalizer import from_bytes

from newsletter.errors import InputError
from newsletter.resembling import fold

DELIMITERS = (",", ";", "\t", "|", ":")
FORMULA = ("=", "+", "-", "@", "\t")
SAMPLE = 200_000
CHUNK = 1_000_000
ASCII = bytes(range(128))
UTF8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
# In characters. A quote that is never closed would otherwise swallow the rest of the file.
LONGEST_CELL = 1_000_000
LONGEST_LINE = 4_000_000

csv.field_size_limit(LONGEST_CELL)


@dataclass(frozen=True, slots=True)
class Record:
    """One row: the line it starts on (1-based) and its cells, stripped, by field; empty if it has none."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A row that cannot be used: where, in which column (or empty), and why."""

    line: int
    column: str
    reason: str


class Sheet:
    """An open CSV file whose header has been understood."""

    def __init__(self, path: Path, encoding: str, delimiter: str, quote: str, header: list[str]) -> None:
        self.path = path
        self.encoding = encoding
        self.delimiter = delimiter
        self.quote = quote
        self.header = header
        self.fields: dict[str, str] = {}
        """Field → the header it was found under, as written."""
        self._columns: dict[int, str] = {}
        self._mark = "\ufffd" if _errors(encoding) == "replace" else ""
        self.size = path.stat().st_size
        self.read = 0
        """Bytes read so far."""

    @property
    def encoding_name(self) -> str:
        """Its encoding as people call it."""
        return "UTF-8" if self.encoding == "utf-8-sig" else self.encoding

    @property
    def ignored(self) -> tuple[str, ...]:
        """Headers that mean nothing to us."""
        return tuple(name for n, name in enumerate(self.header) if n not in self._columns and name.strip())

    def understand(self, fields: Mapping[str, Sequence[str]]) -> None:
        """Match headers to fields, loosely.

        Raises:
            InputError: two headers mean the same field.
        """
        known = {fold(name): field for field, names in fields.items() for name in (field, *names)}
        for number, name in enumerate(self.header):
            field = known.get(fold(name))
            if field is None:
                continue
            if field in self.fields:
                raise InputError(
                    f"{self.path.name}: the columns {self.fields[field]!r} and {name!r} both mean {field}.",
                    "Rename or delete one of them.",
                )
            self.fields[field] = name
            self._columns[number] = field

    def records(self) -> Iterator[Record | BadRecord]:
        """The rows after the header, without the empty ones."""
        with self.path.open("rb") as raw:
            lines = _Lines(raw, self.encoding)
            rows = _rows(lines, self.delimiter, self.quote)
            next(row for row in rows if not _is_note(row[1]))
            for line, row in rows:
                if row != []:
                    self.read = raw.tell()
                    yield self._record(line, row)
        self.read = self.size

    def _record(self, line: int, row: list[str] | str) -> Record | BadRecord:
        if isinstance(row, str):
            return BadRecord(line, "", row)
        if any(cell.strip() for cell in row[len(self.header) :]):
            return BadRecord(line, "", f"The row has {len(row)} cells, the header {len(self.header)}.")
        cells = dict.fromkeys(self.fields, "")
        for number, field in self._columns.items():
            if number < len(row):
                cells[field] = _unguarded(row[number].strip())
                if "\x00" in cells[field]:
                    return BadRecord(line, self.fields[field], "The cell holds a NUL character.")
                if any("\ud800" <= c <= "\udfff" or c == self._mark for c in cells[field]):
                    return BadRecord(line, self.fields[field], f"The cell is not {self.encoding_name} text.")
        return Record(line, cells)


def guarded(cell: str) -> str:
    """A cell for a spreadsheet, which would run what begins like a formula (CWE-1236)."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA) else cell


def open_sheet(path: Path, fields: Mapping[str, Sequence[str]], required: Sequence[str]) -> Sheet:
    """Understand the beginning of a CSV file; ``fields``: field → the headers it may stand under.

    Raises:
        InputError: it is no CSV, is empty, or lacks a required column.
    """
    with path.open("rb") as file:
        sample = file.read(SAMPLE)
    if not sample.strip():
        raise InputError(f"{path.name} is empty.")
    encoding = _encoding(path, sample)
    text = sample.decode(encoding, "replace").lstrip("\ufeff")
    sheets = []
    for delimiter in _delimiters(text):
        quote = _quote(text, delimiter)
        rows = _rows(_Lines(io.BytesIO(sample), encoding), delimiter, quote)
        header = next((row for _, row in rows if row and not isinstance(row, str) and not _is_note(row)), [])
        # Headers are shown to people: a byte that does not fit as the usual sign, not as half of a character.
        header = [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in header]
        sheet = Sheet(path, encoding, delimiter, quote, header)
        sheet.understand(fields)
        sheets.append(sheet)
    # The delimiter is the one that makes sense of the header.
    sheet = max(sheets, key=lambda candidate: (len(candidate.fields), len(candidate.header)))
    for field in required:
        if field not in sheet.fields:
            found = ", ".join(name.strip() for name in sheet.header[:12])[:200]
            raise InputError(
                f"{path.name} has no column for {field}; its first line reads: {found}.",
                f"Name one of its columns {field!r}.",
            )
    return sheet


def _encoding(path: Path, sample: bytes) -> str:
    """The encoding of a file, from all of it: its first accent may stand on its last line.

    Raises:
        InputError: it is no text.
    """
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\x00" in sample:
        return _wide(path, sample)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for chunk in _chunks(path):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return _narrow(path)
    return "utf-8-sig"


def _wide(path: Path, sample: bytes) -> str:
    """UTF-16 without a byte order mark: in what people write, every other byte is nil."""
    nils = sample[0::2].count(0), sample[1::2].count(0)
    if max(nils) > max(len(sample) // 4, 10 * min(nils)):
        return "utf-16-le" if nils[1] > nils[0] else "utf-16-be"
    raise InputError(
        f"{path.name} is not a text file: it holds NUL characters.", "Save the spreadsheet as CSV (UTF-8)."
    )


def _narrow(path: Path) -> str:
    """Of a file that is not UTF-8 throughout: UTF-8 with some bad bytes, or an encoding of one byte a character."""
    accented, stray, telling = 0, 0, bytearray()
    for chunk in _chunks(path):
        for line in chunk.split(b"\n"):
            if line.isascii():
                continue
            sequences = UTF8_SEQUENCE.findall(line)
            accented += len(sequences)
            stray += len(line.translate(None, ASCII)) - sum(map(len, sequences))
            if len(telling) < SAMPLE:
                telling += line[:SAMPLE] + b"\n"
    if accented > stray:
        return "utf-8-sig"
    return old_encoding(bytes(telling))


def old_encoding(sample: bytes) -> str:
    """What a text that is not Unicode was most likely written in, by programs of Windows, Mac OS and DOS."""
    best = from_bytes(sample, cp_isolation=["cp1252", "mac_roman", "cp850"]).best()
    return best.encoding if best else "cp1252"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _delimiters(text: str) -> tuple[str, ...]:
    first = text.partition("\n")[0].strip().strip('"').lower()
    if first.startswith("sep=") and len(first) == 5:
        return (first[4],)
    return DELIMITERS


def _is_note(row: list[str] | str) -> bool:
    """Excel's ``sep=;`` line, or nothing."""
    return not row or isinstance(row, str) or (row[0].lower().startswith("sep=") and len(row) <= 2)


def _quote(text: str, delimiter: str) -> str:
    """The quote character: the apostrophe only where cells stand in it and none in double quotes."""
    edges = {"'": 0, '"': 0}
    for line in text.splitlines()[:200]:
        for cell in line.split(delimiter):
            cell = cell.strip()
            if len(cell) > 1 and cell[0] == cell[-1] and cell[0] in edges:
                edges[cell[0]] += 1
    return "'" if edges["'"] and not edges['"'] else '"'


def _errors(encoding: str) -> str:
    # UTF-16 has no bytes to keep as surrogates: they are half of its own characters.
    return "replace" if encoding.startswith("utf-16") else "surrogateescape"


class _Lines:
    """Lines of a file, numbered, that can be pushed back."""

    def __init__(self, raw: BinaryIO, encoding: str) -> None:
        # Any byte that does not fit survives as a mark, so that its row can be told from the others.
        self._text = io.TextIOWrapper(raw, encoding, errors=_errors(encoding), newline="")
        self._back: deque[str] = deque()
        self.number = 0
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else self._text.readline(LONGEST_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        return line

    def push_back(self, lines: list[str]) -> None:
        """Have these lines read again."""
        self._back.extendleft(reversed(lines))
        self.number -= len(lines)


def _rows(lines: _Lines, delimiter: str, quote: str) -> Iterator[tuple[int, list[str] | str]]:
    """Each row with the line it starts on; a sentence in place of one that cannot be read."""
    while True:
        lines.taken = []
        start = lines.number + 1
        try:
            # A reader for each row: after an error the next row must start on a line of our choice.
            row = next(csv.reader(lines, delimiter=delimiter, quotechar=quote, strict=True))
        except StopIteration:
            return
        except csv.Error as error:
            yield start, _sentence(str(error), len(lines.taken))
            lines.push_back(lines.taken[1:])
            continue
        yield start, row if any(cell.strip() for cell in row) else []


def _sentence(error: str, lines: int) -> str:
    """What the csv module means by an error that came after so many lines of one row."""
    if "unexpected end" in error:
        return "A quote is opened and never closed."
    if "field larger" in error:
        large = f"A cell is too large: it has more than {LONGEST_CELL:,} characters"
        return f"{large}, or a quote is opened and never closed." if lines > 1 else f"{large}."
    return f"It is not CSV: {error}."
