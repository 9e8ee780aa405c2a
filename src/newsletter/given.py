"""Files as commands are given them: one that is there, a folder, a pipe, standard input; JSON that anybody wrote."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from newsletter.errors import InputError

STANDARD_INPUT = Path("-")


def name_of(path: Path) -> str:
    """What a file is called where people read of it."""
    return "standard input" if path == STANDARD_INPUT else path.name


def check_given(path: Path) -> None:
    """Refuse what is neither a file nor standard input.

    Raises:
        InputError: there is none, or it is a folder.
    """
    if path == STANDARD_INPUT:
        return
    if path.is_dir():
        raise InputError(f"{path} is a folder.", "Name a file in it.")
    if not path.exists():
        raise InputError(f"There is no file {path}.", "Check the path.")


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """A file that can be read more than once: itself, or what comes out of a pipe or standard input, under its name.

    Raises:
        InputError: there is none, or it is a folder.
    """
    check_given(path)
    if path != STANDARD_INPUT and path.is_file():
        yield path
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder) / name_of(path)
        source = nullcontext(sys.stdin.buffer) if path == STANDARD_INPUT else path.open("rb")
        with source as pipe, copy.open("wb") as file:
            shutil.copyfileobj(pipe, file)
        yield copy


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        InputError: it is none, with the place where it stops being one, or Python's limits do not let it be read.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"It is not JSON: {error}.") from None
    except RecursionError:
        raise InputError("It is not JSON that can be read: its brackets are nested too deeply.") from None
    except ValueError:
        raise InputError("It is not JSON that can be read: a number in it has too many digits.") from None
