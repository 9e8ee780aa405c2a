"""Configuration: one name a value, read once at the rim and passed down.

Order, the first that says something wins: environment, ``.env``, ``newsletter.toml``, the defaults below.
Every name carries the prefix ``NEWSLETTER_`` in the environment and none in the TOML file.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cached_property
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from newsletter import checking, environment
from newsletter.errors import SettingsError

LEASE_TIMEOUTS = 20
"""A lease outlasts this many answers: those to one message (15, the long ones to dots included), with room."""

# RFC 2606: nobody can own it. What the capture inbox holds is what a relay would get, https links included.
PLACEHOLDER_SITE = "https://newsletter.example"


def _tables(value: object) -> object:
    """What the environment says is text: it can only leave the tables of the file out."""
    if value == "none":
        return {}
    if isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - pydantic makes a sentence of it
            "relays are tables [relays.NAME] in newsletter.toml; in the environment NEWSLETTER_SMTP_URL takes "
            "several URLs, and NEWSLETTER_RELAYS only `none`"
        )
    return value


def _unknown(name: str, known: list[str]) -> SettingsError:
    meant = get_close_matches(name.lower().removeprefix("newsletter_"), known, 1)
    return SettingsError(
        f"newsletter.toml: {name!r} is no setting.",
        f"Did you mean {meant[0]}?" if meant else "See docs/configuration.md.",
    )


class _Table(TomlConfigSettingsSource):
    """``newsletter.toml``, which begins with a byte order mark where Windows' editor wrote it; ``.env`` may, too."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        return tomllib.loads(file_path.read_text("utf-8-sig"))


