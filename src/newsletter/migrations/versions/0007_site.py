"""What the readers' site needs: transactional mail, proof of consent, changes of address, tokens for machines."""

import hashlib
import json
import re

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Up; there is no way down."""
    _notices()
    op.add_column("lists", sa.Column("brand", sa.Text(), server_default="{}", nullable=False))
    op.add_column("lists", sa.Column("logo", sa.LargeBinary(), nullable=True))
    op.add_column("lists", sa.Column("logo_type", sa.String(length=32), nullable=True))
    op.add_column("lists", sa.Column("is_public", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    op.add_column("lists", sa.Column("welcomes", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("themes", sa.Column("descriptions", sa.Text(), server_default="{}", nullable=False))
    op.add_column("subscribers", sa.Column("suppressed_at", _MOMENT, nullable=True))
    _subscriptions()
    for name, kind in (
        ("address_hash", sa.String(length=64)),
        ("network", sa.String(length=64)),
        ("page", sa.String(length=64)),
        ("wording", sa.Text()),
        ("picks", sa.Text()),
    ):
        op.add_column("consents", sa.Column(name, kind, nullable=True))
    op.add_column("suppressions", sa.Column("key_print", sa.String(length=12), nullable=True))
    _mark_suppressed()
    if op.get_bind().dialect.name == "sqlite":
        for table in ("subscribers", "subscriptions"):
            _number_once(table)
    _addresses()
    _machines()
    _tags()


def _mark_suppressed() -> None:
    """Mark the subscribers whose address is suppressed: until now each hash was plain SHA-256."""
    connection = op.get_bind()
    hashed = "encode(sha256(convert_to(email_key, 'UTF8')), 'hex')"
    if connection.dialect.name == "sqlite":
        hashed = "newsletter_sha256(email_key)"
        raw = connection.connection.dbapi_connection
        assert raw
        raw.create_function("newsletter_sha256", 1, lambda text: hashlib.sha256(text.encode()).hexdigest())
    op.execute(
        "UPDATE subscribers SET suppressed_at = found.at FROM suppressions AS found "  # noqa: S608 - no text from outside
        f"WHERE found.address_hash = {hashed}"
    )


def _number_once(table: str) -> None:
    """Have SQLite never give out a number of this table again: it cannot be told so of a table that is there."""
    connection = op.get_bind()
    made = "SELECT sql FROM sqlite_master WHERE tbl_name = :name AND type = :type AND sql IS NOT NULL"
    sql = connection.execute(sa.text(made), {"name": table, "type": "table"}).scalar_one()
    indexes = connection.scalars(sa.text(made), {"name": table, "type": "index"}).all()
    sql = sql.replace("id INTEGER NOT NULL", "id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT", 1)
    sql = re.sub(rf",\s*CONSTRAINT pk_{table} PRIMARY KEY \(id\)", "", sql)
    # Other tables point here: that is checked when the rows are back.
    for statement in (
        "PRAGMA defer_foreign_keys = ON",
        f"CREATE TEMPORARY TABLE kept AS SELECT * FROM {table}",  # noqa: S608 - two names from above
        f"DROP TABLE {table}",
        sql,
        f"INSERT INTO {table} SELECT * FROM kept",  # noqa: S608
        "DROP TABLE kept",
        *indexes,
    ):
        connection.exec_driver_sql(statement)


def _notices() -> None:
    unsent = sa.text("due_at IS NOT NULL")
    op.create_table(
        "notices",
        sa.Column("id", _ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subscriber_id", _ID, nullable=False),
        sa.Column("list_id", _ID, nullable=True),
        sa.Column("email", sa.String(length=320), nullable=True),
        sa.Column("data", sa.Text(), server_default="{}", nullable=False),
        sa.Column("asked_at", _MOMENT, nullable=False),
        sa.Column("due_at", _MOMENT, nullable=True),
        sa.Column("dated_at", _MOMENT, nullable=True),
        sa.Column("closed_at", _MOMENT, nullable=True),
        sa.Column("code", sa.SmallInteger(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscribers.id"], name=op.f("fk_notices_subscriber_id")),
        sa.ForeignKeyConstraint(["list_id"], ["lists.id"], name=op.f("fk_notices_list_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
    )
    op.create_index("ix_notices_due_at", "notices", ["due_at"], postgresql_where=unsent, sqlite_where=unsent)
    op.create_index("ix_notices_subscriber_id", "notices", ["subscriber_id"])


def _subscriptions() -> None:
    op.add_column("subscriptions", sa.Column("paused_until", _MOMENT, nullable=True))
    # Confirmation mails that are still to go out become notices.
    op.execute(
        """
        INSERT INTO notices (kind, subscriber_id, list_id, asked_at, due_at)
        SELECT 'confirm', s.subscriber_id, s.list_id, COALESCE(
            (SELECT MAX(c.at) FROM consents c
             WHERE c.subscriber_id = s.subscriber_id AND c.list_id = s.list_id AND c.event = 'asked'),
            s.created_at
        ), s.confirm_due_at
        FROM subscriptions s WHERE s.state = 'pending' AND s.confirm_due_at IS NOT NULL ORDER BY s.id
        """
    )
    op.drop_index("ix_subscriptions_confirm_due_at", "subscriptions")
    op.drop_column("subscriptions", "confirm_due_at")
    pending, pausing = sa.text("state = 'pending'"), sa.text("paused_until IS NOT NULL")
    op.create_index(
        "ix_subscriptions_pending", "subscriptions", ["created_at"], postgresql_where=pending, sqlite_where=pending
    )
    op.create_index(
        "ix_subscriptions_paused_until",
        "subscriptions",
        ["paused_until"],
        postgresql_where=pausing,
        sqlite_where=pausing,
    )


def _addresses() -> None:
    op.create_table(
        "address_changes",
        sa.Column("id", _ID, nullable=False),
        sa.Column("subscriber_id", _ID, nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("email_key", sa.String(length=320), nullable=False),
        sa.Column("asked_at", _MOMENT, nullable=False),
        sa.Column("old_confirmed_at", _MOMENT, nullable=True),
        sa.Column("new_confirmed_at", _MOMENT, nullable=True),
        sa.Column("closed_at", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["subscriber_id"], ["subscribers.id"], name=op.f("fk_address_changes_subscriber_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_address_changes")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_address_changes_subscriber_id", "address_changes", ["subscriber_id"])


def _machines() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("list_id", _ID, nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("used_at", _MOMENT, nullable=True),
        sa.Column("revoked_at", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["list_id"], ["lists.id"], name=op.f("fk_tokens_list_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("name", name=op.f("uq_tokens_name")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_tokens_token_hash")),
    )
    op.create_table(
        "requests",
        sa.Column("token_id", _ID, nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("body_hash", sa.String(length=64), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name=op.f("fk_requests_token_id")),
        sa.PrimaryKeyConstraint("token_id", "key", name=op.f("pk_requests")),
    )


def _tags() -> None:
    op.create_table(
        "item_tags",
        sa.Column("list_id", _ID, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["list_id"], ["lists.id"], name=op.f("fk_item_tags_list_id")),
        sa.PrimaryKeyConstraint("list_id", "kind", "code", "position", name=op.f("pk_item_tags")),
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    tag = sa.text("INSERT INTO item_tags (list_id, kind, code, position) VALUES (:list_id, :kind, :code, :position)")
    found = sa.text(
        "SELECT id, list_id, position, countries, regions, themes, language FROM items"
        " WHERE id > :after AND withdrawn_at IS NULL ORDER BY id LIMIT 1000"
    )
    after = 0
    while rows := connection.execute(found, {"after": after}).all():
        after = rows[-1].id
        tags = {
            (row.list_id, kind, code, row.position)
            for row in rows
            for kind, codes in (
                ("country", json.loads(row.countries)),
                ("region", json.loads(row.regions)),
                ("theme", json.loads(row.themes)),
                ("language", [row.language]),
            )
            for code in codes
        }
        names = ("list_id", "kind", "code", "position")
        connection.execute(tag, [dict(zip(names, one, strict=True)) for one in sorted(tags)])
