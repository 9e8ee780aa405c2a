"""What this installation stands on: settings, database, Redis, relays."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import redis
from sqlalchemy import Engine, make_url, select, text

from newsletter.audience.suppressions import counts_by_lost_key
from newsletter.database import reading
from newsletter.delivery.composing.signatures import check_key
from newsletter.delivery.relays import INBOX, LOCAL, relays_of
from newsletter.delivery.shares import senders, usable_for
from newsletter.delivery.smtp.probing import probe
from newsletter.doctor.findings import Finding, Level, clock, clock_said
from newsletter.environment import unknown_names
from newsletter.errors import SettingsError
from newsletter.feedback.mailbox import mailbox_of
from newsletter.settings import Settings
from newsletter.tables import lists

ANSWER_SECONDS = 4
MOMENT = re.compile(r"(?:\w{3}, )?\d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}")
"""As many servers say it in their greeting."""


def configuration(settings: Settings) -> Iterator[Finding]:
    """Whether the settings can be used, and are fit for readers."""
    parts: tuple[tuple[str, Callable[[], object]], ...] = (
        ("NEWSLETTER_SECRET_KEY", lambda: settings.key),
        ("NEWSLETTER_BASE_URL", lambda: settings.site),
        ("NEWSLETTER_SMTP_URL", lambda: relays_of(settings)),
        ("NEWSLETTER_LEAVE_MAILBOX", lambda: mailbox_of(settings)),
        ("DKIM keys", lambda: check_key(settings)),
    )
    bad = 0
    for name, value in parts:
        try:
            value()
        except SettingsError as error:
            bad += 1
            yield Finding("settings", Level.ERROR, name, error.message, "Workers refuse to start.", error.hint)
    for name, mend in unknown_names(Settings.model_fields):
        bad += 1
        yield Finding("settings", Level.WARNING, name, "It is no setting.", "What it says is not used.", mend)
    private = [settings.key_file, *settings.home.glob("dkim/*/*.pem"), settings.dkim_key_file]
    for file in private:
        if file is not None and file.exists() and file.stat().st_mode & 0o077:
            bad += 1
            yield Finding(
                "settings", Level.WARNING, str(file), "Others on this machine can read this key.",
                "Whoever has it can sign mails or links in your name.", f"chmod 600 {file}",
            )  # fmt: skip
    for path, what, mode in _of_readers(settings):
        if path.exists() and path.stat().st_mode & 0o077:
            bad += 1
            yield Finding(
                "settings", Level.WARNING, str(path), f"Others on this machine can read this {what}.",
                "Readers' addresses and digests are in it.", f"chmod {mode} {path}",
            )  # fmt: skip
    if settings.base_url:
        parts_of_url = urlsplit(settings.base_url)
        if parts_of_url.scheme != "https" and parts_of_url.hostname not in LOCAL:
            bad += 1
            yield Finding(
                "settings", Level.ERROR, "NEWSLETTER_BASE_URL", "Links in mails begin with http://.",
                "Leaving by one click needs https (RFC 8058), and large providers ask for it.",
                f"NEWSLETTER_BASE_URL=https://{parts_of_url.netloc}",
            )  # fmt: skip
    if not bad:
        yield Finding("settings", Level.OK, "", "All can be used.")


def carriers(settings: Settings, engine: Engine) -> Iterator[Finding]:
    """Lists that no relay carries, and relays that carry what is no list."""
    relays = relays_of(settings)
    with reading(engine) as connection:
        known = {row.slug: row.archived_at is None for row in connection.execute(select(lists))}
    for relay in relays:
        for slug in sorted(relay.lists - known.keys()):
            yield Finding(
                "lists", Level.WARNING, slug, f"Relay {relay.name} is to carry {slug}, and there is no such list.",
                "If the name is wrong, the list that was meant goes through other relays, or through none.",
                f"Its lists may be: {', '.join(known) or 'all'}.",
            )  # fmt: skip
    for slug in (slug for slug, is_open in known.items() if is_open):
        if not usable_for(relays, slug):
            yield Finding(
                "lists", Level.ERROR, slug, f"No relay carries {slug}.", "Its mails wait until one does.",
                f"Add {slug} to the lists of a relay, or leave lists out, so that it carries all.",
            )  # fmt: skip


def _of_readers(settings: Settings) -> Iterator[tuple[Path, str, int]]:
    """Where readers' data are kept, what it is, and the mode that it should have."""
    yield settings.home, "folder", 700
    url = make_url(settings.database)
    file = Path(url.database or "")
    if url.get_backend_name() == "sqlite" and settings.home.absolute() not in file.absolute().parents:
        yield file, "file", 600


