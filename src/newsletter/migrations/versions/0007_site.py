"""What the readers' site needs: transactional mail, proof of consent, changes of address, tokens for machines."""

import json

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
    _addresses()
    _machines()
    _tags()


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
