"""Files as commands are given them: one that is there, a folder, a pipe; and JSON that anybody may have written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from newsletter.errors import InputError


def check_given(path: Path) -> None:
    """Refuse what is no file.

    Raises:
        InputError: there is none, or it is a folder.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder.", "Name a file in it.")
    if not path.exists():
        raise InputError(f"There is no file {path}.", "Check the path.")


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """A file that can be read more than once: itself, or what comes out of a pipe, under the pipe's name.

    Raises:
        InputError: there is none, or it is a folder.
    """
    check_given(path)
    if path.is_file():
        yield path
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        with path.open("rb") as pipe, copy.open("wb") as file:
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
