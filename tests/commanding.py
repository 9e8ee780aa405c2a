"""The command line, in this process."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from newsletter import cli

CHECKOUT = Path(__file__).parents[1]
KEY = "k" * 40


@dataclass
class Result:
    """What a command did."""

    code: int
    out: str
    err: str
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class CommandLine:
    """The command line, in this process, over one state folder."""

    home: Path

    def __call__(self, *arguments: str, code: int | None = 0) -> Result:
        raw, err = io.BytesIO(), io.StringIO()
        out = io.TextIOWrapper(raw, "utf-8", newline="")
        before, sys.argv = sys.argv, ["newsletter", *arguments]
        result = 0
        try:
            with redirect_stdout(out), redirect_stderr(err):
                cli.main()
        except SystemExit as stop:
            result = stop.code if isinstance(stop.code, int) else 1 if stop.code else 0
        finally:
            sys.argv = before
            out.flush()
        done = Result(result, raw.getvalue().decode("utf-8", "replace"), err.getvalue(), raw.getvalue())
        assert code is None or done.code == code, f"{arguments}: {done.code}\n{done.out}\n{done.err}"
        return done
