"""DKIM signatures, if there are keys: by the domain that mails come from, so that DMARC finds them aligned."""

from __future__ import annotations

import time
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import structlog

from newsletter.delivery.composing import keyring
from newsletter.errors import SettingsError
from newsletter.mail.letter import Message
from newsletter.mail.signing import Signer
from newsletter.settings import Settings

LOOK_SECONDS = 5.0
"""So often a process looks whether other keys sign now."""

REPEAT_SECONDS = 55.0
"""So much later it looks again, if those that it found cannot be used."""

log = structlog.get_logger("newsletter.delivery")


class _Known(NamedTuple):
    signer: Signer | None
    mark: tuple[int, int] | None
    good_until: float


_known: dict[tuple[Path, str], _Known] = {}


def signed(settings: Settings, message: Message, domain: str, at: datetime) -> Message:
    """The message with its signatures before it; as it is, if no keys of ``domain`` sign.

    Raises:
        SettingsError: the keys cannot be used.
    """
    signer = _signer(settings, domain)
    if signer is None:
        return message
    fields = signer.sign(message.head, message.body, int(at.timestamp()))
    return Message(message.return_path, fields + message.content, len(fields) + message.head_size)


def _signer(settings: Settings, domain: str) -> Signer | None:
    if settings.dkim_key_file is not None:
        return _configured(settings.dkim_key_file, settings.dkim_selector, domain)
    known = _known.get((settings.home, domain))
    if known is None or known.good_until < time.monotonic():
        known = _known[settings.home, domain] = _look(settings.home, domain, known)
    return known.signer


def _look(home: Path, domain: str, before: _Known | None) -> _Known:
    good_until = time.monotonic() + LOOK_SECONDS
    mark = keyring.mark(home, domain)
    if before is not None and before.mark == mark:
        return before._replace(good_until=good_until)
    try:
        signing = keyring.one(home, domain, "signing")
        return _Known(Signer(domain, signing.pems()) if signing else None, mark, good_until)
    except SettingsError as error:
        if before is None:
            raise
        # What was good until now goes on signing; a copy that is being put into its place may be whole next time.
        log.warning("new DKIM keys cannot be used", domain=domain, reason=str(error))
        return before._replace(good_until=good_until + REPEAT_SECONDS)


@lru_cache(maxsize=100)
def _configured(key_file: Path, selector: str, domain: str) -> Signer:
    try:
        pem = key_file.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"NEWSLETTER_DKIM_KEY_FILE is not usable: {key_file} cannot be read: {error.strerror}."
        ) from None
    return Signer(domain, {selector: pem})


def check_key(settings: Settings) -> None:
    """Refuse unusable keys before work begins.

    Raises:
        SettingsError: says what is wrong with them.
    """
    for domain in ["example.org"] if settings.dkim_key_file else keyring.domains(settings.home):
        _signer(settings, domain)
