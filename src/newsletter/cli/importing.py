"""``newsletter subscribers import``."""

from __future__ import annotations

import csv
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from newsletter.audience.importing import FIELDS, Bookmark, import_subscribers
from newsletter.audience.importing import parse_day as parse_consent_day
from newsletter.audience.merging import ImportContext
from newsletter.audience.merging import Progress as Numbers
from newsletter.catalogue.geography import find_place
from newsletter.catalogue.themes import all_themes, find_theme
from newsletter.cli.output import errors, print_json, say
from newsletter.cli.shared import Json, ListSlug, chosen_list, now, opened
from newsletter.database import reading
from newsletter.digests.calendar import next_due
from newsletter.tabular import BadRecord, Sheet, open_sheet


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv")],
    slug: ListSlug = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it. Without this it is a dry run.")] = False,
    unconfirmed: Annotated[
        bool, typer.Option("--ask", help="Consent is not proven: send each a confirmation mail.")
    ] = False,
    source: Annotated[str | None, typer.Option("--source", help="Where consent was given.")] = None,
    consent_date: Annotated[str | None, typer.Option("--consent-date", help="When: 2026-11-24.")] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Where bad rows go. Default: FILE.bad.csv, on --apply.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Do not go on where a broken-off import stopped.")] = False,
    as_json: Json = False,
) -> None:
    """Add and update readers from a CSV file as any spreadsheet writes it; a dry run unless `--apply`.

    Columns, in English, Spanish or French: email, name, language, timezone, countries, regions, themes,
    item_languages, frequency, hour, weekday, state, consent_date, consent_source. Several values in a cell are parted
    by ; or , or |. Rows of one address are merged, the later wins; an empty cell changes nothing. Who has left or is
    suppressed stays out. Bad rows are reported with line, column and reason, the good ones are kept (exit code 1).

    Example: `newsletter subscribers import readers.csv --list rutas --source 'sign-up sheet, May fair' --apply`
    """
    house, moment = opened(), now()
    sheet = open_sheet(file, FIELDS, ("email",))
    with reading(house.engine) as connection:
        list_row = chosen_list(connection, slug, archived=False)
        vocabulary = all_themes(connection, list_row.id)
    context = ImportContext(
        list_row=list_row,
        find_place=_remembered(find_place),
        find_theme=_remembered(lambda text: find_theme(vocabulary, text)),
        next_due=next_due,
        source=source or f"import of {file.name}",
        consent_at=parse_consent_day(consent_date) if consent_date else moment,
        cursor=list_row.last_position,
        now=moment,
        confirmed=not unconfirmed,
    )
    bookmark = Bookmark(house.settings.home, file, list_row.slug)
    if restart:
        bookmark.clear()
    skip = bookmark.done if apply else 0
    if skip and not as_json:
        say(f"Going on after {skip} rows that were imported before; --restart begins anew.")
    with ExitStack() as stack:
        target = report or (file.with_name(file.name + ".bad.csv") if apply else None)
        collector = stack.enter_context(_Report(target, appending=bool(skip)))
        on_batch = stack.enter_context(_Bar(sheet, quiet=as_json)).advance

        def committed(numbers: Numbers) -> None:
            if apply:
                bookmark.save(numbers.read)
            on_batch(numbers)

        numbers = import_subscribers(
            house.engine, sheet, context, apply=apply, on_batch=committed, report=collector.add, skip=skip
        )
    if apply:
        bookmark.clear()
    _tell(sheet, numbers, collector, apply=apply, as_json=as_json)
    if numbers.bad:
        raise typer.Exit(1)


def _remembered(find: Callable[[str], str]) -> Callable[[str], str]:
    """A resolver that does not look the same name up a million times; unknown names are not kept."""
    known: dict[str, str] = {}

    def found(text: str) -> str:
        if text not in known:
            if len(known) > 20_000:
                known.clear()
            known[text] = find(text)
        return known[text]

    return found


class _Report:
    """Bad rows as they come: the first few in memory, all of them in a file."""

    SHOWN = 10

    def __init__(self, target: Path | None, *, appending: bool) -> None:
        self.target = target
        self.first: list[BadRecord] = []
        self._mode = "a" if appending else "w"
        self._file: Any = None

    def __enter__(self) -> _Report:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def add(self, bad: BadRecord) -> None:
        """Keep one."""
        if len(self.first) < self.SHOWN:
            self.first.append(bad)
        if self.target is None:
            return
        if self._file is None:
            self._file = self.target.open(self._mode, newline="", encoding="utf-8")
            if self._file.tell() == 0:
                csv.writer(self._file).writerow(("line", "column", "reason"))
        csv.writer(self._file).writerow((bad.line, bad.column, bad.reason))


class _Bar:
    """A progress bar by bytes, on a terminal only."""

    def __init__(self, sheet: Sheet, *, quiet: bool) -> None:
        self._sheet = sheet
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[rows]} rows"),
            TimeRemainingColumn(),
            console=errors,
            disable=quiet or not errors.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task(sheet.path.name, total=max(1, sheet.size), rows=0)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, numbers: Numbers) -> None:
        """Draw how far it is."""
        self._progress.update(self._task, completed=self._sheet.read, rows=numbers.read)


def _tell(sheet: Sheet, numbers: Numbers, report: _Report, *, apply: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "applied": apply,
                **asdict(numbers),
                "columns": sheet.fields,
                "ignored": sheet.ignored,
                "report": str(report.target) if report.target and report.first else None,
                "first_bad": [asdict(bad) for bad in report.first],
            }
        )
        return
    columns = ", ".join(f"{header} → {field}" for field, header in sheet.fields.items())
    say(f"{escape(sheet.path.name)}: {sheet.encoding}, {escape(columns)}")
    if sheet.ignored:
        say(f"Columns that mean nothing here: {escape(', '.join(sheet.ignored))}")
    say(
        f"{numbers.read} rows: {numbers.added} new, {numbers.changed} changed, {numbers.unchanged} unchanged, "
        f"{numbers.merged} merged into another row, {numbers.left} had left, {numbers.suppressed} suppressed, "
        f"{numbers.bad} bad."
    )
    for bad in report.first:
        errors.print(f"[yellow]line {bad.line}[/] {escape(bad.column)}: {escape(bad.reason)}")
    if report.first and report.target:
        say(f"All bad rows: {escape(str(report.target))}")
    if not apply:
        say("Nothing was changed. [bold]--apply[/] does it.")
