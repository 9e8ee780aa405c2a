"""What the readers' site needs: transactional mail, proof of consent, changes of address, tokens for machines."""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0005"
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
    op.add_column("subscriptions", sa.Column("paused_until", _MOMENT, nullable=True))
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
    _addresses()
    _machines()


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
