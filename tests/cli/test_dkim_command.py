"""``newsletter dkim``: keys are made, published, used and rotated, and no mail is signed with a key nobody can find."""

from __future__ import annotations

import stat
from pathlib import Path

import dns.zonefile
import pytest
from commanding import CommandLine

LIST = (
    "lists", "create", "rutas", "--name", "Rutas", "--sender-email", "digest@rutas.example",
    "--postal-address", "24 Calle", "--language", "es", "--timezone", "UTC",
)  # fmt: skip


@pytest.fixture
def cli(newsletter: CommandLine) -> CommandLine:
    """With a list that sends from rutas.example."""
    newsletter(*LIST)
    return newsletter


def zone_of(cli: CommandLine, **changes: str) -> Path:
    """A zone file with all records that `dkim show` prints."""
    lines = [record["zone"] for found in cli("dkim", "show", "--json").json["sets"] for record in found["records"]]
    file = Path("zone")
    text = "\n".join(lines)
    for old, new in changes.items():
        text = text.replace(old, new)
    file.write_text(text, "ascii")
    return file


def states(cli: CommandLine) -> list[str]:
    return [found["state"] for found in cli("dkim", "show", "--json").json["sets"]]


def test_create(cli: CommandLine) -> None:
    """RSA-2048 and Ed25519, readable by their owner only, with records of strings that DNS can hold; none signs yet."""
    made = cli("dkim", "create", "--json").json
    assert made["state"] == "waiting"
    rsa, ed25519 = made["records"]
    assert rsa["name"] == f"{made['name']}-rsa._domainkey.rutas.example"
    assert len(rsa["value"]) > 400
    assert ed25519["value"].startswith("v=DKIM1; k=ed25519; p=")
    for record in made["records"]:
        (parsed,) = dns.zonefile.read_rrsets(record["zone"], default_ttl=1, rdclass=None)
        assert max(map(len, parsed[0].strings)) <= 255
        assert b"".join(parsed[0].strings).decode() == record["value"]
    folder = cli.home / "dkim/rutas.example"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert "PRIVATE" not in cli("dkim", "show").out
    assert "wait for their records" in cli("dkim", "create", code=1).err


def test_activate_looks_at_the_dns(cli: CommandLine) -> None:
    """Keys sign once the DNS shows both records, and not before, unless forced."""
    cli("dkim", "create")
    Path("empty").write_text("")
    assert "no record at" in cli("dkim", "activate", "--dns", "empty", code=1).err
    other = zone_of(cli, **{"p=M": "p=A"})
    assert "another record at" in cli("dkim", "activate", "--dns", str(other), code=1).err
    assert states(cli) == ["waiting"]
    assert cli("dkim", "activate", "--dns", str(zone_of(cli)), "--json").json["state"] == "signing"
    assert "No keys of rutas.example wait" in cli("dkim", "activate", code=1).err
    assert "has keys that sign" in cli("dkim", "create", code=1).err


def test_show_prints_a_zone_file(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `dkim show` prints is a zone file, as `--dns` reads it."""
    assert cli("dkim", "show").out.startswith("; ")
    cli("dkim", "create")
    monkeypatch.setenv("NEWSLETTER_DKIM_KEY_FILE", str(next(cli.home.glob("dkim/*/*.pem"))))
    Path("zone").write_text(cli("dkim", "show").out)
    assert len(dns.zonefile.read_rrsets(Path("zone").read_text(), default_ttl=1, rdclass=None)) == 2
    assert cli("dkim", "activate", "--dns", "zone", "--json").json["state"] == "signing"


def test_rotate(cli: CommandLine) -> None:
    """The old keys sign until the new are activated; then their records stay a while, and their files till the next."""
    assert "no keys that sign" in cli("dkim", "rotate", code=1).err
    first = cli("dkim", "create", "--json").json["name"]
    cli("dkim", "activate", "--force")
    second = cli("dkim", "rotate", "--json").json["name"]
    assert second > first
    assert states(cli) == ["signing", "waiting"]
    done = cli("dkim", "activate", "--dns", str(zone_of(cli)), "--json").json
    assert (done["name"], done["retired"]["name"]) == (second, first)
    assert done["retired"]["keep_until"] > done["since"][:10]
    assert states(cli) == ["retired", "signing"]
    assert f"Keys {first} of rutas.example signed before: their records may go on" in cli("dkim", "show").out
    cli("dkim", "rotate")
    assert states(cli) == ["signing", "waiting"]
    assert not list(cli.home.glob(f"dkim/*/{first}-*"))


def test_which_domain(cli: CommandLine) -> None:
    """Only domains that a list sends from have keys, and one has to be named if there are several."""
    assert "Did you mean rutas.example?" in cli("dkim", "create", "rutas.exmple", code=1).err
    assert "No list sends" in cli("dkim", "create", "../../etc", code=1).err
    cli(*("prensa" if word == "rutas" else word.replace("rutas.", "prensa.") for word in LIST))
    assert "prensa.example, rutas.example" in cli("dkim", "create", code=1).err
    assert cli("dkim", "create", "Prensa.example", "--json").json["domain"] == "prensa.example"
    assert cli("dkim", "show", "rutas.example", "--json").json["sets"] == []


def test_without_a_list(newsletter: CommandLine) -> None:
    """Without a list there is no domain to sign for."""
    assert "No list sends mails yet" in newsletter("dkim", "create", code=1).err
