"""``newsletter doctor``."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from newsletter.cli.output import print_json, say, sign
from newsletter.cli.shared import Json
from newsletter.doctor.checks import checks
from newsletter.doctor.findings import Finding, Level, examine
from newsletter.doctor.resolving import from_file, over_network
from newsletter.errors import InputError, SettingsError
from newsletter.settings import load_settings

SIGNS = {Level.OK: ("green", "✓"), Level.WARNING: ("yellow", "!"), Level.ERROR: ("bold red", "✗")}


def doctor(
    address: Annotated[
        list[str] | None,
        typer.Option(
            "--address",
            metavar="IP",
            help="An address that mails come from, if not the relay's. Repeatable.",
        ),
    ] = None,
    dns: Annotated[
        Path | None,
        typer.Option("--dns", metavar="FILE", help="Take the DNS's answers from this zone file, and ask nobody."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look for what keeps mails from being sent, or from being received well, and say what to set.

    Settings, database, Redis, relays, clocks, DNS (SPF, DKIM, DMARC, MX, PTR), the page to leave by, templates. Nothing
    is sent and nothing is changed. Exit code 1 if there is an error; warnings alone give 0.

    Example: `newsletter doctor --address 192.0.2.25`
    """
    for text in address or ():
        _check_address(text)
    resolver = from_file(dns) if dns else over_network()
    try:
        found = examine(checks(load_settings(), resolver, address or ()))
    except SettingsError as error:
        found = [Finding("settings", Level.ERROR, "", error.message, "No command works.", error.hint)]
    count = Counter(one.level for one in found)
    if as_json:
        print_json({"findings": [asdict(one) for one in found], "count": {level: count[level] for level in Level}})
    else:
        _tell_all(found)
        say(f"\n{count[Level.OK]} fine, {count[Level.WARNING]} to look at, {count[Level.ERROR]} to mend.")
    if count[Level.ERROR]:
        raise typer.Exit(1)


def _tell_all(found: list[Finding]) -> None:
    """Each by itself; what could not be looked at for a reason that was told is only named."""
    told: set[str] = set()
    unseen = []
    for one in found:
        if one.level != Level.OK and not one.about and one.found in told:
            unseen.append(one.check)
            continue
        told.add(one.found)
        _tell(one)
    if unseen:
        say(f"[yellow]{sign('!', Level.WARNING)}[/] Not looked at for the same reason: {', '.join(unseen)}.")


def _tell(one: Finding) -> None:
    about = f" {one.about}" if one.about else ""
    colour, mark = SIGNS[one.level]
    say(f"[{colour}]{sign(mark, one.level)}[/] [bold]{escape(one.check + about)}[/]: {escape(one.found)}")
    if one.meaning:
        say(escape(one.meaning), indent=4)
    if one.mend:
        for line in one.mend.splitlines():
            say(f"[cyan]{escape(line)}[/]", indent=4, to_copy=True)


def _check_address(text: str) -> None:
    try:
        ip_address(text)
    except ValueError:
        raise InputError(f"--address {text!r} is no IP address.", "Example: --address 192.0.2.25") from None
