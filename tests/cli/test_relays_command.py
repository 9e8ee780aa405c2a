"""``newsletter relays``: what admins see of relays, and trying one without sending."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from aiosmtpd.smtp import AuthResult, LoginPassword
from commanding import CommandLine
from misbehaving import misbehaving, refusing
from servers import Relay as Server
from servers import serving
from valkeys import running_valkey

from newsletter.cli import demo, output
from newsletter.cli.supervising import free_port
from newsletter.database import engine_for
from newsletter.delivery import resting
from newsletter.delivery.pace import Pace
from newsletter.delivery.relays import Relay, relays_of
from newsletter.delivery.smtp.probing import probe
from newsletter.delivery.smtp.tokens import forget_token
from newsletter.settings import load_settings

SECRET = "geheim-wört"
CREATE = ("lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@example.org", "--postal-address", "1 St")
TABLES = f"""
[relays.main]
host = "mail.example.org"
user = "news"
password = "{SECRET}"
rate = ["10/s", "20000/day"]
weight = 3
lists = ["rutas", "prensa"]

[relays.spare]
host = "10.0.0.7"
security = "none"
"""


@pytest.fixture
def cli(newsletter: CommandLine) -> CommandLine:
    """With two relays."""
    Path("newsletter.toml").write_text(TABLES, "utf-8")
    return newsletter


def rows(cli: CommandLine) -> dict[str, dict]:
    return {row["name"]: row for row in cli("relays", "list", "--json").json["relays"]}


def test_list(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings, state and last error of each relay; no password."""
    monkeypatch.setattr(output.console, "width", 160)
    settings = load_settings()
    main, _ = relays_of(settings)
    with engine_for(settings.database).begin() as connection:
        until = resting.rest(connection, main, f"535 [bold]no[/] {SECRET}", datetime.now(UTC))
    found = rows(cli)
    assert found["spare"]["state"] == "ready"
    assert found["main"]["state"] == "resting"
    assert found["main"]["last_error"] == "535 [bold]no[/] [secret]"
    assert (found["main"]["lists"], found["main"]["rate"]) == (["prensa", "rutas"], ["10/s", "20000/day"])
    shown = cli("relays", "list").out
    for part in ("mail.example.org:587", "starttls", "prensa, rutas", "10/s, 20000/day", "[bold]no[/]"):
        assert part in shown
    assert f"{until:%H:%M:%S}" in shown
    assert "not known here" in shown
    assert SECRET not in f"{found} {shown}"


def test_domains_held_back(cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Domains that asked for less are shown with today's rate, as long as Redis answers."""
    with running_valkey(tmp_path / "valkey") as valkey:
        monkeypatch.setenv("NEWSLETTER_REDIS_URL", valkey.url)
        assert cli("relays", "list", "--json").json["domains"] == {}
        assert "Held back" not in cli("relays", "list").out
        Pace(valkey.url).slow_down("gmail.example", 4.0)
        assert cli("relays", "list", "--json").json["domains"] == {"gmail.example": 2.0}
        assert "120.0" in cli("relays", "list").out
    assert cli("relays", "list", "--json").json["domains"] is None


def test_pause_and_resume(cli: CommandLine) -> None:
    """A paused relay is out of use until it is resumed; an unknown name is refused with the nearest."""
    assert "is paused" in cli("relays", "pause", "main").out
    assert "was paused before" in cli("relays", "pause", "main").out
    assert rows(cli)["main"]["state"] == "paused"
    settings = load_settings()
    with engine_for(settings.database).begin() as connection:
        later = datetime.now(UTC) + timedelta(days=30)
        relays = relays_of(settings)
        assert [r.name for r in resting.usable(resting.states(connection, relays), relays, later)] == ["spare"]
    assert "is used again" in cli("relays", "resume", "main").out
    assert "was in use" in cli("relays", "resume", "main").out
    refused = cli("relays", "pause", "spar", code=1)
    assert "Did you mean spare?" in refused.err


def test_bad_configuration(newsletter: CommandLine) -> None:
    """A relay that cannot be used is refused by any of the commands, with a sentence."""
    Path("newsletter.toml").write_text('[relays.main]\nhost = "h"\nweight = 0\n')
    for words in (("list",), ("test",), ("pause", "main")):
        refused = newsletter("relays", *words, code=1)
        assert refused.err.startswith("Error: [relays.main] in newsletter.toml is not usable: weight")


# --- test


class Login:
    """An authenticator that takes one secret, by PLAIN or LOGIN."""

    def __call__(self, server, session, envelope, mechanism, data) -> AuthResult:
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"news", SECRET.encode())
        return AuthResult(success=good, handled=False)


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return made


