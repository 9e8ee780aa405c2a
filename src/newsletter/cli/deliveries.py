"""``newsletter deliveries``: the ledger."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from newsletter.audience.addresses import parse_address
from newsletter.cli.output import complain, facts, misused, print_json, print_json_rows, say, table, worded
from newsletter.cli.shared import SHOWN, Json, Limit, OfList, OfRun, chosen_list, now, opened, row_number, to_ask_for
from newsletter.database import reading
from newsletter.delivery import ledger
from newsletter.delivery.composing.letters import Letters
from newsletter.digests.oversight import find_run
from newsletter.errors import InputError, StateError, UnknownName
from newsletter.tables import CLOSED, OPEN

app = typer.Typer(name="deliveries", help="Who got what, and what the relay said.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(metavar="ID", parser=row_number)]
STATES = (*OPEN, *CLOSED)
WORDS = {
    "id": "delivery",
    "run_id": "run",
    "email": "reader",
    "lower": "after position",
    "upper": "up to position",
    "profile_id": "profile",
    "item_ids": "items",
    "attempts": "tries",
    "doubtful": "may come twice",
    "due_at": "due",
    "dated_at": "dated",
    "closed_at": "closed",
    "body_hash": "hash of what was sent",
}
"""What values of a delivery are called, if not as in JSON."""


def _facts(row: Any) -> dict[str, Any]:
    names: tuple[str, ...] = (
        "id",
        "run_id",
        "email",
        "state",
        "language",
        "slot",
        "lower",
        "upper",
        "profile_id",
        "item_ids",
    )
    names += (
        "attempts",
        "code",
        "answer",
        "doubtful",
        "due_at",
        "deadline",
        "dated_at",
        "closed_at",
        "body_hash",
    )
    return {name: getattr(row, name) for name in names}


@app.command("list")
def show_all(
    slug: OfList = None,
    run: OfRun = None,
    state: Annotated[str | None, typer.Option("--state", help=", ".join(STATES))] = None,
    email: Annotated[str | None, typer.Option("--email", help="Of one reader.")] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """The latest deliveries.

    Example: `newsletter deliveries list --state failed`
    """
    if state and state not in STATES:
        raise InputError(f"{state!r} is no state.", f"Use one of {', '.join(STATES)}.")
    house = opened()
    with reading(house.engine) as connection:
        rows = ledger.select_deliveries(
            connection,
            list_id=chosen_list(connection, slug).id if slug else None,
            run_id=run,
            state=state,
            email_key=parse_address(email).key if email else None,
            limit=to_ask_for(limit, as_json=as_json),
        )
        if as_json:
            print_json_rows(map(_facts, rows))
            return
        found = list(rows)
    table(
        ("id", "run", "reader", "items", "state", "tries", "answer"),
        (
            (
                r.id,
                r.run_id,
                r.email,
                len(r.item_ids),
                _state(r),
                r.attempts,
                f"{r.code or ''} {r.answer or ''}".strip(),
            )
            for r in found
        ),
        "No deliveries fit.",
        right=(0, 1, 3, 5),
        most=limit or SHOWN,
    )


def _found(connection: Connection, delivery: int) -> Any:
    row = ledger.find_delivery(connection, delivery)
    if row is None:
        raise UnknownName(f"There is no delivery {delivery}. `newsletter deliveries list` shows those there are.")
    return row


def _state(row: Any) -> str:
    return f"{row.state} (may come twice)" if row.doubtful else str(row.state)


@app.command()
def show(
    delivery: Number,
    eml: Annotated[bool, typer.Option("--eml", help="The message itself, byte for byte.")] = False,
    as_json: Json = False,
) -> None:
    """One delivery; `--eml` renders what was sent, or would be.

    The bytes are those that went out as long as templates, item texts, the reader's own data and the secret key have
    not changed since; if they have, a warning says so (exit code 1).

    Example: `newsletter deliveries show 7 --eml > digest.eml`
    """
    house = opened()
    with reading(house.engine) as connection:
        row = _found(connection, delivery)
    if not eml:
        if as_json:
            print_json(_facts(row))
        else:
            facts(worded(_facts(row), WORDS))
        return
    message = Letters(house.engine, house.settings).compose(ledger.as_claimed(row, now()))
    if message is None:
        raise StateError("Every item of this digest was withdrawn before it was sent.")
    sys.stdout.buffer.write(message.content)
    sys.stdout.buffer.flush()
    if row.body_hash and ledger.content_hash(message.content) != row.body_hash:
        complain(
            "This is not byte for byte what was sent.",
            "A template, an item, the reader's data or the secret key changed since.",
        )
        raise typer.Exit(1)


@app.command()
def retry(
    delivery: Annotated[int | None, typer.Argument(metavar="ID", parser=row_number)] = None,
    run: OfRun = None,
) -> None:
    """Try deferred deliveries now, and failed or expired ones again.

    A failed one is left alone if its reader has had, or is about to get, those items another way.

    Example: `newsletter deliveries retry --run 7`
    """
    if (delivery is None) == (run is None):
        raise misused("deliveries retry", "Name one delivery, or a run with --run.")
    house = opened()
    with house.engine.begin() as connection:
        number: Any = run if delivery is None else _found(connection, delivery).run_id
        its_run = find_run(connection, number)
        tried = ledger.retry(connection, now(), delivery_id=delivery, run_id=run)
    if tried == 0 and its_run.state == "cancelled":
        raise StateError(f"Run {number} was cancelled: its items are left for each reader's next digest.")
    if tried == 0:
        raise StateError(
            "Nothing to try again: it was sent, or waits anyway, or goes with another digest, or its reader has left.",
            f"See `newsletter deliveries list --run {number}`.",
        )
    say(f"{tried} will be tried at the next tick.")
