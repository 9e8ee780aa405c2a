"""``newsletter runs``."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from newsletter.cli.output import confirmed, facts, print_json, say, table
from newsletter.cli.shared import BIGGEST, Json, Limit, ListSlug, Yes, chosen_list, now, opened
from newsletter.database import reading
from newsletter.digests import oversight
from newsletter.digests.runs import start_run

app = typer.Typer(name="runs", help="Assemblies of a list for one slot of time.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(metavar="RUN", min=1, max=BIGGEST)]


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
        if as_json:
            print_json(_facts(oversight.find_run(connection, run_id)))
            return
    say(f"Run [bold]{run_id}[/] opened; the next tick assembles it. See `newsletter runs show {run_id}`.")


def _facts(row: Any) -> dict[str, Any]:
    names: tuple[str, ...] = ("id", "slot", "upper", "state", "needs_approval", "started_by", "examined")
    names += ("opened_at", "assembled_at", "approved_at", "finished_at")
    return {"list": row.slug} | {name: getattr(row, name) for name in names}


@app.command("list")
def show_all(slug: ListSlug = None, limit: Limit = 20, as_json: Json = False) -> None:
    """The latest runs.

    Example: `newsletter runs list --list rutas`
    """
    house = opened()
    with reading(house.engine) as connection:
        rows = oversight.recent_runs(connection, chosen_list(connection, slug).id if slug else None, limit)
        found = [_facts(row) | {"deliveries": oversight.delivery_counts(connection, row.id)} for row in rows]
    if as_json:
        print_json(found)
        return
    table(
        ("run", "list", "slot", "state", "looked at", "deliveries"),
        ((f["id"], f["list"], f["slot"], f["state"], f["examined"], _counts(f["deliveries"])) for f in found),
        "No run yet: beat opens one when a reader is due.",
        right=(0, 4),
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
    facts(
        (name.replace("_", " "), _counts(value) if isinstance(value, dict) else value) for name, value in found.items()
    )


@app.command()
def approve(run: Number, yes: Yes = False) -> None:
    """Release a run that is held for approval.

    Example: `newsletter runs approve 7`
    """
    house = opened()
    with reading(house.engine) as connection:
        waiting = oversight.delivery_counts(connection, run).get("held", 0)
    confirmed(f"Send the {waiting} digests of run {run}?", yes)
    with house.engine.begin() as connection:
        released = oversight.approve(connection, run, now())
    say(f"Run {run} approved: {released} digests go out from the next tick on.")


@app.command()
def cancel(run: Number, yes: Yes = False) -> None:
    """Stop a run: what has not gone out stays in, and its items are left for the next run.

    Example: `newsletter runs cancel 7`
    """
    house = opened()
    confirmed(f"Cancel run {run}?", yes)
    with house.engine.begin() as connection:
        closed = oversight.cancel(connection, run, now())
    say(f"Run {escape(str(run))} cancelled: {closed} digests will not go out.")
