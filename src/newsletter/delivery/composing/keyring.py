"""DKIM keys of sending domains, as files in the state home: made, published, used, retired.

``dkim/DOMAIN/SELECTOR.pem`` holds a private key. Selectors are ``SET-rsa`` and ``SET-ed25519``, where the set is called
by the day it was made. ``dkim/DOMAIN/signing`` names the set that signs; it is replaced as a whole, so that whoever
reads it sees the old set or the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from newsletter.errors import SettingsError, StateError
from newsletter.mail.signing import PrivateKey, private_key, public_record
from newsletter.settings import write_private

RSA_BITS = 2048
"""More does not fit into one string of DNS, costs several times the signing, and receivers ask for no more."""
KEPT_DAYS = 7
"""So long the record of a retired set stays in DNS: mails that it signed are still on their way."""
SIGNING = "signing"


@dataclass(frozen=True)
class KeySet:
    """The keys that sign together: one RSA, one Ed25519."""

    domain: str
    name: str
    state: str
    """waiting (for its records to be published), signing or retired."""
    files: tuple[Path, ...]
    since: datetime | None = None
    """When it began to sign, of the one that signs."""

    def pems(self) -> dict[str, bytes]:
        """Private keys in PEM form by selector.

        Raises:
            SettingsError: a file cannot be read.
        """
        try:
            return {file.stem: file.read_bytes() for file in self.files}
        except OSError as error:
            raise SettingsError(
                f"The DKIM key {error.filename} cannot be read: {error.strerror}.",
                "It has to belong to the user that the workers run as.",
            ) from None

    def records(self) -> dict[str, str]:
        """The TXT records to publish, by name.

        Raises:
            SettingsError: a key cannot be read.
        """
        return {record_name(name, self.domain): public_record(private_key(pem)) for name, pem in self.pems().items()}


def record_name(selector: str, domain: str) -> str:
    """Where DNS has the record of a key (RFC 6376, 3.6.2.1)."""
    return f"{selector}._domainkey.{domain}"


def domains(home: Path) -> list[str]:
    """The domains that have keys."""
    return sorted(folder.name for folder in home.glob("dkim/*") if folder.is_dir())


def sets(home: Path, domain: str) -> list[KeySet]:
    """The sets of a domain, oldest first; none if it has no keys.

    Raises:
        SettingsError: the folder cannot be read.
    """
    folder = _folder(home, domain)
    try:
        current = (folder / SIGNING).read_text("ascii").strip()
        since = datetime.fromtimestamp((folder / SIGNING).stat().st_mtime, UTC)
    except FileNotFoundError:
        current, since = "", None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{folder / SIGNING} cannot be read: {error}.") from None
    files: dict[str, list[Path]] = {}
    # RSA first: there are receivers that look at one signature only, and that one they all know.
    for file in sorted(folder.glob("*-*.pem"), key=lambda file: file.name, reverse=True):
        files.setdefault(file.name.partition("-")[0], []).append(file)
    if current and current not in files:
        raise SettingsError(f"{folder / SIGNING} names the DKIM keys {current}, but there are none of that name.")
    found = []
    for name in sorted(files):
        state = "signing" if name == current else "retired" if name < current else "waiting"
        found.append(KeySet(domain, name, state, tuple(files[name]), since if name == current else None))
    return found


def one(home: Path, domain: str, state: str) -> KeySet | None:
    """The newest set of a domain in a state."""
    return next((found for found in reversed(sets(home, domain)) if found.state == state), None)


def make(home: Path, domain: str, today: date) -> KeySet:
    """Make a set that waits; the files are for their owner's eyes only. Keys that were retired before are deleted.

    Raises:
        StateError: one waits already.
    """
    known = sets(home, domain)
    if waiting := next((found for found in known if found.state == "waiting"), None):
        raise StateError(
            f"Keys {waiting.name} of {domain} wait for their records to be published.",
            f"See `newsletter dkim show {domain}`, then `newsletter dkim activate {domain}`.",
        )
    folder = _folder(home, domain)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for retired in known:
        for file in retired.files if retired.state == "retired" else ():
            file.unlink()
    # Names are in the order of making: a second set of one day gets a letter.
    name, last = f"{today:%Y%m%d}", known[-1].name if known else ""
    name = name if name > last else last + "a"
    keys: dict[str, PrivateKey] = {
        "ed25519": Ed25519PrivateKey.generate(),
        "rsa": generate_private_key(65537, RSA_BITS),
    }
    for kind, key in keys.items():
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private(folder / f"{name}-{kind}.pem", pem.decode())
    made = one(home, domain, "waiting")
    assert made
    return made


def activate(home: Path, waiting: KeySet) -> None:
    """Sign with this set from now on; running workers see it within seconds."""
    write_private(_folder(home, waiting.domain) / SIGNING, waiting.name + "\n")


def remove_after(signing: KeySet) -> date:
    """The day from which the records of the set before this one may go."""
    assert signing.since
    return (signing.since + timedelta(days=KEPT_DAYS)).date()


def mark(home: Path, domain: str) -> tuple[int, int] | None:
    """Something that is another when another set signs; None as long as none does."""
    try:
        found = (_folder(home, domain) / SIGNING).stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        # Somebody else's folder is not the same as none: who reads the sets is told so.
        return -1, error.errno or 0
    return found.st_ino, found.st_mtime_ns


def _folder(home: Path, domain: str) -> Path:
    return home / "dkim" / domain
