"""SPF: what a receiver decides of an address, by RFC 7208."""

from __future__ import annotations

from pathlib import Path

import pytest

from newsletter.doctor.resolving import Resolver, from_file
from newsletter.doctor.spf import evaluate

ZONE = """
plain.example. TXT "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"
split.example. TXT "v=spf1 ip4:192." "0.2.7 -all"
soft.example. TXT "v=spf1 ~all"
open.example. TXT "v=spf1 ?all"
bare.example. TXT "v=spf1"
other.example. TXT "v=spf10 -all"
two.example. TXT "v=spf1 -all"
two.example. TXT "v=spf1 +all"
includes.example. TXT "v=spf1 include:plain.example ~all"
nothing.example. TXT "v=spf1 include:missing.example ~all"
moved.example. TXT "v=spf1 redirect=plain.example"
astray.example. TXT "v=spf1 redirect=missing.example"
hosts.example. TXT "v=spf1 a mx/28 -all"
hosts.example. A 192.0.2.7
hosts.example. MX 10 mail.hosts.example.
mail.hosts.example. A 192.0.2.33
near.example. TXT "v=spf1 a:hosts.example/24//64 -all"
alias.example. TXT "v=spf1 a:www.alias.example -all"
www.alias.example. CNAME hosts.example.
macro.example. TXT "v=spf1 exists:%{ir}.%{v}._spf.%{d2} -all"
7.2.0.192.in-addr._spf.macro.example. A 127.0.0.2
named.example. TXT "v=spf1 ptr:hosts.example -all"
7.2.0.192.in-addr.arpa. PTR mail7.hosts.example.
mail7.hosts.example. A 192.0.2.7
wrong.example. TXT "v=spf1 ipv4:192.0.2.7 -all"
number.example. TXT "v=spf1 ip4:192.0.2.777 -all"
length.example. TXT "v=spf1 a/33 -all"
length.example. A 192.0.2.7
longer.example. TXT "v=spf1 mx//129 -all"
loop.example. TXT "v=spf1 include:loop.example -all"
behind.example. TXT "v=spf1 ip4:192.0.2.7 ipv4:192.0.2.8 -all"
redirects.example. TXT "v=spf1 ip4:192.0.2.7 redirect=plain.example redirect=soft.example"
void.example. TXT "v=spf1 a:gone1.example mx:gone2.example ip4:192.0.2.7 -all"
voids.example. TXT "v=spf1 a:gone1.example mx:gone2.example exists:gone3.example ip4:192.0.2.7 -all"
case.example. TXT "V=SPF1 IP4:192.0.2.7 -ALL"
"""


@pytest.fixture
def resolver(tmp_path: Path) -> Resolver:
    (tmp_path / "zone").write_text(ZONE)
    return from_file(tmp_path / "zone")


@pytest.mark.parametrize(
    ("domain", "address", "word"),
    [
        ("plain.example", "192.0.2.7", "pass"),
        ("plain.example", "198.51.100.1", "fail"),
        ("plain.example", "2001:db8::7", "pass"),
        ("plain.example", "2001:db9::7", "fail"),
        ("split.example", "192.0.2.7", "pass"),
        ("soft.example", "192.0.2.7", "softfail"),
        ("open.example", "192.0.2.7", "neutral"),
        ("bare.example", "192.0.2.7", "neutral"),
        ("other.example", "192.0.2.7", "none"),
        ("missing.example", "192.0.2.7", "none"),
        ("two.example", "192.0.2.7", "permerror"),
        ("includes.example", "192.0.2.7", "pass"),
        ("includes.example", "198.51.100.1", "softfail"),
        ("nothing.example", "192.0.2.7", "permerror"),
        ("moved.example", "192.0.2.7", "pass"),
        ("moved.example", "198.51.100.1", "fail"),
        ("astray.example", "192.0.2.7", "permerror"),
        ("hosts.example", "192.0.2.7", "pass"),
        ("hosts.example", "192.0.2.40", "pass"),
        ("hosts.example", "192.0.2.50", "fail"),
        ("near.example", "192.0.2.200", "pass"),
        ("near.example", "198.51.100.1", "fail"),
        ("alias.example", "192.0.2.7", "pass"),
        ("macro.example", "192.0.2.7", "pass"),
        ("macro.example", "192.0.2.8", "fail"),
        ("named.example", "192.0.2.7", "pass"),
        ("named.example", "192.0.2.8", "fail"),
        ("wrong.example", "192.0.2.7", "permerror"),
        ("number.example", "192.0.2.7", "permerror"),
        ("length.example", "192.0.2.7", "permerror"),
        ("longer.example", "192.0.2.7", "permerror"),
        ("loop.example", "192.0.2.7", "permerror"),
        ("behind.example", "192.0.2.7", "permerror"),
        ("redirects.example", "192.0.2.7", "permerror"),
        ("void.example", "192.0.2.7", "pass"),
        ("voids.example", "192.0.2.7", "permerror"),
        ("case.example", "192.0.2.7", "pass"),
    ],
)
def test_verdicts(resolver: Resolver, domain: str, address: str, word: str) -> None:
    """Each mechanism, qualifier, modifier and macro decides as the RFC says; what is wrong is a permanent error."""
    assert evaluate(resolver, domain, address).word == word


def test_look_ups_are_limited(tmp_path: Path) -> None:
    """More than ten terms that ask the DNS are an error, as receivers have it; ten are not."""
    for count, word in ((10, "fail"), (11, "permerror")):
        terms = " ".join(f"a:h{number}.example" for number in range(count))
        hosts = "".join(f"h{number}.example. A 198.51.100.1\n" for number in range(count))
        (tmp_path / "zone").write_text(f'many.example. TXT "v=spf1 {terms} -all"\n{hosts}')
        verdict = evaluate(from_file(tmp_path / "zone"), "many.example", "192.0.2.7")
        assert verdict.word == word, verdict


def test_exchangers_are_limited(tmp_path: Path) -> None:
    """A term that leads to more than ten exchangers is an error; one that leads to ten is none."""
    for count, word in ((10, "pass"), (11, "permerror")):
        hosts = "".join(f"many.example. MX 10 h{n}.example.\nh{n}.example. A 198.51.100.1\n" for n in range(count))
        (tmp_path / "zone").write_text(f'many.example. TXT "v=spf1 mx ip4:192.0.2.7 -all"\n{hosts}')
        assert evaluate(from_file(tmp_path / "zone"), "many.example", "192.0.2.7").word == word
