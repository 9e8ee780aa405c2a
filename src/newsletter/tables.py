"""Every table on one page. The words are those of docs/glossary.md; moments are UTC."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from newsletter.columns import Ids, Json, Moment

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite only numbers by itself what is called exactly INTEGER. Where rows that tokens name are deleted, it is told not
# to give a number out again (``sqlite_autoincrement``): an old link must not open what came later.
Id = BigInteger().with_variant(Integer, "sqlite")


def _id() -> Column[int]:
    return Column("id", Id, primary_key=True)


lists = Table(
    "lists",
    metadata,
    _id(),
    Column("slug", String(64), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("sender_name", String(200), nullable=False),
    Column("sender_email", String(320), nullable=False),
    Column("postal_address", Text, nullable=False),
    Column("languages", Json, nullable=False),  # ["en", "es"]; the first is the default
    Column("frequency", String(16), nullable=False),  # defaults for new subscriptions
    Column("hour", SmallInteger, nullable=False),
    Column("weekday", SmallInteger, nullable=False),  # 0 is Monday
    Column("timezone", String(64), nullable=False),
    Column("needs_approval", Boolean, nullable=False, server_default=text("false")),
    Column("max_items", SmallInteger, nullable=False),  # cards in one digest; the rest are named
    Column("last_position", BigInteger, nullable=False, server_default="0"),
    Column("created_at", Moment, nullable=False),
    Column("archived_at", Moment),
    Column("brand", Json, nullable=False, server_default="{}"),  # colours of pages and mails by name
    Column("logo", LargeBinary),
    Column("logo_type", String(32)),
    Column("is_public", Boolean, nullable=False, server_default=text("true")),  # subscribe page, archive and feed
    Column("welcomes", Boolean, nullable=False, server_default=text("false")),  # with the latest digest
    Column("style", String(16), nullable=False, server_default="full"),  # of a digest: full, compact
    Column("sections", String(16), nullable=False, server_default="country"),  # what headings name: country, theme
    Column("header", String(16), nullable=False, server_default="plain"),  # of a mail: plain, band
    Column("logo_dark", LargeBinary),
    Column("logo_dark_type", String(32)),
    Column("reports_to", Json, nullable=False, server_default="[]"),  # addresses that hear of its runs
)

themes = Table(
    "themes",
    metadata,
    _id(),
    Column("list_id", Id, ForeignKey("lists.id"), nullable=False),
    Column("slug", String(64), nullable=False),
    Column("names", Json, nullable=False),  # {"en": "Protection", "es": "Protección"}
    Column("parent_slug", String(64)),
    Column("descriptions", Json, nullable=False, server_default="{}"),  # a sentence, by language
    UniqueConstraint("list_id", "slug"),
)

items = Table(
    "items",
    metadata,
    _id(),
    Column("list_id", Id, ForeignKey("lists.id"), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("key", String(80), nullable=False),  # hash of id, else URL, else title and date
    Column("external_id", String(400)),
    Column("title", Text, nullable=False),
    Column("summary", Text, nullable=False),  # plain text, paragraphs parted by a blank line
    Column("body", Text, nullable=False, server_default=""),  # cleaned HTML, for the item's own page
    Column("url", Text),
    Column("language", String(16), nullable=False),
    Column("source", String(200), nullable=False, server_default=""),
    Column("published_at", Moment, nullable=False),
    Column("countries", Json, nullable=False),  # ["GT", "HN"], in the editor's order
    Column("regions", Json, nullable=False),  # ["013"]
    Column("themes", Json, nullable=False),  # ["protection"]
    Column("revision", Integer, nullable=False, server_default="1"),
    Column("created_at", Moment, nullable=False),
    Column("revised_at", Moment, nullable=False),
    Column("withdrawn_at", Moment),
    Column("source_tags", Json),  # what its source said last, by kind, once an editor has set other tags
    Column("image", Text),  # URL of a picture
    Column("image_alt", Text, nullable=False, server_default=""),
    UniqueConstraint("list_id", "position"),
    UniqueConstraint("list_id", "key"),
)

item_tags = Table(
    "item_tags",
    metadata,
    # What items carry, for finding them: a row for each tag of each item that is not withdrawn. The key is the index.
    Column("list_id", Id, ForeignKey("lists.id"), primary_key=True, autoincrement=False),
    Column("kind", String(16), primary_key=True),  # country, region, theme, language
    Column("code", String(64), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),  # of the item
    sqlite_with_rowid=False,
)

profiles = Table(
    "profiles",
    metadata,
    _id(),
    Column("key", String(64), nullable=False, unique=True),  # hash of the picks
    Column("countries", Json, nullable=False),
    Column("regions", Json, nullable=False),
    Column("themes", Json, nullable=False),
    Column("languages", Json, nullable=False),  # item languages; empty means all, as everywhere in picks
)

subscribers = Table(
    "subscribers",
    metadata,
    _id(),
    Column("email", String(320), nullable=False),
    Column("email_key", String(320), nullable=False, unique=True),  # the form in which addresses are compared
    Column("name", String(200), nullable=False, server_default=""),
    Column("language", String(16), nullable=False),
    Column("timezone", String(64), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("erased_at", Moment),
    Column("failed_at", Moment),  # the last time that a relay refused a digest for good, with its code and text
    Column("failure_code", SmallInteger),
    Column("failure", Text),
    Column("suppressed_at", Moment),  # since when this address is among the suppressions
    sqlite_autoincrement=True,
)

_pending = text("state = 'pending'")
_pausing = text("paused_until IS NOT NULL")

subscriptions = Table(
    "subscriptions",
    metadata,
    _id(),
    Column("list_id", Id, ForeignKey("lists.id"), nullable=False),
    Column("subscriber_id", Id, ForeignKey("subscribers.id"), nullable=False),
    Column("profile_id", Id, ForeignKey("profiles.id"), nullable=False),
    Column("state", String(16), nullable=False),  # pending, active, paused, unsubscribed
    Column("frequency", String(16), nullable=False),  # immediate, daily, weekly, monthly
    Column("hour", SmallInteger, nullable=False),
    Column("weekday", SmallInteger, nullable=False),
    Column("start", BigInteger, nullable=False),  # the cursor it began with
    Column("cursor", BigInteger, nullable=False),
    Column("due_at", Moment),  # the next slot; null unless active
    Column("last_run_id", Id),
    Column("last_outcome", String(32)),  # what the last run made of it: digests.shards.Outcome
    Column("created_at", Moment, nullable=False),
    Column("paused_until", Moment),  # when to go on by itself; null unless paused until a day
    UniqueConstraint("list_id", "subscriber_id"),
    Index("ix_subscriptions_due", "list_id", "due_at", "id"),  # in the order in which a run takes them
    # Asked at each tick: who never confirmed, and whose pause is over.
    Index("ix_subscriptions_pending", "created_at", postgresql_where=_pending, sqlite_where=_pending),
    Index("ix_subscriptions_paused_until", "paused_until", postgresql_where=_pausing, sqlite_where=_pausing),
    Index("ix_subscriptions_subscriber_id", "subscriber_id"),
    # Each run writes a row, and each acceptance does: with room in its page, the latter needs no new index entries.
    postgresql_with={"fillfactor": 50},
    sqlite_autoincrement=True,
)

consents = Table(
    "consents",
    metadata,
    _id(),
    Column("subscriber_id", Id, ForeignKey("subscribers.id"), nullable=False),
    Column("list_id", Id, ForeignKey("lists.id"), nullable=False),
    Column("at", Moment, nullable=False),
    Column("event", String(16), nullable=False),  # asked, confirmed, imported, changed, unsubscribed
    Column("source", Text, nullable=False),  # where it was given, in the admin's or the importer's words
    Column("address_hash", String(64)),  # whose it was, when it was given: audience.consents
    Column("network", String(64)),  # the network it came from: 203.0.113.0/24, 2001:db8::/48
    Column("page", String(64)),  # the version of the page it was given on
    Column("wording", Text),  # exactly what was agreed to
    Column("picks", Json),  # picks and schedule at that time
    Index("ix_consents_subscriber_id", "subscriber_id"),
)

_unsent = text("due_at IS NOT NULL")
_report = text("subscriber_id IS NULL")

notices = Table(
    "notices",
    metadata,
    _id(),
    Column("kind", String(16), nullable=False),  # audience.notices.Kind
    Column("subscriber_id", Id, ForeignKey("subscribers.id")),  # null: a report on a run, to an admin
    Column("list_id", Id, ForeignKey("lists.id")),
    Column("email", String(320)),  # another address than the subscriber's: the new one, when it changes; an admin's
    Column("data", Json, nullable=False, server_default="{}"),
    Column("asked_at", Moment, nullable=False),
    Column("due_at", Moment),  # when to send it; null once it is out or given up
    Column("dated_at", Moment),  # the Date header: the first claim
    Column("closed_at", Moment),
    Column("code", SmallInteger),  # the relay's last answer
    Column("answer", Text),
    # Asked twice a second while digests run: transactional mail overtakes them.
    Index("ix_notices_due_at", "due_at", postgresql_where=_unsent, sqlite_where=_unsent),
    Index("ix_notices_subscriber_id", "subscriber_id"),
    # Of a run an address hears once, whoever takes the run up again: its number is all that the data of a report are.
    Index("uq_notices_report", "kind", "email", "data", unique=True, postgresql_where=_report, sqlite_where=_report),
    sqlite_autoincrement=True,
)

address_changes = Table(
    "address_changes",
    metadata,
    _id(),
    Column("subscriber_id", Id, ForeignKey("subscribers.id"), nullable=False),
    Column("email", String(320), nullable=False),  # the new address
    Column("email_key", String(320), nullable=False),
    Column("asked_at", Moment, nullable=False),
    Column("old_confirmed_at", Moment),
    Column("new_confirmed_at", Moment),
    Column("closed_at", Moment),  # done, or given up
    Index("ix_address_changes_subscriber_id", "subscriber_id"),
    sqlite_autoincrement=True,
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("address_hash", String(64), primary_key=True),  # of the comparable address: audience.suppressions
    Column("reason", String(200), nullable=False),
    Column("at", Moment, nullable=False),
    Column("key_print", String(12)),  # fingerprint of the secret key that it is made under; null: plain SHA-256
)

runs = Table(
    "runs",
    metadata,
    _id(),
    Column("list_id", Id, ForeignKey("lists.id"), nullable=False),
    Column("slot", Moment, nullable=False),
    Column("upper", BigInteger, nullable=False),  # the position it covers
    Column("state", String(16), nullable=False),  # assembling, held, sending, done, cancelled
    Column("needs_approval", Boolean, nullable=False, server_default=text("false")),
    Column("started_by", String(16), nullable=False),  # beat, admin
    Column("examined", Integer, nullable=False, server_default="0"),  # subscriptions looked at
    Column("opened_at", Moment, nullable=False),
    Column("assembled_at", Moment),
    Column("approved_at", Moment),
    Column("finished_at", Moment),
    Column("notes", Json, nullable=False, server_default="{}"),  # the editor's, in Markdown, by language
    UniqueConstraint("list_id", "slot"),
    Index("ix_runs_state", "state"),
)

editions = Table(
    "editions",
    metadata,
    _id(),
    Column("run_id", Id, ForeignKey("runs.id"), nullable=False),
    Column("key", LargeBinary, nullable=False),  # hash of language and item ids
    Column("language", String(16), nullable=False),
    Column("item_ids", Ids, nullable=False),  # in order of position
    UniqueConstraint("run_id", "key"),
)

OPEN = ("held", "queued", "claimed", "deferred")
CLOSED = ("sent", "failed", "expired", "cancelled", "dropped", "withdrawn")
CLAIMABLE = ("queued", "deferred", "claimed")
_claimable = text("state IN ('queued', 'deferred', 'claimed')")
_open = text("state IN ('held', 'queued', 'claimed', 'deferred')")

deliveries = Table(
    "deliveries",
    metadata,
    _id(),
    # Runs, profiles and editions are never deleted: to have each looked up again took a quarter of an assembly.
    Column("run_id", Id, nullable=False),
    Column("subscription_id", Id, ForeignKey("subscriptions.id"), nullable=False),
    Column("profile_id", Id, nullable=False),
    Column("edition_id", Id, nullable=False),
    Column("lower", BigInteger, nullable=False),  # the cursor at assembly: it covers (lower, run's upper]
    Column("state", String(16), nullable=False),  # one of OPEN or CLOSED
    Column("due_at", Moment, nullable=False),  # not to be claimed before
    Column("deadline", Moment, nullable=False),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("claim", String(36)),  # the owner: the worker process that holds it, and the name of its journal
    Column("claimed_at", Moment),
    Column("dated_at", Moment),  # the Date header: the first claim, so that a resend is the same message
    Column("doubtful", Boolean, nullable=False, server_default=text("false")),  # an answer was lost: may arrive twice
    Column("code", SmallInteger),  # the relay's last answer
    Column("answer", Text),
    Column("body_hash", String(64)),  # of the message handed over: ledger.content_hash
    Column("closed_at", Moment),
    Column("relay", String(255)),  # whose answer it is
    UniqueConstraint("run_id", "subscription_id"),
    # In the order in which they are claimed, and without those that are closed: a million of them cost nothing.
    Index("ix_deliveries_due", "due_at", "id", postgresql_where=_claimable, sqlite_where=_claimable),
    # Promise 2, kept by the database itself: a subscription has at most one open delivery.
    Index("uq_deliveries_open", "subscription_id", unique=True, postgresql_where=_open, sqlite_where=_open),
    Index("ix_deliveries_subscription_id", "subscription_id"),
)

tokens = Table(
    "tokens",
    metadata,
    _id(),
    Column("name", String(100), nullable=False, unique=True),
    Column("token_hash", String(64), nullable=False, unique=True),  # the token itself is shown once
    Column("scopes", Json, nullable=False),  # ["items:write"]
    Column("list_id", Id, ForeignKey("lists.id")),  # null: every list
    Column("created_at", Moment, nullable=False),
    Column("used_at", Moment),
    Column("revoked_at", Moment),
)

requests = Table(
    "requests",
    metadata,
    Column("token_id", Id, ForeignKey("tokens.id"), primary_key=True),
    Column("key", String(200), primary_key=True),  # Idempotency-Key
    Column("body_hash", String(64), nullable=False),
    Column("at", Moment, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("answer", Text, nullable=False),
)

relays = Table(
    "relays",
    metadata,
    Column("name", String(255), primary_key=True),  # of the configuration; a row is made when there is something to say
    Column("paused_at", Moment),  # by an admin, until resumed
    Column("rests_until", Moment),  # after a failure, until then
    Column("failures", Integer, nullable=False, server_default="0"),  # one after the other, without success between
    Column("last_error", Text),
    Column("last_error_at", Moment),
    Column("last_ok_at", Moment),
)
