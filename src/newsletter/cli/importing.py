"""``newsletter subscribers import``."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from newsletter.audience.consents import check_source
from newsletter.audience.importing import FIELDS, Bookmark, import_subscribers
from newsletter.audience.merging import OUTCOMES, ImportContext
from newsletter.audience.merging import Progress as Numbers
from newsletter.audience.rows import parse_day
from newsletter.catalogue.geography import find_place
from newsletter.catalogue.themes import all_themes, find_theme
from newsletter.cli.output import counted, errors, print_json, say
from newsletter.cli.shared import Json, ListSlug, chosen_list, now, opened
from newsletter.database import reading
from newsletter.digests.calendar import next_due
from newsletter.errors import InputError
from newsletter.given import STANDARD_INPUT, check_given, name_of, readable
from newsletter.settings import Settings
from newsletter.tabular import BadRecord, Sheet, open_sheet


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Any spreadsheet's CSV; - is standard input.")],
    slug: ListSlug = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it. Without this it is a dry run.")] = False,
    unconfirmed: Annotated[
        bool, typer.Option("--ask", help="Consent is not proven: send each a confirmation mail.")
    ] = False,
    source: Annotated[str | None, typer.Option("--source", help="Where consent was given.")] = None,
    consent_date: Annotated[str | None, typer.Option("--consent-date", help="When: 2026-11-24.")] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="Where bad rows go. Default, on --apply: FILE.bad.csv; of standard input, in NEWSLETTER_HOME.",
        ),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Do not go on where a broken-off import stopped.")] = False,
    as_json: Json = False,
) -> None:
    """Add and update readers from a CSV file as any spreadsheet writes it; a dry run unless `--apply`.

    Columns, in English, Spanish or French: email, name, language, timezone, countries, regions, themes,
    item_languages, frequency, hour, weekday, state, consent_date, consent_source. Several values in a cell are parted
    by ; or , or |. Rows of one address are merged, the later wins; an empty cell changes nothing. Whose last state is
    "unsubscribed" is unsubscribed; who is marked pending, paused, cleaned or bounced is left alone. Who left before or
    is suppressed stays out. Who is pending here is confirmed by a row with a consent date or source. Bad rows are
    reported with line, column and reason, the good ones are kept (exit code 1).

    Example: `newsletter subscribers import readers.csv --list rutas --source 'sign-up sheet, May fair' --apply`
    """
    house, moment = opened(), now()
    check_given(file)
    target = report or (_report_beside(file, house.settings) if apply else None)
    if target:
        _check_target(target, file)
    consent_at = parse_day(consent_date, moment) if consent_date else moment
    with reading(house.engine) as connection:
        list_row = chosen_list(connection, slug, archived=False)
        vocabulary = all_themes(connection, list_row.id)
    context = ImportContext(
        list_row=list_row,
        find_place=_remembered(find_place),
        find_theme=_remembered(lambda text: find_theme(vocabulary, text)),
        next_due=next_due,
        source=check_source(source) if source else f"import of {name_of(file)}",
        consent_at=consent_at,
        cursor=list_row.last_position,
        now=moment,
        confirmed=not unconfirmed,
        keys=house.settings.keys,
        proven=bool(source or consent_date),
    )
    bookmark = Bookmark(house.settings.home, list_row.slug, restart=restart) if apply else None
    with ExitStack() as stack:
        sheet = open_sheet(stack.enter_context(readable(file)), FIELDS, ("email",))
        collector = stack.enter_context(_Report(target))
        bar = stack.enter_context(_Bar(sheet, quiet=as_json))

        def on_batch(numbers: Numbers) -> None:
            collector.keep()
            bar.advance(numbers)

        try:
            numbers = import_subscribers(
                house.engine, sheet, context, apply=apply, on_batch=on_batch, report=collector.add, bookmark=bookmark
            )
        except KeyboardInterrupt:
            if bookmark:
                stack.close()
                say(f"Kept: {counted(bookmark.done, 'row')}; the same command goes on from there.", errors)
            raise
    if bookmark and bookmark.resumed and not as_json:
        say(f"Went on after row {bookmark.resumed}, where an earlier start stopped; --restart would begin anew.")
    _tell(sheet, numbers, collector, apply=apply, as_json=as_json)
    if numbers.bad:
        raise typer.Exit(1)


def _report_beside(file: Path, settings: Settings) -> Path:
    """Where the report on a file's bad rows stands, if nobody says where."""
    if file == STANDARD_INPUT:
        settings.make_home()
        return settings.home / "standard-input.bad.csv"
    # /dev and /proc, where pipes are, take no report.
    beside = Path(file.name) if str(file).startswith(("/dev/", "/proc/")) else file
    return beside.with_name(file.name + ".bad.csv")


