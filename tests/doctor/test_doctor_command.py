"""``newsletter doctor``: over real servers, with the DNS out of a file, it finds nothing wrong, or what is wrong."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
import uvicorn
from commanding import CommandLine
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from servers import Relay, serving
from stack import wait_until
from valkeys import running_valkey

from newsletter.audience.leaving import leave
from newsletter.cli.supervising import free_port
from newsletter.database import engine_for
from newsletter.doctor import mails
from newsletter.settings import load_settings
from subscribers.app import site_app

DNS = """
rutas.example. IN TXT "v=spf1 ip4:8.8.4.4 -all"
rutas.example. IN MX 10 mail.rutas.example.
mail.rutas.example. IN A 8.8.4.4
_dmarc.rutas.example. IN TXT "v=DMARC1; p=quarantine; rua=mailto:dmarc@rutas.example"
4.4.8.8.in-addr.arpa. IN PTR mail.rutas.example.
"""


@contextmanager
def over_https(app: FastAPI, folder: Path, authority: trustme.CA) -> Iterator[int]:
    """An application over TLS on a free port, for localhost."""
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "site.pem")
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="critical", lifespan="off", ssl_certfile=str(folder / "site.pem"))
    )
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    wait_until(lambda: server.started, 20)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@dataclass
class Patient:
    """An installation, and the doctor's word on it."""

    cli: CommandLine
    monkeypatch: pytest.MonkeyPatch
    zone: str

    def set(self, name: str, value: str) -> None:
        self.monkeypatch.setenv(f"NEWSLETTER_{name}", value)

    def seen(self, *arguments: str, code: int | None = 1) -> dict[str, list[dict]]:
        """The findings by check."""
        Path("dns").write_text(self.zone)
        found: dict[str, list[dict]] = {}
        out = self.cli("doctor", "--dns", "dns", "--json", *arguments, code=code).out
        # The log of a site that runs in this process comes before it.
        for one in json.loads(out[out.index("{\n") :])["findings"]:
            found.setdefault(one["check"], []).append(one)
        return found


@pytest.fixture
def patient(newsletter: CommandLine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Patient]:
    """A list with a reader, keys that sign, and a relay without encryption on this machine."""
    newsletter(
        "lists", "create", "rutas", "--name", "Rutas", "--sender-email", "digest@rutas.example",
        "--postal-address", "24 Calle", "--language", "es", "--language", "ar", "--timezone", "UTC",
    )  # fmt: skip
    newsletter("subscribers", "add", "ana@example.org", "--confirmed")
    records = newsletter("dkim", "create", "--json").json["records"]
    newsletter("dkim", "activate", "--force")
    with serving(Relay(), hostname="mail.rutas.example") as relay:
        monkeypatch.setenv("NEWSLETTER_SMTP_URL", f"smtp://127.0.0.1:{relay.port}?name=main")
        monkeypatch.setenv("NEWSLETTER_BASE_URL", "https://news.rutas.example")
        yield Patient(newsletter, monkeypatch, DNS + "\n".join(record["zone"] for record in records) + "\n")


