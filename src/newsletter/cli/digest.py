"""``newsletter digest preview`` and ``newsletter explain``."""

from __future__ import annotations

import tempfile
import webbrowser
from email import message_from_bytes, policy
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from newsletter.audience.subscribers import find_subscription
from newsletter.catalogue.items import identify_item
from newsletter.cli.output import errors, print_json, say, sign
from newsletter.cli.shared import Json, ListSlug, chosen_list, now, opened
from newsletter.database import reading
from newsletter.delivery.composing.previewing import preview as preview_digest
from newsletter.digests import explain as explaining
from newsletter.errors import InputError, StateError

app = typer.Typer(name="digest", help="A reader's digest, before it is sent.", no_args_is_help=True)

KINDS = {".html": "html", ".htm": "html", ".txt": "txt", ".eml": "eml"}
WHY_NOT = {
    "pending": "the subscription is not confirmed yet",
    "paused": "the subscription is paused",
    "unsubscribed": "the reader has unsubscribed",
}
MARKS = {True: ("green", "✓", "yes"), False: ("red", "✗", "no "), None: ("dim", "·", "-  ")}
"""Of a rule that holds, does not, or only informs: colour, mark, and the word for it."""


@app.command()
def preview(
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    slug: ListSlug = None,
    show: Annotated[bool, typer.Option("--open", help="In the browser.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Into a file: .html, .txt, or .eml for the whole message."),
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="The text part, here. The default.")] = False,
    as_json: Json = False,
) -> None:
    """Exactly what would go out to this reader now; nothing is sent and nothing changes.

    For a reader who gets nothing at present, that is said first, and then what it would be.

    Example: `newsletter digest preview ana@example.org --open`
    """
    if output and output.suffix.lower() not in KINDS:
        raise InputError(f"A preview cannot be written as {str(output)!r}.", "Let it end in .html, .txt or .eml.")
    house = opened()
    with reading(house.engine) as connection:
        list_row = chosen_list(connection, slug)
        reader = find_subscription(connection, email, list_row.id)
    why_not = "the list is archived" if list_row.archived_at else WHY_NOT.get(reader.state)
    if why_not and not as_json:
        say(f"Nothing would go out now: {why_not}. This is what it would be:", errors)
    message = preview_digest(house.engine, house.settings, reader, now())
    if message is None:
        if as_json:
            print_json({"email": reader.email, "state": reader.state, "digest": None})
            return
        say(f"Nothing new fits what {escape(email)} follows; no digest would go out.")
        return
    parsed = message_from_bytes(message.content, policy=policy.default)
    parts = {kind: parsed.get_body((kind,)) for kind in ("html", "plain")}
    html, plain = (part.get_content() if part else "" for part in parts.values())
    if as_json:
        digest = {"subject": parsed["subject"], "text": plain, "html": html}
        print_json({"email": reader.email, "state": reader.state, "digest": digest})
        return
    if show:
        with tempfile.NamedTemporaryFile("w", suffix=".html", delete=False, encoding="utf-8") as file:
            file.write(html)
        opens = webbrowser.open(Path(file.name).as_uri())
        if opens:
            say(f"Opened {escape(file.name)}")
    if output:
        kind = KINDS[output.suffix.lower()]
        output.write_bytes(message.content if kind == "eml" else (plain if kind == "txt" else html).encode("utf-8"))
        say(f"Written to {escape(str(output))}")
    if text or not (show or output):
        typer.echo(f"Subject: {parsed['subject']}\n\n{plain}")
    if show and not opens:
        raise StateError("No browser could be opened.", f"The digest is in {file.name}.")


def explain(
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    item: Annotated[str, typer.Argument(metavar="ITEM", help="Its number, own id or URL.")],
    slug: ListSlug = None,
    as_json: Json = False,
) -> None:
    """Why this reader gets, got or does not get this item, in one sentence a rule.

    Example: `newsletter explain ana@example.org 12`
    """
    house = opened()
    with reading(house.engine) as connection:
        list_row = chosen_list(connection, slug)
        reader = find_subscription(connection, email, list_row.id)
        row = identify_item(connection, item, list_row.id)
        rules = explaining.explain(connection, reader, row)
    if as_json:
        print_json(
            {
                "email": reader.email,
                "item": row.id,
                "rules": [{"rule": r.name, "holds": r.holds, "why": r.sentence} for r in rules],
            }
        )
        return
    say(f"[bold]{escape(row.title)}[/]")
    for rule in rules:
        colour, mark, word = MARKS[rule.holds]
        say(f"[{colour}]{sign(mark, word)}[/] {rule.name:<9} {escape(rule.sentence)}")
