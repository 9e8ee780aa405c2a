"""The DNS is asked over the network or out of a file; DMARC policies are found by the tree walk."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from nameservers import answering

from newsletter.doctor import resolving
from newsletter.doctor.dmarc import policy_of
from newsletter.doctor.records import same_key, zone_line
from newsletter.doctor.resolving import from_file, over_network
from newsletter.errors import InputError, StateError

LONG = "v=DKIM1; k=rsa; p=" + "QUJD" * 100
ZONE = f"""
{zone_line("s1._domainkey.rutas.example", LONG)}
rutas.example. IN MX 20 b.rutas.example.
rutas.example. IN MX 10 A.rutas.example.
a.rutas.example. IN A 192.0.2.7
a.rutas.example. IN AAAA 2001:db8::7
7.2.0.192.in-addr.arpa. IN PTR a.rutas.example.
"""


@pytest.mark.parametrize("way", ["file", "network"])
def test_answers(way: str, tmp_path: Path) -> None:
    """A real server and a file give the same answers; a name that does not exist gives none."""
    (tmp_path / "zone").write_text(ZONE)
    with answering(ZONE) as server:
        resolver = from_file(tmp_path / "zone") if way == "file" else over_network(server)
        assert resolver.texts("s1._domainkey.rutas.example") == [LONG]
        assert resolver.exchangers("rutas.example") == ["a.rutas.example", "b.rutas.example"]
        assert resolver.addresses("A.rutas.example.") == ["192.0.2.7", "2001:db8::7"]
        assert resolver.names_of("192.0.2.7") == ["a.rutas.example"]
        assert resolver.texts("nobody.example") == resolver.addresses("rutas.example") == []


def test_a_server_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer costs the time-out and no more, and is told as such."""
    monkeypatch.setattr(resolving, "ANSWER_SECONDS", 0.5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        began = time.monotonic()
        with pytest.raises(StateError, match=r"did not answer for rutas\.example TXT"):
            over_network(silent.getsockname()).texts("rutas.example")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("end", ["", "\n", "\nb.example. IN A 192.0.2.1\n"])
@pytest.mark.parametrize(
    "text", ["rutas.example. TXT", "what is this", 'a. IN TXT "unended', "a. IN A x", "a. IN FOO x", "\udcff"]
)
def test_files_that_are_none(text: str, end: str, tmp_path: Path) -> None:
    """A file that is no zone is told in a sentence, with the line if it can be read at all."""
    (tmp_path / "zone").write_bytes(b"\n" + text.encode("utf-8", "surrogateescape") + end.encode())
    where = "" if text == "\udcff" else "line 2"
    with pytest.raises(InputError, match=f"is not a zone file: {where}"):
        from_file(tmp_path / "zone")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file is told in a sentence."""
    with pytest.raises(InputError, match="cannot be read"):
        from_file(tmp_path / "none")


@pytest.mark.parametrize(
    ("published", "same"),
    [
        (LONG, True),
        ("k=rsa; p=" + "QUJD" * 100, True),
        ("v=DKIM1;p=" + " QUJD" * 100 + ";", True),
        ("v=DKIM1; k=ed25519; p=" + "QUJD" * 100, False),
        ("v=DKIM1; k=rsa; p=", False),
        ("v=spf1 -all", False),
        (LONG + "QUJD", False),
    ],
)
def test_the_same_key(published: str, same: bool) -> None:
    """A record is compared by its key, however it is written."""
    assert same_key(published, LONG) is same


BETWEEN = '_dmarc.mail.rutas.example. TXT "v=DMARC1; p=none"'
ABOVE = f'{BETWEEN}\n_dmarc.rutas.example. TXT "v=DMARC1; p=reject"'


@pytest.mark.parametrize(
    ("zone", "domain", "found"),
    [
        ('_dmarc.rutas.example. TXT "v=DMARC1; p=reject; rua=mailto:a@rutas.example"', "rutas.example", "reject"),
        ('_dmarc.rutas.example. TXT "v=DMARC1; p=reject"', "news.rutas.example", "reject"),
        ('_dmarc.rutas.example. TXT "v=DMARC1; p=reject; sp=none"', "news.rutas.example", "none"),
        ('_dmarc.rutas.example. TXT "v=DMARC1; p=reject; sp=none"', "rutas.example", "reject"),
        ('_dmarc.rutas.example. TXT "v=DMARC1; p=often"', "rutas.example", ""),
        ('_dmarc.a. TXT "v=DMARC1; p=none"\n_dmarc.a. TXT "v=DMARC1; p=reject"', "a", ""),
        ('_dmarc.rutas.example. TXT "v=spf1 -all"', "rutas.example", None),
        ('_dmarc.example. TXT "v=DMARC1; p=none"', "rutas.example", None),
        ('_dmarc.example. TXT "v=DMARC1; p=none; psd=y"', "rutas.example", "none"),
        (ABOVE, "news.mail.rutas.example", "reject"),
        (ABOVE, "mail.rutas.example", "none"),
        (BETWEEN, "news.mail.rutas.example", "none"),
        (ABOVE.replace("p=none", "p=none; psd=n"), "news.mail.rutas.example", "none"),
        (ABOVE.replace("p=reject", "p=reject; psd=y"), "news.mail.rutas.example", "none"),
        (ABOVE.replace("p=reject", "p=reject; psd=y"), "a.news.mail.rutas.example", "none"),
        (ABOVE.replace("p=reject", "p=reject; psd=y"), "news.post.rutas.example", "reject"),
        (
            ABOVE.replace("_dmarc.mail", "_dmarc.a.mail").replace("reject", "reject; psd=y"),
            "b.a.mail.rutas.example",
            "reject",
        ),
    ],
)
def test_policies(zone: str, domain: str, found: str | None, tmp_path: Path) -> None:
    """A domain's own policy, else that of its Organizational Domain, whatever stands between; what cannot be used is
    none.
    """
    (tmp_path / "zone").write_text(zone + "\n")
    policy = policy_of(from_file(tmp_path / "zone"), domain)
    assert (policy and policy.word) == found
