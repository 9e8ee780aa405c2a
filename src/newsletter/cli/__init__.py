"""The command line: one file a noun. Exit codes: 0 done, 1 refused or partly failed, 2 usage."""

from __future__ import annotations

import io
import os
import sys

import typer
from sqlalchemy.exc import DBAPIError

from newsletter import __version__
from newsletter.cli import (
    deliveries,
    demo,
    digest,
    dkim,
    doctor,
    items,
    keys,
    lists,
    mailbox,
    relays,
    runs,
    services,
    setup,
    subscribers,
    templates,
    themes,
    tokens,
)
from newsletter.cli.output import complain
from newsletter.errors import NewsletterError

app = typer.Typer(
    name="newsletter",
    help="Self-hosted digests by country and theme: each reader gets exactly the new items that fit, once.",
    epilog="Start with `newsletter demo`, or `newsletter init` for a list of your own.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(setup.init)
for noun in (lists, themes, items, subscribers, digest, runs, deliveries, relays, dkim, keys, tokens, templates):
    app.add_typer(noun.app)
app.command("explain")(digest.explain)
app.command("doctor")(doctor.doctor)
app.command("mailbox")(mailbox.mailbox)
for command in (services.worker, services.beat, services.inbox, services.site, services.up, demo.demo):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"newsletter {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Say the version."),
) -> None:
    """Hold what all commands share."""


def main() -> None:
    """Run the command line; whatever a user can mend ends as a sentence and exit code 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that has no ✓ shows a question mark.
        sys.stdout.reconfigure(errors="replace")
    try:
        app()
    except NewsletterError as error:
        complain(error.message, error.hint)
        sys.exit(1)
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        complain(f"The database cannot be used: {reason}.", "Check NEWSLETTER_DATABASE_URL.")
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
        complain(f"{error.filename or 'A file'}: {error.strerror or error}.", "Check path, permissions and free space.")
        sys.exit(1)


def _odd_argument() -> str | None:
    """The first argument that is no text, as it can be shown; Python passes its bytes on as halves of characters."""
    for argument in sys.argv[1:]:
        shown = os.fsencode(argument).decode("utf-8", "backslashreplace")
        if shown != argument:
            return shown
    return None