def _check_target(target: Path, source: Path) -> None:
    """Refuse a report that would overwrite the file, or cannot be written.

    Raises:
        InputError: it is the file itself, under whatever name.
        OSError: it cannot be written.
    """
    there = os.path.lexists(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise InputError(
            f"The report {target} is the file that is to be imported: it would be overwritten.",
            "Name another file with --report.",
        )
    with target.open("a"):
        pass
    if not there:
        target.unlink()


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


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _Report:
    """Bad rows as they come: the first few in memory, all of them in a file."""

    SHOWN = 10

    def __init__(self, target: Path | None) -> None:
        self.target = target
        self.first: list[BadRecord] = []
        self._file: Any = None

    def __enter__(self) -> _Report:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def add(self, bad: BadRecord) -> None:
        """Take one in."""
        if len(self.first) < self.SHOWN:
            self.first.append(bad)
        if self.target is None:
            return
        if self._file is None:
            # Bad rows have addresses in them.
            self._file = open(self.target, "w", newline="", encoding="utf-8", opener=_for_owner)  # noqa: SIM115
            csv.writer(self._file).writerow(("line", "column", "reason"))
        csv.writer(self._file).writerow((bad.line, bad.column, bad.reason))
        self._kept = False

    def keep(self) -> None:
        """Have on disk what came so far: no good row is imported before the bad ones are safe."""
        if self._file and not self._kept:
            self._file.flush()
            if self.target and self.target.is_file():
                os.fsync(self._file.fileno())
            self._kept = True


class _Bar:
    """A progress bar, on a terminal only: half of it for reading, by bytes, half for writing, by rows."""

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
        self._task = self._progress.add_task(sheet.path.name, total=2.0, rows=0)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, numbers: Numbers) -> None:
        """Draw how far it is."""
        settled = sum(getattr(numbers, name) for name in OUTCOMES)
        good = numbers.read - numbers.bad - numbers.merged
        completed = self._sheet.read / max(1, self._sheet.size) + settled / max(1, good)
        self._progress.update(self._task, completed=completed, rows=numbers.read)


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
    say(f"{escape(sheet.path.name)}: {sheet.encoding_name}, {escape(columns)}")
    if sheet.ignored:
        say(f"Columns that mean nothing here: {escape(', '.join(sheet.ignored))}")
    parts = {
        "new": numbers.added,
        "changed": numbers.changed,
        "unchanged": numbers.unchanged,
        "confirmed": numbers.confirmed,
        "unsubscribed": numbers.unsubscribed,
        "merged into another row": numbers.merged,
        "had left or get no mail": numbers.left,
        "suppressed": numbers.suppressed,
        "bad": numbers.bad,
    }
    told = [f"{number:,} {what}" for what, number in parts.items() if number or what in ("new", "bad")]
    say(f"{counted(numbers.read, 'row')}: {', '.join(told)}.")
    for bad in report.first:
        place = f"line {bad.line} {bad.column}".strip()
        say(f"[yellow]{escape(place)}[/]: {escape(bad.reason)}", errors)
    if report.first and report.target:
        say(f"All bad rows: {escape(str(report.target))}")
    if not apply:
        say("Nothing was changed. [bold]--apply[/] does it.")
