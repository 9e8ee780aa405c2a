"""DKIM signatures, if a key is configured: by the domain that mails come from, so that DMARC finds them aligned."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from pathlib import Path

from newsletter.errors import SettingsError
from newsletter.mail.letter import Message
from newsletter.mail.signing import Signer
from newsletter.settings import Settings


def signed(settings: Settings, message: Message, domain: str, at: datetime) -> Message:
    """The message with its signature before it; as it is, if no key is configured.

    Raises:
        SettingsError: the key cannot be used.
    """
    if settings.dkim_key_file is None:
        return message
    signer = _signer(settings.dkim_key_file, settings.dkim_selector, domain)
    field = signer.sign(message.head, message.body, int(at.timestamp()))
    return Message(message.return_path, field + message.content, len(field) + message.head_size)


@lru_cache(maxsize=100)
def _signer(key_file: Path, selector: str, domain: str) -> Signer:
    try:
        pem = key_file.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"NEWSLETTER_DKIM_KEY_FILE is not usable: {key_file} cannot be read: {error.strerror}."
        ) from None
    return Signer(domain, selector, pem)


def check_key(settings: Settings) -> None:
    """Refuse an unusable key before work begins.

    Raises:
        SettingsError: says what is wrong with it.
    """
    if settings.dkim_key_file is not None:
        _signer(settings.dkim_key_file, settings.dkim_selector, "example.org")
