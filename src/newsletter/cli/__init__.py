"""The command line: one file a noun. Exit codes: 0 done, 1 refused or partly failed, 2 usage, 130 Ctrl-C."""

from __future__ import annotations

import io
import os
import sys
from collections import UserDict
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

import typer
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError
from typer.core import TyperGroup

from newsletter import __version__
from newsletter.cli.output import complain, warn
from newsletter.errors import NewsletterError

FILES = {
    "init": "setup",
    "explain": "digest",
    "doctor": "doctor",
    "mailbox": "mailbox",
    **dict.fromkeys(("worker", "beat", "inbox", "site", "up"), "services"),
    "demo": "demo",
}
"""The file that each command is a function of."""
NOUNS = (
    "lists", "themes", "items", "subscribers", "digest", "runs",
    "deliveries", "relays", "dkim", "keys", "tokens", "templates",
)  # fmt: skip
"""Files with commands of their own."""


@cache
def _command(name: str) -> Any:
    """A command of ours, or a noun with its commands, as the parser has them."""
    holder = typer.Typer(add_completion=False, rich_markup_mode="markdown")
    if name in FILES:
        holder.command(name)(getattr(import_module(f"{__name__}.{FILES[name]}"), name))
    else:
        holder.add_typer(import_module(f"{__name__}.{name}").app)
    return typer.main.get_group(holder).commands[name]


class _OnDemand(UserDict[str, Any]):
    """All commands by name. A file is read when its command is asked for: all of them take longer than a command."""

    def __getitem__(self, name: str) -> Any:
        if name not in self.data:
            raise KeyError(name)
        return _command(name)


class _House(TyperGroup):
    """All commands."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.commands = _OnDemand(dict.fromkeys((*FILES, *NOUNS)))


app = typer.Typer(
    name="newsletter",
    cls=_House,
    help="Self-hosted digests by country and theme: each reader gets exactly the new items that fit, once.",
    epilog="Start with `newsletter demo`, or `newsletter init` for a list of your own.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"newsletter {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Say the version."),
) -> None:
    """Warn of what is set and means nothing, before any command."""
    from newsletter.environment import unknown_names
    from newsletter.settings import Settings

    with suppress(UnicodeDecodeError, OSError):
        for name, mend in unknown_names(Settings.model_fields):
            warn(f"{name} is no setting.", mend)


def main() -> None:
    """Run the command line; whatever a user can mend ends as a sentence and exit code 1."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # Whoever closed it wants nothing of it, and the next file to be opened would stand in its place.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that has no ✓ shows a question mark.
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            app()
        finally:
            _hand_over()
    except NewsletterError as error:
        complain(error.message, error.hint)
        sys.exit(1)
    except DBAPIError as error:
        from newsletter.database import unusable
        from newsletter.settings import load_settings

        said = unusable(make_url(load_settings().database), error)
        complain(said.message, said.hint)
        sys.exit(1)
    except UnicodeError:
        if (odd := _odd_argument()) is None:
            raise
        complain(f"The argument {odd} is not text in UTF-8.", "Type it anew; a terminal that is set to UTF-8 helps.")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output, `head` for one, has had enough.
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        what = error.filename or "A file, or the output"
        complain(f"{what}: {error.strerror or error}.", "Check path, permissions and free space.")
        sys.exit(1)


def _hand_over() -> None:
    """Write what is left of the output; at Python's own end it is too late for a sentence.

    Raises:
        OSError: it cannot be written.
    """
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            # Python would try again, and tell of it.
            sys.stdout.close()
        raise


def _odd_argument() -> str | None:
    """The first argument that is no text, as it can be shown; Python passes its bytes on as halves of characters."""
    for argument in sys.argv[1:]:
        shown = os.fsencode(argument).decode("utf-8", "backslashreplace")
        if shown != argument:
            return shown
    return None