def database(engine: Engine, settings: Settings) -> Iterator[Finding]:
    """Of a database that answers and is of this version: keys that it needs; its clock, if it is on a server."""
    yield Finding("database", Level.OK, engine.dialect.name, "It answers, and is up to date.")
    with reading(engine) as connection:
        lost = counts_by_lost_key(connection, settings.keys if settings.has_key else ())
    for name, count in lost.items():
        yield Finding(
            "database", Level.WARNING, f"key {name}",
            f"The secret key of this fingerprint is not there, and {count} of the suppressions were made under it.",
            "Who is suppressed so can be imported and mailed again, and links that it signed open nothing.",
            f"Add the copy of it to {settings.key_file}, as a line after the others.",
        )  # fmt: skip
    if engine.dialect.name == "postgresql":
        with reading(engine) as connection:
            theirs = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        yield clock("the database", theirs, datetime.now(UTC))


def bell(settings: Settings) -> Iterator[Finding]:
    """Whether Redis or Valkey answers, and its clock."""
    if not settings.redis_url:
        yield Finding("redis", Level.OK, "embedded", "`newsletter up` starts it.")
        return
    place = urlsplit(settings.redis_url)
    about = f"{place.hostname}:{place.port or 6379}"
    try:
        with redis.Redis.from_url(
            settings.redis_url, socket_connect_timeout=ANSWER_SECONDS, socket_timeout=ANSWER_SECONDS
        ) as client:
            seconds, micros = client.time()
            version = client.info("server").get("redis_version", "")
    except (redis.RedisError, OSError) as error:
        yield Finding(
            "redis", Level.ERROR, about, f"It does not answer: {str(error).rstrip('.')}.",
            "Beat cannot call workers: no digest is sent until it is back. Nothing is lost meanwhile.",
            "Start it, or set NEWSLETTER_REDIS_URL to where it listens.",
        )  # fmt: skip
        return
    yield Finding("redis", Level.OK, about, f"It answers (version {version}).")
    yield clock("Redis", datetime.fromtimestamp(seconds + micros / 1e6, UTC), datetime.now(UTC))


def relays(settings: Settings, domains: Mapping[str, str]) -> Iterator[Finding]:
    """Whether each relay can be reached, proves who it is, lets us in, and takes mails of its lists.

    ``domains``: that these come from, by slug.
    """
    for relay in relays_of(settings):
        if relay.name == INBOX:
            yield Finding(
                "relay", Level.WARNING, INBOX, "There is no relay: mails go to the built-in inbox.",
                "Nothing reaches a reader.", "NEWSLETTER_SMTP_URL=smtp+starttls://user:password@mail.example.org:587",
            )  # fmt: skip
            continue
        tried = probe(relay, ANSWER_SECONDS, senders(relay, domains))
        if tried.problem:
            yield Finding(
                "relay", Level.ERROR, relay.name, tried.problem, "Mails of its lists wait until it can be used.",
                tried.mend or f"newsletter relays test {relay.name}",
            )  # fmt: skip
            continue
        login = f", {tried.login} login" if tried.login else ""
        if relay.security == "none" and relay.host not in LOCAL:
            yield Finding(
                "relay", Level.WARNING, relay.name, f"It is used without encryption{login}.",
                "Whoever is between can read the mails, and the links in them.",
                str(relay).replace("smtp://", "smtp+starttls://"),
            )  # fmt: skip
        else:
            yield Finding("relay", Level.OK, relay.name, f"It can be used ({tried.tls or 'no TLS'}{login}).")
        if said := MOMENT.search(tried.greeting):
            yield from clock_said(f"relay {relay.name}", said[0])
