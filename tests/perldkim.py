"""A second verifier: Perl's Mail::DKIM, which spam filters use; installed, or unpacked from Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

UNPACKED = Path(__file__).parent.parent / "build" / "mail-dkim"
PACKAGES = (
    "libmail-dkim-perl",
    "libmail-authenticationresults-perl",
    "libmailtools-perl",
    "libnet-dns-perl",
    "libcrypt-openssl-rsa-perl",
    "libcrypt-openssl-bignum-perl",
    "libcryptx-perl",
)
PROBE = "use Mail::DKIM::Verifier; use Net::DNS; use Crypt::PK::Ed25519; use Crypt::OpenSSL::RSA;"
VERIFY = """
use Mail::DKIM::Verifier; use Mail::DKIM::DNS; use Net::DNS;
my ($address, $port, @files) = @ARGV;
Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(nameservers => [$address], port => $port, recurse => 1));
for my $file (@files) {
  my $verifier = Mail::DKIM::Verifier->new();
  open my $message, "<:raw", $file;
  while (<$message>) { $verifier->PRINT($_); }
  $verifier->CLOSE;
  print join("|", map { $_->algorithm . " " . $_->result_detail } $verifier->signatures), "\\n";
}
"""


@cache
def why_missing() -> str:
    """Why it cannot be had; empty if it is there. Unpacking needs neither root nor an installation."""
    if shutil.which("perl") is None:
        return "there is no Perl"
    if not _works() and shutil.which("apt-get") and not UNPACKED.exists():
        UNPACKED.mkdir(parents=True)
        for command in (["apt-get", "download", *PACKAGES], ["sh", "-c", 'for f in *.deb; do dpkg -x "$f" .; done']):
            subprocess.run(command, cwd=UNPACKED, capture_output=True, check=False)
    return "" if _works() else "Mail::DKIM is not installed, and Debian's package cannot be had"


def _works() -> bool:
    return subprocess.run(["perl", "-e", PROBE], env=_environment(), capture_output=True, check=False).returncode == 0


def _environment() -> dict[str, str]:
    folders = [UNPACKED / "usr/share/perl5", *UNPACKED.glob("usr/lib/*/perl5/*")]
    return {**os.environ, "PERL5LIB": os.pathsep.join(map(str, folders))}


def verdicts(messages: Sequence[bytes], server: tuple[str, int], folder: Path) -> list[list[str]]:
    """What it says of each signature of each message: ``rsa-sha256 pass``; ``server`` is the DNS to ask.

    Debian 12's version does not know Ed25519, and calls it invalid: an unsupported algorithm.
    """
    files = [folder / f"{number}.eml" for number in range(len(messages))]
    for file, message in zip(files, messages, strict=True):
        file.write_bytes(message)
    command = ["perl", "-e", VERIFY, server[0], str(server[1]), *map(str, files)]
    done = subprocess.run(command, env=_environment(), capture_output=True, check=True, timeout=120)
    return [line.split("|") for line in done.stdout.decode().splitlines()]
