"""``newsletter runs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from newsletter.cli.output import confirmed, counted, facts, misused, print_json, say, table, worded
from newsletter.cli.shared import (
    SHOWN,
    WHY_NOTHING,
    Json,
    Limit,
    OfList,
    Yes,
    chosen_list,
    now,
    opened,
    row_number,
    to_ask_for,
)
from newsletter.database import reading
from newsletter.digests import oversight
from newsletter.digests.runs import call_in, start_run
from newsletter.errors import InputError
from newsletter.given import name_of, readable
from newsletter.mail.notes import check_note

app = typer.Typer(name="runs", help="Assemblies of a list for one slot of time.", no_args_is_help=True)

WORDS = {
    "id": "run",
    "upper": "up to position",
    "examined": "looked at",
    "opened_at": "opened",
    "assembled_at": "assembled",
    "approved_at": "approved",
    "finished_at": "finished",
}
"""What values of a run are called, if not as in JSON."""

Number = Annotated[int, typer.Argument(metavar="RUN", parser=row_number)]


@app.command()
def start(
    slug: Annotated[str, typer.Argument(metavar="LIST")],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Open a run now for every active reader, whatever their hour; the next tick assembles it.

    Example: `newsletter runs start rutas`
    """
    house = opened()
    with reading(house.engine) as connection:
        list_row = chosen_list(connection, slug, archived=False)
    confirmed(f"Send every reader of {slug} their new items now, without waiting for their hour?", yes)
    with house.engine.begin() as connection:
        run_id = start_run(connection, list_row.id, now())
        run = oversight.find_run(connection, run_id)
    call_in(house.engine, run_id)
    if as_json:
        print_json(_facts(run))
        return
    say(f"Run [bold]{run_id}[/] opened; the next tick assembles it. See `newsletter runs show {run_id}`.")


def _facts(row: Any) -> dict[str, Any]:
    names: tuple[str, ...] = ("id", "slot", "upper", "state", "needs_approval", "started_by", "examined")
    names += ("opened_at", "assembled_at", "approved_at", "finished_at", "notes")
    return {"list": row.slug} | {name: getattr(row, name) for name in names}


@app.command("list")
def show_all(slug: OfList = None, limit: Limit = None, as_json: Json = False) -> None:
    """The latest runs.

    Example: `newsletter runs list --list rutas`
    """
    house = opened()
    with reading(house.engine) as connection:
        list_id = chosen_list(connection, slug).id if slug else None
        rows = oversight.recent_runs(connection, list_id, to_ask_for(limit, as_json=as_json))
        found = [_facts(row) | {"deliveries": oversight.delivery_counts(connection, row.id)} for row in rows]
    if as_json:
        print_json(found)
        return
    table(
        ("run", "list", "slot", "state", "looked at", "deliveries"),
        ((f["id"], f["list"], f["slot"], f["state"], f["examined"], _counts(f["deliveries"])) for f in found),
        "No run yet: beat opens one when a reader is due.",
        right=(0, 4),
        most=limit or SHOWN,
    )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {state}" for state, number in sorted(counts.items())) or "none"


@app.command()
def show(run: Number, as_json: Json = False) -> None:
    """One run: how many readers it looked at, who gets a digest, who none and why.

    Example: `newsletter runs show 7`
    """
    house = opened()
    with reading(house.engine) as connection:
        found = _facts(oversight.find_run(connection, run))
        found["deliveries"] = oversight.delivery_counts(connection, run)
        found["without_digest"] = oversight.unserved_counts(connection, run)
    if as_json:
        print_json(found)
        return
    found |= {f"note for {language}": text for language, text in found.pop("notes").items()}
    found["deliveries"] = _counts(found["deliveries"])
    found["without_digest"] = _counts({WHY_NOTHING.get(why, why): n for why, n in found["without_digest"].items()})
    facts(worded(found, WORDS))


@app.command()
def note(
    run: Number,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="Markdown; or give --file.")] = None,
    file: Annotated[Path | None, typer.Option(help="Read the Markdown from here; - is standard input.")] = None,
    language: Annotated[str | None, typer.Option(help="For readers of this language; else the list's first.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the note of this language away.")] = False,
    as_json: Json = False,
) -> None:
    """Put an editor's note above the digests of a run that waits for approval.

    Markdown with paragraphs, *emphasis*, lists and links. Only readers of its language get it: write one for each.

    Example: `newsletter runs note 7 --file note.md --language es`
    """
    if sum((text is not None, file is not None, remove)) != 1:
        raise misused("runs note", "A note is either TEXT, --file or --remove.")
    source = "" if remove else check_note(_read(file) if file else text or "")
    house = opened()
    with house.engine.begin() as connection:
        found = oversight.find_run(connection, run)
        spoken = chosen_list(connection, found.slug).languages
        chosen = language or spoken[0]
        if chosen not in spoken:
            raise InputError(f"{found.slug} has no readers of {chosen!r}.", f"Its languages are {', '.join(spoken)}.")
        notes = oversight.note(connection, run, chosen, source)
    if as_json:
        print_json(notes)
        return
    left = [code for code in spoken if code not in notes]
    say(f"Run {run}: {'no note any more' if remove else 'a note'} for readers of {chosen}.")
    if notes and left:
        say(f"Readers of {', '.join(left)} get none yet.")
    say(f"See it in one of `newsletter deliveries list --run {run}`: `newsletter deliveries show NUMBER --eml`.")


def _read(file: Path) -> str:
    try:
        with readable(file) as source:
            return source.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name_of(file)} is not text in UTF-8.", "Save it as UTF-8.") from None


@app.command()
def approve(run: Number, yes: Yes = False) -> None:
    """Release a run that is held for approval.

    Example: `newsletter runs approve 7`
    """
    house = opened()
    with reading(house.engine) as connection:
        oversight.waiting_run(connection, run)
        waiting = oversight.delivery_counts(connection, run).get("held", 0)
    confirmed(f"Send {counted(waiting, 'digest')} of run {run}?", yes)
    with house.engine.begin() as connection:
        released = oversight.approve(connection, run, now())
    say(f"Run {run} approved: {counted(released, 'digest')} to go out from the next tick on.")


@app.command()
def cancel(run: Number, yes: Yes = False) -> None:
    """Stop a run: what has not gone out stays in, and its items are left for each reader's next digest.

    Example: `newsletter runs cancel 7`
    """
    house = opened()
    with reading(house.engine) as connection:
        oversight.open_run(connection, run)
    confirmed(f"Cancel run {run}?", yes)
    with house.engine.begin() as connection:
        closed = oversight.cancel(connection, run, now())
    say(f"Run {run} cancelled: {counted(closed, 'digest')} will not go out.")