def tls_of(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def table(port: int, security: str, **options: str) -> None:
    lines = ["[relays.main]", 'host = "127.0.0.1"', f"port = {port}", f'security = "{security}"']
    lines += [f"{name} = {value}" for name, value in options.items()]
    Path("newsletter.toml").write_text("\n".join(lines), "utf-8")


LOGGED_IN = {"user": '"news"', "password": f'"{SECRET}"', "ca_file": '"ca.pem"'}


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("excluded", ["", "PLAIN"])
def test_a_relay_that_works(newsletter: CommandLine, authority, security: str, excluded: str) -> None:
    """Connection, verified encryption and login by PLAIN or LOGIN are really made; nothing is sent."""
    tls = tls_of(authority)
    secured = {"tls_context": tls, "require_starttls": True} if security == "starttls" else {"auth_require_tls": False}
    options = {"authenticator": Login(), "auth_required": True, "auth_exclude_mechanism": [excluded], **secured}
    with serving(Server(), tls=tls if security == "tls" else None, **options) as server:
        table(server.port, security, **LOGGED_IN)
        (found,) = newsletter("relays", "test", "--json").json
        shown = newsletter("relays", "test", "main").out
    assert found["usable"]
    assert found["login"] == ("LOGIN" if excluded else "PLAIN")
    assert found["tls"].startswith("TLSv1.")
    assert found["greeting"].startswith("relay.test")
    assert "SMTPUTF8" in found["capabilities"]
    assert {"connect", "login"} <= found["seconds"].keys()
    assert all(seconds >= 0 for seconds in found["seconds"].values())
    assert "SMTPUTF8" in shown
    assert "as news" in shown
    assert server.messages == []


def test_tokens(newsletter: CommandLine, authority, tmp_path: Path) -> None:
    """XOAUTH2 sends the token that the command printed; a refusal comes after the relay's challenge."""
    seen: list[str] = []

    class OAuth(Server):
        async def auth_XOAUTH2(self, server, args) -> AuthResult:
            seen.append(base64.b64decode(args[1]).decode())
            if "good" in seen[-1]:
                return AuthResult(success=True, auth_data="x")
            await server.challenge_auth('{"status":"400"}')
            return AuthResult(success=False, handled=False)

    (tmp_path / "token").write_text("good-token")
    command = f'["{sys.executable}", "-c", "print(open({str(tmp_path / "token")!r}).read())"]'
    with serving(OAuth(), tls=tls_of(authority), auth_require_tls=False) as server:
        table(server.port, "tls", user='"news"', token_command=command, ca_file='"ca.pem"')
        assert newsletter("relays", "test", "--json").json[0]["login"] == "XOAUTH2"
        (tmp_path / "token").write_text("stale-token")
        forget_token(relays_of(load_settings())[0])
        refused = newsletter("relays", "test", code=1)
        assert "refused the login: 535" in refused.err
        assert "stale-token" not in refused.err + refused.out
        # After the refusal the next try asks the command again.
        (tmp_path / "token").write_text("good-token")
        assert newsletter("relays", "test", "--json").json[0]["usable"]
    assert seen[0] == "user=news\1auth=Bearer good-token\1\1"


@pytest.mark.parametrize(
    ("verb", "reply", "mend"),
    [
        (b"MAIL", "452 4.3.1 Insufficient system storage", "Ask whoever runs it"),
        (b"RCPT", "554 5.7.1 <postmaster@example.com>: Relay access denied", "Ask whoever runs it"),
        (b"RCPT", "553 5.7.1 <bounces@example.org>: Sender address rejected: not owned by user", "allowed there"),
        (b"MAIL", "530 5.7.0 Authentication required", "Set its user and password"),
    ],
)
def test_a_relay_that_takes_nothing(newsletter: CommandLine, verb: bytes, reply: str, mend: str) -> None:
    """A relay that would take no mail from a list is found without sending: its answer is told, and what to do."""
    server = refusing(verb, f"{reply}\r\n".encode())
    newsletter(*CREATE)
    with misbehaving(server):
        table(server.port, "none")
        refused = newsletter("relays", "test", code=1)
    assert f"takes no mail from bounces@example.org: {reply}." in refused.err.replace("\n", " ")
    assert mend in refused.err
    assert not server.accepted


def test_what_a_relay_says_of_a_recipient(newsletter: CommandLine) -> None:
    """An address that is nobody's may be refused; a relay that carries no list is offered no sender."""
    server = refusing(b"RCPT", b"550 5.1.1 no such user\r\n")
    with misbehaving(server):
        table(server.port, "none")
        newsletter(*CREATE)
        assert newsletter("relays", "test", "--json").json[0]["senders"] == ["bounces@example.org"]
        assert "bounces@example.org" in newsletter("relays", "test").out
        table(server.port, "none", lists='["another"]')
        assert newsletter("relays", "test", "--json").json[0]["senders"] == []
    assert server.misbehaved == 2


@pytest.mark.parametrize(
    ("fault", "sentence", "mend"),
    [
        ("nobody", "cannot be reached", "Check its host, port"),
        ("authority", "not trusted", "NEWSLETTER_SMTP_CA_FILE"),
        ("password", "refused the login: 535", "Check its user and password"),
        ("no login", "offers no login by PLAIN or LOGIN, but none at all", "Choose what it offers"),
        ("no starttls", "STARTTLS", "Choose what it offers"),
    ],
)
def test_a_relay_that_does_not(newsletter: CommandLine, authority, fault: str, sentence: str, mend: str) -> None:
    """What is wrong is a sentence on standard error, and what to do another, with exit code 1 and no password."""
    tls, options = tls_of(authority), dict(LOGGED_IN)
    server_options = {"authenticator": Login(), "auth_required": True, "auth_require_tls": False}
    if fault == "authority":
        del options["ca_file"]
    elif fault == "password":
        options["password"] = '"guessed-wrong"'
    elif fault == "no login":
        server_options = {"auth_exclude_mechanism": ["PLAIN", "LOGIN"]}
    with serving(Server(), tls=None if fault == "no starttls" else tls, **server_options) as server:
        port = free_port("127.0.0.1") if fault == "nobody" else server.port
        table(port, "starttls" if fault == "no starttls" else "tls", **options)
        refused = newsletter("relays", "test", code=1)
    assert refused.err.startswith(f"Error: Relay main: smtp{'+starttls' if fault == 'no starttls' else 's'}://")
    assert sentence in refused.err.splitlines()[0]
    assert mend in refused.err.splitlines()[1]
    assert "Traceback" not in refused.err
    assert SECRET not in refused.err
    assert "guessed-wrong" not in refused.err


def test_certificates_that_are_none(newsletter: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file of certificates that cannot be used the file is to blame, not the relay."""
    monkeypatch.setenv("NEWSLETTER_SMTP_URL", "smtps://127.0.0.1:1")
    monkeypatch.setenv("NEWSLETTER_SMTP_CA_FILE", "ca.pem")
    assert "NEWSLETTER_SMTP_CA_FILE is not usable: there is no file ca.pem" in newsletter("relays", "test", code=1).err
    Path("ca.pem").write_text("none")
    refused = newsletter("relays", "test", code=1).err
    assert "The CA certificates in ca.pem cannot be used" in refused
    assert "cannot be reached" not in refused


def test_one_of_two_fails(newsletter: CommandLine, relay: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name all are tried, also after one that fails."""
    dead = free_port("127.0.0.1")
    monkeypatch.setenv(
        "NEWSLETTER_SMTP_URL", f"smtp://127.0.0.1:{dead}?name=dead smtp://127.0.0.1:{relay.port}?name=alive"
    )
    found = newsletter("relays", "test", "--json", code=1).json
    assert [(one["name"], one["usable"]) for one in found] == [("dead", False), ("alive", True)]
    assert newsletter("relays", "test", "alive").code == 0


def test_a_server_that_hangs() -> None:
    """A server that accepts and says nothing costs the time-out and no more."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        found = probe(Relay("main", "127.0.0.1", silent.getsockname()[1]), 0.3)
    assert "cannot be reached" in found.problem
    assert time.monotonic() - began < 5


def test_up_names_all_relays(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """`up` and `worker` refuse relays that cannot be used before they start anything."""
    Path("newsletter.toml").write_text('[relays.main]\nhost = "h"\nrate = "fast"\n')
    monkeypatch.setenv("NEWSLETTER_BASE_URL", "https://news.example.org")
    assert "rate has to look like" in cli("up", code=1).err
    assert not os.path.exists(cli.home / "logs")


def test_the_demo_leaves_relays_alone(cli: CommandLine) -> None:
    """Whatever relays are configured, the demo sends to its own inbox only."""
    (only,) = relays_of(demo._settings(load_settings()))
    assert (only.host, only.security) == ("127.0.0.1", "none")


def test_the_inbox_does_not_run(newsletter: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the built-in inbox `relays test` says how to start it, and nothing of firewalls."""
    monkeypatch.setenv("NEWSLETTER_INBOX_SMTP_PORT", str(free_port("127.0.0.1")))
    refused = newsletter("relays", "test", code=1).err
    assert "start it with `newsletter up`" in refused
    assert "firewall" not in refused
    assert "`newsletter up`" in newsletter("relays", "test", "--json", code=1).json[0]["mend"]
