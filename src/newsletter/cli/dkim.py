"""``newsletter dkim``: the keys that mails are signed with, by sending domain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from newsletter.audience.lists import all_lists
from newsletter.cli.output import print_json, say
from newsletter.cli.shared import House, Json, now, opened
from newsletter.database import reading
from newsletter.delivery.composing import keyring
from newsletter.delivery.composing.keyring import KeySet
from newsletter.doctor.records import same_key, zone_line
from newsletter.doctor.resolving import from_file, over_network
from newsletter.errors import InputError, StateError, UnknownName
from newsletter.resembling import nearest

app = typer.Typer(
    name="dkim",
    help="The keys that mails are signed with (DKIM): RSA and Ed25519, for each domain that lists send from.",
    no_args_is_help=True,
)

Domain = Annotated[
    str | None,
    typer.Argument(metavar="DOMAIN", help="The domain of a list's sender. Not needed if there is only one."),
]
DnsFile = Annotated[
    Path | None, typer.Option("--dns", metavar="FILE", help="Take the DNS's answers from this zone file.")
]


@app.command()
def create(domain: Domain = None, as_json: Json = False) -> None:
    """Make the first keys of a domain, and print the DNS records to publish. They sign only once activated.

    Example: `newsletter dkim create rutas.example`
    """
    house = opened()
    domain = _chosen(house, domain)
    if keyring.one(house.settings.home, domain, "signing"):
        raise StateError(f"{domain} has keys that sign.", f"`newsletter dkim rotate {domain}` makes the next ones.")
    _made(house, domain, as_json)


@app.command()
def rotate(domain: Domain = None, as_json: Json = False) -> None:
    """Make the next keys of a domain, and print their DNS records. The present ones sign until these are activated.

    Private keys that were retired by an earlier rotation are deleted.

    Example: `newsletter dkim rotate rutas.example`
    """
    house = opened()
    domain = _chosen(house, domain)
    if not keyring.one(house.settings.home, domain, "signing"):
        raise StateError(f"{domain} has no keys that sign.", f"`newsletter dkim create {domain}` makes the first ones.")
    _made(house, domain, as_json)


def _made(house: House, domain: str, as_json: bool) -> None:
    made = keyring.make(house.settings.home, domain, now().date())
    if as_json:
        print_json(_facts(made))
        return
    say(f"Made the keys {made.name} of [bold]{escape(domain)}[/]. They do not sign yet. Publish their records:\n")
    _print_records(made)
    say(f"\nWhen they are published: `newsletter dkim activate {escape(domain)}`")
    _tell_override(house)


@app.command()
def activate(
    domain: Domain = None,
    force: Annotated[bool, typer.Option("--force", help="Do not look whether the records are published.")] = False,
    dns: DnsFile = None,
    as_json: Json = False,
) -> None:
    """Sign with the keys that wait, if the DNS shows their records. Running workers see it within seconds.

    Example: `newsletter dkim activate rutas.example`
    """
    house = opened()
    domain = _chosen(house, domain)
    home = house.settings.home
    waiting, before = keyring.one(home, domain, "waiting"), keyring.one(home, domain, "signing")
    if waiting is None:
        maker = "rotate" if before else "create"
        raise StateError(f"No keys of {domain} wait.", f"`newsletter dkim {maker} {domain}` makes some.")
    if not force:
        resolver = from_file(dns) if dns else over_network()
        for name, wanted in waiting.records().items():
            found = resolver.texts(name)
            if len(found) != 1 or not same_key(found[0], wanted):
                what = "another record" if found else "no record"
                raise StateError(
                    f"The DNS has {what} at {name}: mails signed with the new keys would fail. Nothing was changed.",
                    f"`newsletter dkim show {domain}` prints what to publish; resolvers may keep an old answer for a "
                    "while. --force does not look.",
                )
    keyring.activate(home, waiting)
    signing = keyring.one(home, domain, "signing")
    assert signing
    until = keyring.remove_after(signing)
    if as_json:
        retired = before and {"name": before.name, "records": list(before.records()), "keep_until": until.isoformat()}
        print_json({**_facts(signing), "retired": retired})
        return
    say(f"Mails from [bold]{escape(domain)}[/] are signed with the keys {signing.name} from now on.")
    if before:
        say(f"Leave the records of {before.name} in the DNS until {until}: mails that they signed are on their way.")
    _tell_override(house)


@app.command()
def show(domain: Domain = None, as_json: Json = False) -> None:
    """All keys of a domain, and the DNS record of each: as a zone file, with the plain values that forms want.

    Example: `newsletter dkim show rutas.example`
    """
    house = opened()
    domain = _chosen(house, domain)
    found = keyring.sets(house.settings.home, domain)
    signing = next((keys for keys in found if keys.state == "signing"), None)
    if as_json:
        print_json({"domain": domain, "sets": [_facts(keys) for keys in found]})
        return
    if not found:
        say(f"; {escape(domain)} has no keys. `newsletter dkim create {escape(domain)}` makes some.")
    meanings = {
        "signing": "sign mails",
        "waiting": f"wait: publish their records, then `newsletter dkim activate {domain}`",
        "retired": f"signed before: their records may go on {keyring.remove_after(signing)}" if signing else "",
    }
    for keys in found:
        say(f"; [bold]Keys {keys.name}[/] of {escape(domain)} {escape(meanings[keys.state])}.\n")
        _print_records(keys)
        say("")
    _tell_override(house, "; ")


def _print_records(keys: KeySet) -> None:
    for name, value in keys.records().items():
        say(escape(zone_line(name, value)))
    say("\n; Where a form asks for name and value:")
    for name, value in keys.records().items():
        say(f"\n; {escape(name)}\n; {escape(value)}")


def _facts(keys: KeySet) -> dict[str, Any]:
    return {
        "domain": keys.domain,
        "name": keys.name,
        "state": keys.state,
        "since": keys.since,
        "records": [
            {"name": name, "type": "TXT", "value": value, "zone": zone_line(name, value)}
            for name, value in keys.records().items()
        ],
    }


def _tell_override(house: House, before: str = "") -> None:
    if house.settings.dkim_key_file:
        say(f"{before}Not used as long as NEWSLETTER_DKIM_KEY_FILE is set: every mail is signed with that key.")


def _chosen(house: House, domain: str | None) -> str:
    """The domain that is meant: that of a list's sender, since no other signs."""
    with reading(house.engine) as connection:
        domains = sorted({row.sender_email.rpartition("@")[2] for row in all_lists(connection)})
    if not domains:
        raise InputError("No list sends mails yet.", "See `newsletter lists create --help`.")
    if domain is None:
        if len(domains) > 1:
            raise InputError("Which domain?", f"There are {', '.join(domains)}.")
        return str(domains[0])
    if domain.lower() not in domains:
        raise UnknownName(
            f"No list sends from {domain!r}; lists send from {', '.join(domains)}.",
            nearest(domain, {known: known for known in domains}),
        )
    return domain.lower()
