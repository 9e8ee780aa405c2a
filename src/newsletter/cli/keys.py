"""``newsletter keys``: the secret keys that sign links, by fingerprint; they themselves are never shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from newsletter.audience.suppressions import counts_by_key, counts_by_lost_key, fingerprint
from newsletter.cli.output import confirmed, print_json, say, table
from newsletter.cli.shared import Json, Yes, opened
from newsletter.database import reading
from newsletter.errors import SettingsError
from newsletter.settings import Settings, fresh_key

app = typer.Typer(name="keys", help="The secret keys that sign links in mails.", no_args_is_help=True)


@app.command("list")
def show_all(as_json: Json = False) -> None:
    """The keys, newest first: the first signs, all of them open links. Only their fingerprints are shown.

    A lost key is one that suppressions were made under and that is not there: they are not found.

    Example: `newsletter keys list`
    """
    house = opened()
    with reading(house.engine) as connection:
        counts = counts_by_key(connection)
        lost = counts_by_lost_key(connection, house.settings.keys)
    names = [fingerprint(key) for key in house.settings.keys]
    rows = [
        {"fingerprint": name, "use": use, "signs": use == "signs", "suppressions": counts.get(name, 0)}
        for name, use in zip(
            (*names, *lost), ("signs", *["opens"] * len(names[1:]), *["lost"] * len(lost)), strict=True
        )
    ]
    if as_json:
        print_json({"from": _origin(house.settings), "keys": rows})
        return
    table(
        ("key", "use", "suppressions"),
        ((row["fingerprint"], row["use"], row["suppressions"]) for row in rows),
        "",
        right=(2,),
    )
    say(f"They come from {_origin(house.settings)}.")


@app.command()
def rotate(
    drop_older: Annotated[
        int | None,
        typer.Option(
            "--drop-older", metavar="N", min=1, help="Keep the newest N, the new one included; drop the rest."
        ),
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make a new key that signs from now on; links made with the older ones go on working.

    A running process keeps the keys that it read when it started: start the site anew first, then the workers.
    What a dropped key has signed opens nothing any more, and addresses suppressed under it may be imported again.

    Example: `newsletter keys rotate`
    """
    house = opened()
    settings = house.settings
    if settings.secret_key.get_secret_value():
        raise SettingsError(
            "The keys come from NEWSLETTER_SECRET_KEY, which this command cannot write.",
            "Make a key with `openssl rand -hex 32`, put it before the present value with a space between, "
            "and start the site anew, then the workers.",
        )
    keys = [fresh_key(), *settings.keys]
    kept, dropped = keys[:drop_older], keys[drop_older:] if drop_older else []
    if dropped:
        with reading(house.engine) as connection:
            counts = counts_by_key(connection)
        lost = sum(counts.get(fingerprint(key), 0) for key in dropped)
        confirmed(_warning(dropped, lost), yes)
    settings.write_keys(kept)
    shown = [fingerprint(key) for key in kept]
    gone = [fingerprint(key) for key in dropped]
    if as_json:
        print_json({"made": shown[0], "keys": shown, "dropped": gone})
        return
    others = f"{len(kept)} keys open links" if len(kept) > 1 else "it alone opens links"
    say(f"Key {shown[0]} signs from now on; {others}. The file: {settings.key_file.absolute()}.")
    if gone:
        say(f"Dropped: {', '.join(gone)}.")
    say("Keep a copy of the file, and start the site anew, then the workers: each has read the keys at its start.")


def _warning(dropped: Sequence[str], lost: int) -> str:
    names = ", ".join(fingerprint(key) for key in dropped)
    addresses = "1 suppressed address" if lost == 1 else f"{lost} suppressed addresses"
    signed = "it" if len(dropped) == 1 else "them"
    return (
        f"Drop {names}? Links in mails signed with {signed} open nothing any more, unsubscribe links too, and "
        f"{addresses} may be imported again."
    )


def _origin(settings: Settings) -> str:
    return "NEWSLETTER_SECRET_KEY" if settings.secret_key.get_secret_value() else str(settings.key_file.absolute())
