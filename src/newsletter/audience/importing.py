"""Importing subscribers from CSV: merged by address, in batches, the same numbers dry as applied."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from newsletter.audience.merging import OUTCOMES, ImportContext, Progress, Row, merge
from newsletter.audience.rows import read_row
from newsletter.audience.spool import Spool
from newsletter.tabular import BadRecord, Record, Sheet

BATCH = 1000
DEADLOCK = "40P01"
"""PostgreSQL's state of a transaction that it broke off, since it and another waited for each other."""

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


def import_subscribers(
    engine: Engine,
    sheet: Sheet,
    context: ImportContext,
    *,
    apply: bool,
    on_batch: Callable[[Progress], None],
    report: Callable[[BadRecord], None],
    bookmark: Bookmark | None = None,
) -> Progress:
    """Read a sheet to its end, then import it. A batch is one transaction, rolled back on a dry run.

    Rows of one address are folded into one; whom it says to have left is unsubscribed. Who unsubscribed here stays
    so; who is suppressed is left out; an empty cell leaves what is there alone. Bad rows are reported, and
    ``on_batch`` called, before anything is written. With a ``bookmark``, an import that broke off goes on where it
    stopped, and its numbers with it.
    """
    progress = Progress()
    with Spool() as spool:
        _read(sheet, context, spool, progress, on_batch, report)
        done = bookmark.find(spool.fingerprint, progress) if bookmark else 0
        for last, batch in spool.batches(done, BATCH):
            progress = _merged(engine, context, batch, progress, apply=apply)
            if bookmark:
                bookmark.save(last, progress)
            on_batch(replace(progress))
    if bookmark:
        bookmark.clear()
    return progress


def _merged(
    engine: Engine, context: ImportContext, batch: Mapping[str, Row], progress: Progress, *, apply: bool
) -> Progress:
    """Merge a batch in a transaction of its own; the progress then."""
    while True:
        after = replace(progress)
        try:
            with engine.connect() as connection, connection.begin() as transaction:
                merge(connection, context, batch, after)
                if not apply:
                    transaction.rollback()
            return after
        except OperationalError as error:
            # Who settles answers, or imports as well, holds the same readers in another order. One of us has to yield.
            if getattr(error.orig, "sqlstate", None) != DEADLOCK:
                raise


def _read(
    sheet: Sheet,
    context: ImportContext,
    spool: Spool,
    progress: Progress,
    on_batch: Callable[[Progress], None],
    report: Callable[[BadRecord], None],
) -> None:
    for number, record in enumerate(sheet.records(), 1):
        result = read_row(record, sheet.fields, context) if isinstance(record, Record) else record
        if isinstance(result, BadRecord):
            progress.bad += 1
            report(result)
        elif spool.add(number, result):
            progress.merged += 1
        progress.read = number
        if number % BATCH == 0:
            on_batch(replace(progress))
    on_batch(replace(progress))


class Bookmark:
    """How far an import has come, kept in the state folder until it is through.

    It belongs to what was understood of a file and to a list: after a change of either, rows would be passed over.
    """

    def __init__(self, home: Path, slug: str, *, restart: bool = False) -> None:
        self._folder = home / "imports"
        self._slug = slug
        self._restart = restart
        self.resumed = 0
        """The number of the last row that an earlier start imported."""
        self.done = 0
        """The number of the last row that is imported."""

    def find(self, fingerprint: str, progress: Progress) -> int:
        """The last row's number that was applied already, 0 if none was; sets what became of the rows up to it."""
        mark = hashlib.sha256(f"{self._slug} {fingerprint}".encode()).hexdigest()[:24]
        self._file = self._folder / f"{mark}.json"
        if self._restart:
            self.clear()
        try:
            kept = json.loads(self._file.read_text())
            done, numbers = int(kept["done"]), {name: int(kept["numbers"][name]) for name in OUTCOMES}
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        for name, number in numbers.items():
            setattr(progress, name, number)
        self.resumed = self.done = done
        return done

    def save(self, done: int, progress: Progress) -> None:
        """Note that the rows up to this number are applied, and what became of them."""
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".part")
        numbers = {name: getattr(progress, name) for name in OUTCOMES}
        partial.write_text(json.dumps({"done": done, "numbers": numbers}))
        partial.replace(self._file)
        self.done = done

    def clear(self) -> None:
        """Forget it: the import is through."""
        self._file.unlink(missing_ok=True)
