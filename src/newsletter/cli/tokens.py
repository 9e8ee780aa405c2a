"""``newsletter tokens``."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from newsletter.audience.lists import find_list
from newsletter.cli.output import confirmed, misused, print_json, say, table
from newsletter.cli.shared import Json, Yes, now, opened
from newsletter.database import reading
from newsletter.machines.tokens import SCOPES, all_tokens, create_token, find_token, revoke_token

app = typer.Typer(
    name="tokens", help="What machines show to be let in, each for some things only.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="What it is for: feed-importer.")]


@app.command()
def create(
    name: Name,
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", "-s", metavar="SCOPE", help=f"{', '.join(SCOPES)}. Repeatable.")
    ] = None,
    slug: Annotated[str | None, typer.Option("--list", "-l", metavar="SLUG", help="For this list only.")] = None,
    every: Annotated[bool, typer.Option("--all", help="For every list, also those to come.")] = False,
    as_json: Json = False,
) -> None:
    """Make a token. It is shown this once: we keep only its hash.

    Example: `newsletter tokens create feed-importer --scope items:write --list rutas`
    """
    if (slug is None) is not every:
        raise misused("tokens create", "Give either --list SLUG, or --all for every list.")
    house = opened()
    with house.engine.begin() as connection:
        list_id = find_list(connection, slug).id if slug else None
        token = create_token(connection, name, scopes or [], list_id, now())
    if as_json:
        print_json({"name": name.strip(), "token": token, "scopes": sorted(set(scopes or [])), "list": slug})
        return
    say(f"Token [bold]{escape(name.strip())}[/], shown this once:")
    # By itself on standard output's last line: `… | tail -1` has it.
    typer.echo(token)


@app.command("list")
def show_all(as_json: Json = False) -> None:
    """All tokens: what they may do, and when they were last used (to the minute).

    Example: `newsletter tokens list`
    """
    house = opened()
    with reading(house.engine) as connection:
        rows = all_tokens(connection)
    if as_json:
        print_json([_facts(row) for row in rows])
        return
    table(
        ("token", "scopes", "list", "made", "last used", "revoked"),
        ((row.name, row.scopes, row.slug or "all", row.created_at, row.used_at, row.revoked_at) for row in rows),
        "There is no token: see `newsletter tokens create --help`.",
    )


def _facts(row: Any) -> dict[str, Any]:
    return {
        "name": row.name,
        "scopes": row.scopes,
        "list": row.slug,
        "created_at": row.created_at,
        "used_at": row.used_at,
        "revoked_at": row.revoked_at,
    }


@app.command()
def revoke(name: Name, yes: Yes = False) -> None:
    """End a token at once and for ever; its name stays taken.

    Example: `newsletter tokens revoke feed-importer`
    """
    house = opened()
    with reading(house.engine) as connection:
        found = find_token(connection, name)
    if found.revoked_at is None:
        confirmed(f"Revoke the token {name!r}? This cannot be undone.", yes)
    with house.engine.begin() as connection:
        done = revoke_token(connection, name, now())
    say(f"Token [bold]{escape(name)}[/] {'is revoked' if done else 'was revoked already'}.")