def test_all_is_well(patient: Patient, tmp_path: Path) -> None:
    """Real database, Valkey, relay with TLS, site with TLS: each thing is fine, but for a site that is only local."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    patient.monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    app = site_app(engine_for(load_settings().database), load_settings())
    with (
        serving(Relay(), tls=tls) as relay,
        running_valkey(tmp_path / "valkey") as valkey,
        over_https(app, tmp_path, authority) as port,
    ):
        patient.set("SMTP_URL", f"smtps://127.0.0.1:{relay.port}?name=main")
        patient.set("REDIS_URL", valkey.url)
        patient.set("BASE_URL", f"https://localhost:{port}")
        found = patient.seen("--address", "8.8.4.4", code=0)
        told = patient.cli("doctor", "--dns", "dns", "--address", "8.8.4.4").out
    assert relay.messages == []
    unwell = [one for ones in found.values() for one in ones if one["level"] != "ok"]
    assert [one["found"] for one in unwell] == ["It answers, to this machine only."]
    assert list(found) == [
        "settings", "database", "redis", "clock", "relay", "SPF", "DKIM", "DMARC", "MX", "PTR", "one-click", "templates"
    ]  # fmt: skip
    assert {one["about"] for one in found["clock"]} == {"Redis", "the site"}
    assert "TLSv1." in found["relay"][0]["found"]
    assert len(found["DKIM"]) == len(found["templates"]) == 2
    assert "0 to mend" in told


def test_readers_who_have_left(patient: Patient, tmp_path: Path) -> None:
    """That the oldest reader has left is no fault of the site; if all have, there is no page to look at."""
    patient.cli("subscribers", "add", "ben@example.org", "--confirmed")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    patient.monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    engine = engine_for(load_settings().database)
    with over_https(site_app(engine, load_settings()), tmp_path, authority) as port:
        patient.set("BASE_URL", f"https://localhost:{port}")
        told = []
        for number in (1, 2):
            with engine.begin() as connection:
                assert leave(connection, number, "test", datetime.now(UTC))
            (found,) = patient.seen(code=None)["one-click"]
            told.append(found["found"])
    assert told == [
        "It answers, to this machine only.", "It answers; with a first reader, their page can be looked at."
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "check", "level", "says", "mend"),
    [
        ("ip4:8.8.4.4 -all", "-all", "SPF", "error", "may not send: fail", '"v=spf1 ip4:8.8.4.4 -all"'),
        ("v=spf1", "spf", "SPF", "error", "no SPF record", 'rutas.example. IN TXT "v=spf1 ip4:8.8.4.4 ~all"'),
        ("ip4:8.8.4.4 -all", "+all", "SPF", "warning", "Anybody may send", '"v=spf1 ip4:8.8.4.4 ~all"'),
        ("ip4:8.8.4.4", "ip:8.8.4.4", "SPF", "error", "cannot be used", "Mend the record"),
        ("k=ed25519; p=", "k=ed25519; p=A", "DKIM", "error", "holds another key", "-ed25519._domainkey.rutas.example."),
        ("-rsa._domain", "-x._domain", "DKIM", "error", "There is no record", '-rsa._domainkey.rutas.example. IN TXT'),
        ("_dmarc.", "_dmarx.", "DMARC", "error", "no DMARC record", '_dmarc.rutas.example. IN TXT "v=DMARC1; p=none;'),
        ("p=quarantine", "p=maybe", "DMARC", "error", "cannot be used", '_dmarc.rutas.example. IN TXT "v=DMARC1'),
        ("MX 10 mail.rutas.example.", "MX 0 .", "MX", "error", "takes no mail", "IN MX 10 mail.rutas.example."),
        ("IN MX 10", "IN CAA 0 issue", "MX", "error", "no MX record, and no address", "rutas.example. IN MX 10"),
        ("mail.rutas.example. IN A 8.8.4.4", "", "MX", "error", "has no address", "Give mail.rutas.example an A"),
        ("4.4.8.8.in", "5.4.8.8.in", "PTR", "error", "no name", "Whoever gave you the address"),
        ("IN A 8.8.4.4", "IN A 8.8.4.5", "PTR", "error", "does not lead back", "mail.rutas.example. IN A 8.8.4.4"),
    ],
)  # fmt: skip
def test_dns_that_is_wrong(patient: Patient, old: str, new: str, check: str, level: str, says: str, mend: str) -> None:
    """What the DNS lacks is named with what it means and the exact record."""
    assert old in patient.zone
    patient.zone = patient.zone.replace(old, new)
    found = patient.seen("--address", "8.8.4.4")
    (wrong,) = [one for one in found[check] if one["level"] != "ok"]
    assert (wrong["level"], says in wrong["found"], mend in wrong["mend"]) == (level, True, True), wrong
    assert wrong["meaning"]


def test_nothing_speaks_for_the_domain(patient: Patient) -> None:
    """A strict policy without signature and SPF is an error."""
    for file in (patient.cli.home / "dkim/rutas.example").iterdir():
        file.unlink()
    patient.zone = patient.zone.replace("ip4:8.8.4.4", "")
    found = patient.seen("--address", "8.8.4.4")
    assert "quarantine them" in found["DMARC"][0]["meaning"]
    assert found["DKIM"][0]["mend"] == "newsletter dkim create rutas.example"
    patient.cli("dkim", "create")
    assert "do not sign yet; their records are not published" in patient.seen()["DKIM"][0]["found"]


def test_digests_that_are_clipped(patient: Patient) -> None:
    """Gmail clips the HTML: what the text part adds to a digest is no fault, HTML that is too long is."""
    patient.cli("lists", "edit", "rutas", "--max-items", "150")
    assert {one["level"] for one in patient.seen()["templates"]} == {"ok"}
    patient.monkeypatch.setattr(mails, "CLIPPED", 50_000)
    found = patient.seen()["templates"]
    assert all("items has" in one["found"] and "--max-items" in one["mend"] for one in found)


def test_lists_that_no_relay_carries(patient: Patient) -> None:
    """A list without a relay is an error, a relay for a list that is none a warning; an archived list needs none."""
    url = f"{load_settings().smtp_url}&lists="
    patient.set("SMTP_URL", f"{url}nolist")
    found = patient.seen()["lists"]
    assert [(one["level"], one["about"]) for one in found] == [("warning", "nolist"), ("error", "rutas")]
    assert "Relay main is to carry nolist" in found[0]["found"]
    assert found[1]["found"] == "No relay carries rutas."
    patient.set("SMTP_URL", f"{url}nolist,rutas")
    assert [one["level"] for one in patient.seen(code=None)["lists"]] == ["warning"]
    patient.cli("lists", "archive", "rutas", "--yes")
    patient.set("SMTP_URL", f"{url}nolist")
    assert [one["level"] for one in patient.seen(code=None)["lists"]] == ["warning"]


def test_addresses_that_are_guessed(patient: Patient) -> None:
    """Where a relay listens is taken for where it sends from, and so only warned of."""
    patient.set("SMTP_URL", "smtp://relay.rutas.example:1?name=far")
    patient.zone += "relay.rutas.example. IN A 1.1.1.1\n"
    found = patient.seen()
    (spf,) = found["SPF"]
    assert (spf["level"], spf["about"]) == ("warning", "rutas.example from 1.1.1.1 (relay far)")
    assert "--address" in spf["mend"]
    assert found["PTR"][0]["level"] == "warning"


def test_servers_that_are_away(patient: Patient) -> None:
    """A relay, Redis and a database that do not answer are errors, and all else is looked at."""
    patient.set("SMTP_URL", f"smtp://127.0.0.1:{free_port('127.0.0.1')}?name=main")
    patient.set("REDIS_URL", f"redis://127.0.0.1:{free_port('127.0.0.1')}/0")
    patient.set("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/newsletter")
    found = patient.seen("--address", "8.8.4.4")
    for check in ("relay", "redis", "database"):
        assert [one["level"] for one in found[check]] == ["error"], check
    assert "cannot be reached" in found["relay"][0]["found"]
    assert {one["level"] for one in found["SPF"]} == {"warning"}
    assert found["PTR"][0]["level"] == "ok"
    assert ".." not in found["redis"][0]["found"]
    told = patient.cli("doctor", "--dns", "dns", "--address", "8.8.4.4", code=1).out
    assert told.count("The database cannot be used: ") == 1
    assert "Not looked at for the same reason: lists, SPF, DKIM, DMARC, MX, one-click, templates." in told


def test_a_database_of_another_version(patient: Patient) -> None:
    """A database without tables, or none, is an error that says what to run; none is made."""
    Path("empty.db").touch()
    for file in ("empty.db", "folder/none.db"):
        patient.set("DATABASE_URL", f"sqlite:///{file}")
        (found,) = patient.seen()["database"]
        assert (found["level"], found["mend"]) == ("error", "Run `newsletter init`.")
    assert not Path("folder").exists()


def test_settings_that_are_wrong(patient: Patient) -> None:
    """What cannot be used is named; http for readers, and keys that others can read, too."""
    patient.set("BASE_URL", "http://news.rutas.example")
    (patient.cli.home / "secret.key").chmod(0o644)
    found = {one["about"]: one for one in patient.seen()["settings"]}
    assert found["NEWSLETTER_BASE_URL"]["mend"] == "NEWSLETTER_BASE_URL=https://news.rutas.example"
    assert found[str(patient.cli.home / "secret.key")]["mend"].startswith("chmod 600")
    patient.set("SECRET_KEY", "short")
    patient.set("SMTP_URL", "ftp://x")
    abouts = {one["about"] for one in patient.seen()["settings"] if one["level"] == "error"}
    assert abouts >= {"NEWSLETTER_SECRET_KEY", "NEWSLETTER_SMTP_URL"}
    with patient.monkeypatch.context() as worse:
        worse.setenv("NEWSLETTER_WORKERS", "none")
        assert list(patient.seen()) == ["settings"]
    assert "no IP address" in patient.cli("doctor", "--address", "x", code=1).err


@pytest.mark.parametrize("address", ["10.0.0.5", "127.0.0.1", "169.254.169.254", "fd00::1"])
def test_a_site_that_only_we_reach(patient: Patient, address: str) -> None:
    """A name that leads to a private address is refused: it is not even asked."""
    patient.zone += f"news.rutas.example. IN {'AAAA' if ':' in address else 'A'} {address}\n"
    (found,) = patient.seen()["one-click"]
    assert (found["level"], f"leads to {address}, which nobody outside reaches" in found["found"]) == ("error", True)


def test_a_site_that_is_away_or_leads_elsewhere(patient: Patient, tmp_path: Path) -> None:
    """No answer, a certificate that nobody trusts, a redirect, and a site that is another: errors."""
    authority = trustme.CA()
    elsewhere, other = FastAPI(), FastAPI()
    elsewhere.get("/{rest:path}")(lambda rest: RedirectResponse(f"https://www.rutas.example/{rest}"))
    patient.set("BASE_URL", f"https://localhost:{free_port('127.0.0.1')}")
    assert "does not answer" in patient.seen()["one-click"][0]["found"]
    with over_https(elsewhere, tmp_path, authority) as port, over_https(other, tmp_path, authority) as second:
        patient.set("BASE_URL", f"https://localhost:{port}")
        assert "not trusted" in patient.seen()["one-click"][0]["found"]
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        patient.monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert patient.seen()["one-click"][0]["mend"] == "NEWSLETTER_BASE_URL=https://www.rutas.example"
        patient.set("BASE_URL", f"https://localhost:{second}")
        assert "answers 404 without a form" in patient.seen()["one-click"][0]["found"]
