"""``make bench``: measure, print a table, and write build/bench.json.

Every figure is taken in a process of its own, so that its peak of memory is its own; what is compared is
measured in the same run. Nothing here passes or fails.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from servers import running_postgres  # noqa: E402

OUTPUT = HERE.parent / "build" / "bench.json"
ASSEMBLY = ("database", "subscriptions", "items", "profiles", "processes", "digests", "seconds", "cpu", "peak_mb")
RENDERING = ("way", "cards", "mails", "us_per_mail", "ratio", "kb_per_mail", "prepare_us", "peak_mb")


def measured(script: str, *arguments: str) -> dict[str, Any]:
    """The JSON that a script of this folder prints, in a process of its own."""
    done = subprocess.run([sys.executable, str(HERE / script), *arguments], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def assembly(sizes: list[int]) -> Iterator[dict[str, Any]]:
    """Assembly on PostgreSQL as it comes, and on SQLite; one process and two."""
    with running_postgres("shared_buffers=128MB") as postgres:
        for size in sizes:
            for processes in (1, 2):
                url = postgres.create()
                measured("population.py", url, str(size))
                yield measured("assembly.py", url, str(processes))
    for size in sizes:
        file = OUTPUT.parent / f"bench-{size}.db"
        for leftover in file.parent.glob(f"{file.name}*"):
            leftover.unlink()
        measured("population.py", f"sqlite:///{file}", str(size))
        yield measured("assembly.py", f"sqlite:///{file}", "1")
        for leftover in file.parent.glob(f"{file.name}*"):
            leftover.unlink()


def rendering() -> Iterator[dict[str, Any]]:
    """A mail by premailer each time, by Jinja each time, and joined as we do."""
    base = 0.0
    for way in ("premailer-per-mail", "jinja-per-mail", "joined"):
        found = measured("rendering.py", way)
        base = base or found["us_per_mail"]
        yield found | {"ratio": round(base / found["us_per_mail"], 1)}


def show(title: str, columns: tuple[str, ...], rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Print the rows as a table as soon as all are there."""
    console, found = Console(highlight=False, width=110), []
    table = Table(title=title, title_justify="left", box=None)
    for column in columns:
        table.add_column(column.replace("_", " "), justify="left" if column in ("database", "way") else "right")
    for row in rows:
        found.append(row)
        table.add_row(*(f"{row[c]:,}" if isinstance(row[c], (int, float)) else str(row[c]) for c in columns))
        console.print(f"  {len(found)} measured", style="dim", end="\r")
    console.print(table)
    console.print()
    return found


def main() -> None:
    """Measure it all; sizes may be given as arguments."""
    sizes = [int(size) for size in sys.argv[1:]] or [10_000, 100_000]
    OUTPUT.parent.mkdir(exist_ok=True)
    results = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "assembly": show("Assembly of one run", ASSEMBLY, assembly(sizes)),
        "rendering": show("One mail, each reader with picks and items of their own", RENDERING, rendering()),
    }
    OUTPUT.write_text(json.dumps(results, indent=2))
    print(f"Written to {OUTPUT.relative_to(Path.cwd())}" if OUTPUT.is_relative_to(Path.cwd()) else OUTPUT)


if __name__ == "__main__":
    main()