class Settings(BaseSettings):
    """Every configuration value, with its default and what it means."""

    model_config = SettingsConfigDict(
        env_prefix="NEWSLETTER_",
        env_file=".env",
        toml_file="newsletter.toml",
        extra="ignore",
        env_ignore_empty=True,
    )

    home: Path = Field(Path(".newsletter"), description="Folder for the embedded database, queue and secret key.")
    database_url: str = Field(
        "", description="SQLAlchemy URL of SQLite or PostgreSQL. Empty: SQLite in NEWSLETTER_HOME."
    )
    redis_url: Annotated[str, AfterValidator(checking.queue_url)] = Field(
        "", description="Redis or Valkey. Empty: an embedded Valkey, started by `up` and `demo`."
    )
    smtp_url: str = Field(
        "",
        repr=False,
        description="Relays, with spaces between: smtp://, smtp+starttls:// or smtps://, with user:password@ and "
        "?options if need be. Empty: the built-in capture inbox.",
    )
    relays: Annotated[dict[str, dict[str, Any]], NoDecode, BeforeValidator(_tables)] = Field(
        {}, repr=False, description="Relays as tables of newsletter.toml, by name."
    )
    base_url: Annotated[str, AfterValidator(checking.site_url)] = Field(
        "",
        description="Where readers reach the site; links in mails begin with it. Needed with a relay. "
        "Empty: a placeholder, whose links open in the built-in inbox.",
    )
    secret_key: SecretStr = Field(
        SecretStr(""),
        description="Signs links. At least 32 characters; several with spaces between, newest first. "
        "Empty: those in secret.key in NEWSLETTER_HOME, made by `init` and `keys rotate`.",
    )
    leave_mailbox: str = Field(
        "",
        repr=False,
        description="Mailbox for those who leave by mail, read every two minutes: imaps://user:password@host/folder, "
        "with ?address= if the user is not the address and ?password_file= if need be. Empty: leaving by link only.",
    )
    site_hosts: Annotated[str, AfterValidator(checking.host_names)] = Field(
        "", description="Other names that the readers' site answers to, besides the base URL's; with spaces between."
    )
    trusted_proxies: Annotated[str, AfterValidator(checking.networks)] = Field(
        "127.0.0.1 ::1",
        description="Proxies that are believed whom they ask for: addresses, networks, with spaces between; or `none`.",
    )
    tick_seconds: int = Field(60, ge=1, le=3600, description="How often beat asks the database what is due.")
    workers: int = Field(2, ge=1, le=256, description="Celery worker processes that `up` and `worker` start.")
    lease_seconds: int = Field(
        600, ge=20, le=86400, description="After this long a claimed delivery is taken from a silent worker."
    )
    smtp_timeout: int = Field(30, ge=1, le=600, description="Seconds to wait for each answer of the relay.")
    smtp_ca_file: Annotated[Path | None, AfterValidator(checking.present_file)] = Field(
        None, description="CA certificates to trust for the relay besides the system's."
    )
    dkim_key_file: Path | None = Field(
        None,
        description="PEM file of a private key (RSA, Ed25519) that mails of every domain are signed with, instead of "
        "the keys that `dkim create` makes.",
    )
    dkim_selector: str = Field(
        "newsletter", description="DKIM selector: the public key stands at SELECTOR._domainkey of each sender's domain."
    )
    inbox_host: Annotated[str, AfterValidator(checking.host_name)] = Field(
        "127.0.0.1", description="Address that the capture inbox listens on."
    )
    inbox_web_port: int = Field(
        8025, ge=0, le=65535, description="Port of the inbox in the browser; 0 picks a free one."
    )
    inbox_smtp_port: int = Field(
        1025, ge=0, le=65535, description="Port of the inbox's SMTP server; 0 picks a free one."
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least level that is logged.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add ``newsletter.toml`` below the environment."""
        table = _Table(settings_cls)
        for name in table.toml_data.keys() - settings_cls.model_fields.keys():
            raise _unknown(name, list(settings_cls.model_fields))
        return (init_settings, env_settings, dotenv_settings, table)

    @cached_property
    def database(self) -> str:
        """The database URL, the default filled in; ``postgres://``, as hosts write it, is made readable."""
        if not self.database_url:
            return f"sqlite:///{(self.home / 'newsletter.db').absolute()}"
        if self.database_url.startswith("postgres://"):
            return "postgresql://" + self.database_url.removeprefix("postgres://")
        return self.database_url

    @cached_property
    def site(self) -> str:
        """What links in mails begin with, without a slash at the end.

        Raises:
            SettingsError: there is a relay, and so there may be readers, but no address for their links.
        """
        if self.base_url:
            return self.base_url.rstrip("/")
        if self.smtp_url or self.relays:
            raise SettingsError(
                "NEWSLETTER_BASE_URL is not set, and links in mails have to lead somewhere.",
                "Set it to where readers reach the site: https://news.example.org",
            )
        return PLACEHOLDER_SITE

    @property
    def proxies(self) -> tuple[str, ...]:
        """Networks of the proxies that are believed."""
        return () if self.trusted_proxies == "none" else tuple(self.trusted_proxies.split())

    @property
    def key_file(self) -> Path:
        """Where ``init`` keeps the secret key if none is configured."""
        return self.home / "secret.key"

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The secret keys that still verify, newest first; at least one.

        Raises:
            SettingsError: neither configured nor made by ``init``, or one is too short.
        """
        text = self.secret_key.get_secret_value() or self._kept_keys()
        if not text.split():
            raise SettingsError(
                f"There is no secret key in {self.key_file}.",
                "Put the copy of it back, or set NEWSLETTER_SECRET_KEY. Only where there never was one: "
                "`newsletter init`.",
            )
        keys = tuple(dict.fromkeys(text.split()))
        if min(map(len, keys)) < 32:
            raise SettingsError(
                "NEWSLETTER_SECRET_KEY holds a key that is shorter than 32 characters."
                if self.secret_key.get_secret_value()
                else f"{self.key_file} holds a key that is shorter than 32 characters.",
                "Make one with `openssl rand -hex 32`; several stand with spaces between, the newest first.",
            )
        return keys

    @property
    def key(self) -> str:
        """The newest secret key, which signs.

        Raises:
            SettingsError: as ``keys``.
        """
        return self.keys[0]

    def _kept_keys(self) -> str:
        """What the key file holds, a key a line; an empty one is as good as none."""
        if not self.key_file.exists():
            return ""
        try:
            return self.key_file.read_text("utf-8").strip()
        except UnicodeDecodeError:
            raise SettingsError(
                f"{self.key_file} is not text, and so no secret key.",
                "Put the copy of the key in its place.",
            ) from None

    def make_home(self) -> None:
        """Make the state folder, for its owner's eyes only, unless it is there."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def has_key(self) -> bool:
        """Whether there is a secret key, of whatever length.

        Raises:
            SettingsError: the key file holds something else.
        """
        return bool(self.secret_key.get_secret_value() or self._kept_keys())

    def make_key(self) -> bool:
        """Write a fresh key, readable by the owner only, unless there is one. True if it was made.

        Raises:
            SettingsError: the key file holds something else.
        """
        if self.has_key:
            return False
        self.make_home()
        self.write_keys([fresh_key()])
        return True

    def write_keys(self, keys: Sequence[str]) -> None:
        """Put these keys, newest first, into the key file, for its owner's eyes only.

        ``keys`` of these settings stay as they were read.
        """
        write_private(self.key_file, "".join(f"{key}\n" for key in keys))


def write_private(file: Path, text: str) -> None:
    """Put a text into a file that only its owner can read; its folder is there."""
    # Renamed when it is whole: whoever is killed here leaves the old file, and never an empty one.
    number, temporary = tempfile.mkstemp(prefix=".key-", dir=file.parent)
    try:
        with os.fdopen(number, "w") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(number)
        os.replace(temporary, file)
    finally:
        Path(temporary).unlink(missing_ok=True)


def fresh_key() -> str:
    """A secret key: 256 random bits in hexadecimal."""
    return secrets.token_hex(32)


def load_settings(**given: object) -> Settings:
    """Read the configuration; ``given`` goes before everything else.

    Raises:
        SettingsError: names the value and what is wrong with it, or says that the file cannot be read.
    """
    try:
        environment.check_lines()
        settings = Settings(**given)  # type: ignore[arg-type]
    except UnicodeDecodeError:
        name = next((name for name in (".env", "newsletter.toml") if not _is_utf8(Path(name))), "The configuration")
        raise SettingsError(f"{name} is not UTF-8 text.", "Save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"newsletter.toml is no TOML: {error}.", "See docs/configuration.md.") from None
    except ValidationError as error:
        first = error.errors()[0]
        name = "NEWSLETTER_" + "_".join(str(part) for part in first["loc"]).upper()
        reason = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{name} is not usable: {reason}.", "See docs/configuration.md.") from None
    if settings.lease_seconds < LEASE_TIMEOUTS * settings.smtp_timeout:
        raise SettingsError(
            f"NEWSLETTER_LEASE_SECONDS is not usable: {settings.lease_seconds} is less than {LEASE_TIMEOUTS} times "
            f"NEWSLETTER_SMTP_TIMEOUT, so that a relay that thinks long would get mails twice.",
            f"Set it to {LEASE_TIMEOUTS * settings.smtp_timeout} or more.",
        )
    return settings


def _is_utf8(file: Path) -> bool:
    try:
        file.read_text("utf-8")
    except UnicodeDecodeError:
        return False
    except OSError:
        pass
    return True
