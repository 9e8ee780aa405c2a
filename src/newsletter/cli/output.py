"""What commands print: sentences and tables for people, JSON for scripts."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import typer
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table


def _width() -> int | None:
    """How wide output is; None: as wide as the terminal that it goes to."""
    if sys.stdout and sys.stdout.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if re.fullmatch(r"[1-9][0-9]{0,4}", columns) else 120


console = Console(highlight=False, width=_width())
errors = Console(stderr=True, highlight=False)
LONGEST_WORD = 64
"""Characters of a word that a table keeps whole, whatever room it takes: a slug has at most so many."""


def complain(message: str, hint: str = "") -> None:
    """An error: what and where, and on its own line how to mend it."""
    say(f"[bold red]Error:[/] {escape(message)}", errors)
    if hint:
        say(escape(hint), errors, indent=7)


def misused(command: str, message: str = "Nothing to change was named.") -> typer.Exit:
    """Say what is wrong with the options of ``command``, whatever the database holds; what to end it with."""
    complain(message, f"See `newsletter {command} --help`.")
    return typer.Exit(2)


def warn(message: str, hint: str) -> None:
    """What is odd, but keeps no command from its work."""
    say(f"[yellow]Warning:[/] {escape(message)} {escape(hint)}", errors)


def say(text: str, where: Console = console, *, indent: int = 0, to_copy: bool = False) -> None:
    """A sentence; what comes from outside must have gone through ``escape``.

    On a terminal its lines end between words, unless one is longer than a line; elsewhere, and of what one is to copy,
    it is one line.
    """
    has_room = all(len(word) < where.width - indent for word in text.split())
    if where.is_terminal and has_room and not to_copy:
        where.print(Padding(text, (0, 0, 0, indent), expand=False) if indent else text)
    else:
        where.print(" " * indent + text, soft_wrap=True)


def sign(mark: str, word: str) -> str:
    """A mark such as ✓, or the word for it where the output's encoding has no such mark."""
    try:
        mark.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return word
    return mark


def plain(value: Any) -> Any:
    """A value as JSON has it: moments in ISO 8601."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(part) for part in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    return value


def print_json(value: Any) -> None:
    """JSON on standard output, one document."""
    typer.echo(_json(value))


def print_json_rows(values: Iterable[Any]) -> None:
    """The same of a list of any length, which is never held as a whole."""
    written = False
    for value in values:
        # A line end in a text is written \\n: those that are here part lines.
        text = _json(value).replace("\n", "\n  ")
        typer.echo(f"{',' if written else '['}\n  {text}", nl=False)
        written = True
    typer.echo("\n]" if written else "[]")


def _json(value: Any) -> str:
    escaped = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    return json.dumps(plain(value), ensure_ascii=escaped, indent=2)


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[Any]],
    empty: str,
    right: Sequence[int] = (),
    most: int | None = None,
) -> None:
    """A table, or ``empty`` if there is nothing in it; ``right`` are the columns of numbers.

    Its cells are parted between words only: addresses, slugs and zones can be copied. Of more rows than ``most`` it
    shows so many, and says that there are others.
    """
    wanted = iter(rows)
    cells = [[shown(cell) for cell in row] for row in islice(wanted, most)]
    if not cells:
        say(empty)
        return
    columns = list(zip(headers, *cells, strict=True))
    widths = [_longest_word(column) for column in columns]
    if console.is_terminal and sum(widths) + 2 * len(widths) > console.width:
        # Too narrow for what must stay whole: a row is its first cell, and the others below it.
        for first, *rest in (headers, *cells):
            say(f"[bold]{escape(first)}[/]")
            console.print(Padding(escape("  ".join(rest)), (0, 0, 0, 4)))
    else:
        drawn = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
        widths = _widened(widths, [max(map(cell_len, column)) for column in columns])
        for number, (header, width) in enumerate(zip(headers, widths, strict=True)):
            justify: JustifyMethod = "right" if number in right else "left"
            # With a width alone Rich would make it narrower.
            drawn.add_column(header, justify=justify, overflow="fold", min_width=width, max_width=width)
        for row in cells:
            drawn.add_row(*map(escape, row))
        console.print(drawn, crop=False)
    if next(wanted, None) is not None:
        say(f"There are more than these {most}; --limit shows them.", errors)


def _widened(widths: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """The narrowest columns get what they want first. (Rich takes from columns what their longest words need.)"""
    found = list(widths)
    for _ in range(console.width - sum(widths) - 2 * len(widths)):
        short = [number for number, width in enumerate(found) if width < wanted[number]]
        if not short:
            break
        found[min(short, key=found.__getitem__)] += 1
    return found


def _longest_word(texts: Iterable[str]) -> int:
    return min(LONGEST_WORD, max(cell_len(word) for text in texts for word in text.split() or [""]))


def worded(values: Mapping[str, Any], words: Mapping[str, str]) -> Iterable[tuple[str, Any]]:
    """What ``facts`` shows of named values: each under its word, else under its name with spaces."""
    return ((words.get(name, name.replace("_", " ")), value) for name, value in values.items())


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one a line."""
    drawn = Table(box=None, pad_edge=False, show_header=False)
    drawn.add_column(style="dim")
    drawn.add_column(overflow="fold")
    for name, value in pairs:
        drawn.add_row(name, escape(shown(value)))
    console.print(drawn)


def counted(number: int, noun: str) -> str:
    """A number of things: 1 digest, 2,000 digests."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shown(value: Any) -> str:
    """A value as people read it."""
    if value is None or value in ("", [], (), {}):
        return "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(part)}" for name, part in value.items())
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M} UTC"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


def confirmed(question: str, yes: bool) -> None:
    """Ask before harm; without a terminal, ``--yes`` has to be given.

    Raises:
        typer.Exit: with 1, if it was not granted.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        complain(f"{question} Nobody is there to answer.", "Add --yes.")
        raise typer.Exit(1)
    if not typer.confirm(question):
        say("Nothing was changed.")
        raise typer.Exit(1)
