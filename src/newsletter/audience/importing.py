"""Importing subscribers from CSV: merged by address, in batches, the same numbers dry as applied."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from newsletter.audience.addresses import parse_address
from newsletter.audience.merging import ImportContext, Progress, Row, merge
from newsletter.audience.schedule import (
    parse_frequency,
    parse_hour,
    parse_language,
    parse_timezone,
    parse_weekday,
)
from newsletter.audience.subscribers import check_name
from newsletter.errors import InputError
from newsletter.resembling import fold
from newsletter.tabular import BadRecord, Record, Sheet

BATCH = 1000

FIELDS: Mapping[str, tuple[str, ...]] = {
    "email": (
        *("e mail", "mail", "email address", "e mail address", "address", "correo", "correo electronico"),
        *("courriel", "adresse e mail", "adresse electronique"),
    ),
    "name": ("full name", "nombre", "nombre completo", "nom", "nom complet"),
    "language": ("lang", "idioma", "langue"),
    "timezone": ("time zone", "tz", "zona horaria", "fuseau horaire", "fuseau"),
    "countries": ("country", "pais", "paises", "pays"),
    "regions": ("region", "regiones"),
    "themes": ("theme", "topics", "topic", "tema", "temas", "sujets"),
    "item_languages": ("item language", "languages", "idiomas", "langues"),
    "frequency": ("frecuencia", "frequence"),
    "hour": ("hora", "heure"),
    "weekday": ("day", "dia", "dia de la semana", "jour", "jour de la semana", "jour de la semaine"),
    "state": ("status", "estado", "statut", "etat"),
    "consent_date": (
        *("consent at", "subscribed at", "opt in date", "fecha de consentimiento"),
        *("date de consentement", "date du consentement"),
    ),
    "consent_source": ("consent from", "opt in source", "fuente de consentimiento", "source du consentement"),
}

ACTIVE = ("active", "subscribed", "confirmed")
INACTIVE = ("unsubscribed", "pending", "paused", "unconfirmed", "cleaned", "bounced")


def import_subscribers(
    engine: Engine,
    sheet: Sheet,
    context: ImportContext,
    *,
    apply: bool,
    on_batch: Callable[[Progress], None],
    report: Callable[[BadRecord], None],
    skip: int = 0,
) -> Progress:
    """Import a sheet from its record ``skip`` on. A batch is one transaction, rolled back on a dry run.

    Who unsubscribed, here or by the file's own word, stays so; who is suppressed is left out; an empty cell
    leaves what is there alone.
    """
    progress = Progress(read=skip)
    with _Seen() as seen:
        for batch in _batches(sheet, context, skip, progress, report):
            latest = {row.address.key: row for row in batch}
            repeated = seen.before(latest)
            progress.merged += len(batch) - len(latest) + len(repeated)
            with engine.connect() as connection, connection.begin() as transaction:
                merge(connection, context, {k: row for k, row in latest.items() if k not in repeated}, progress)
                if apply:
                    # Counted as merged already; what they change of the earlier row is written all the same.
                    merge(connection, context, {k: latest[k] for k in repeated}, Progress())
                else:
                    transaction.rollback()
            on_batch(replace(progress))
    return progress


class _Seen:
    """The addresses that a file has had so far, on disk: a million of them would be 100 MB in memory."""

    def __enter__(self) -> _Seen:
        # An empty name is a temporary database that is gone with its connection.
        self._kept = sqlite3.connect("", isolation_level=None)
        self._kept.execute("CREATE TABLE seen (mark BLOB PRIMARY KEY) WITHOUT ROWID")
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def before(self, keys: Iterable[str]) -> set[str]:
        """Those of ``keys`` that came before; from now on all of them have."""
        repeated = set()
        self._kept.execute("BEGIN")
        for key in keys:
            mark = hashlib.blake2b(key.encode(), digest_size=12).digest()
            if self._kept.execute("INSERT OR IGNORE INTO seen VALUES (?)", (mark,)).rowcount == 0:
                repeated.add(key)
        self._kept.execute("COMMIT")
        return repeated


def _batches(
    sheet: Sheet, context: ImportContext, skip: int, progress: Progress, report: Callable[[BadRecord], None]
) -> Iterator[list[Row]]:
    batch: list[Row] = []
    waiting = 0
    for record in sheet.records(skip):
        waiting += 1
        result = read_row(record, sheet.fields, context) if isinstance(record, Record) else record
        if isinstance(result, BadRecord):
            progress.bad += 1
            report(result)
        elif not result.active:
            progress.left += 1
        else:
            batch.append(result)
        if waiting == BATCH:
            progress.read += waiting
            yield batch
            batch, waiting = [], 0
    progress.read += waiting
    if waiting:
        yield batch


def read_row(record: Record, headers: Mapping[str, str], context: ImportContext) -> Row | BadRecord:
    """Understand one record, or say in which column it cannot be understood."""
    list_row = context.list_row
    values: dict[str, Any] = {}
    readers: dict[str, Callable[[str], Any]] = {
        "email": parse_address,
        "name": check_name,
        "language": lambda text: parse_language(text, list_row.languages),
        "timezone": parse_timezone,
        "countries": lambda text: tuple(context.find_place(part) for part in _several(text)),
        "regions": lambda text: tuple(context.find_place(part) for part in _several(text)),
        "themes": lambda text: tuple(context.find_theme(part) for part in _several(text)),
        "item_languages": lambda text: tuple(part.lower() for part in _several(text)),
        "frequency": parse_frequency,
        "hour": parse_hour,
        "weekday": parse_weekday,
        "state": _is_active,
        "consent_date": parse_day,
        "consent_source": str,
    }
    for name, read in readers.items():
        text = record.cells.get(name, "")
        if not text and name != "email":
            values[name] = None
            continue
        try:
            values[name] = read(text)
        except InputError as error:
            return BadRecord(record.line, headers.get(name, name), str(error))
    places = (values.pop("countries"), values.pop("regions"))
    return Row(
        address=values.pop("email"),
        active=values.pop("state") is not False,
        places=None if places == (None, None) else (places[0] or ()) + (places[1] or ()),
        consent_at=values.pop("consent_date") or context.consent_at,
        source=values.pop("consent_source") or context.source,
        **values,
    )


def _several(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"[;,|]", text) if part.strip()]


def _is_active(text: str) -> bool:
    word = fold(text)
    if word not in ACTIVE + INACTIVE:
        raise InputError(f"The state {text!r} is not known.", f"Use one of {', '.join((*ACTIVE, *INACTIVE))}.")
    return word in ACTIVE


def parse_day(text: str) -> datetime:
    """A day or moment of consent, in UTC if it names no zone.

    Raises:
        InputError: it cannot be read in one way only.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        parts = re.fullmatch(r"(\d{1,2})[/.](\d{1,2})[/.](\d{4})", text)
        day, month = (int(parts[1]), int(parts[2])) if parts else (0, 0)
        # 3/4/2026 is March to some and April to others.
        if not parts or (day <= 12 and day != month):
            raise InputError(f"The date {text!r} is not clear.", "Write it as 2026-11-24.") from None
        try:
            moment = datetime.combine(date(int(parts[3]), month, day), time())
        except ValueError:
            raise InputError(f"There is no day {text!r}.", "Write it as 2026-11-24.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Bookmark:
    """How far an import has come, kept in the state folder until it is through.

    It belongs to a file by size and by its first and last 64 KB, and to a list.
    """

    def __init__(self, home: Path, path: Path, slug: str) -> None:
        size = path.stat().st_size
        with path.open("rb") as file:
            ends = file.read(65_536)
            file.seek(max(0, size - 65_536))
            ends += file.read()
        mark = hashlib.sha256(f"{slug} {size} ".encode() + ends).hexdigest()[:24]
        self._file = home / "imports" / f"{mark}.json"

    @property
    def done(self) -> int:
        """Records that were applied already."""
        try:
            return int(json.loads(self._file.read_text())["done"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def save(self, done: int) -> None:
        """Note that so many records are applied."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".part")
        partial.write_text(json.dumps({"done": done}))
        partial.replace(self._file)

    def clear(self) -> None:
        """Forget it: the import is through."""
        self._file.unlink(missing_ok=True)
