"""Editions are packed, and due subscriptions found in the order in which a run takes them."""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from newsletter.packing import pack

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MANY = 1000


def upgrade() -> None:
    """Store item ids and keys as bytes; old keys stay what they were, a hash that nothing computes again."""
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        _rewrite(connection)
    else:
        _alter(connection)
    op.drop_index("ix_subscriptions_due", "subscriptions")
    op.create_index("ix_subscriptions_due", "subscriptions", ["list_id", "due_at", "id"], unique=False)


def _rewrite(connection: sa.Connection) -> None:
    """SQLite cannot change a column. Deliveries point at editions: that is checked when these are back."""
    connection.execute(sa.text("PRAGMA defer_foreign_keys = ON"))
    connection.execute(sa.text("CREATE TEMPORARY TABLE unpacked AS SELECT * FROM editions"))
    op.drop_table("editions")
    editions = op.create_table(
        "editions",
        sa.Column("id", Id, nullable=False),
        sa.Column("run_id", Id, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("language", sa.String(length=16), nullable=False),
        sa.Column("item_ids", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_editions_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_editions")),
        sa.UniqueConstraint("run_id", "key", name=op.f("uq_editions_run_id_key")),
    )
    for rows in _batches(connection, "SELECT id, run_id, key, language, item_ids FROM unpacked"):
        connection.execute(
            sa.insert(editions),
            [{**row, "key": bytes.fromhex(row["key"]), "item_ids": pack(json.loads(row["item_ids"]))} for row in rows],
        )
    connection.execute(sa.text("DROP TABLE unpacked"))


def _alter(connection: sa.Connection) -> None:
    op.add_column("editions", sa.Column("packed", sa.LargeBinary()))
    for rows in _batches(connection, "SELECT id, item_ids FROM editions"):
        connection.execute(
            sa.text("UPDATE editions SET packed = :packed WHERE id = :id"),
            [{"id": row["id"], "packed": pack(json.loads(row["item_ids"]))} for row in rows],
        )
    op.drop_column("editions", "item_ids")
    op.alter_column("editions", "packed", new_column_name="item_ids", nullable=False)
    op.execute("ALTER TABLE editions ALTER COLUMN key TYPE bytea USING decode(key, 'hex')")


def _batches(connection: sa.Connection, query: str) -> Iterator[list[Any]]:
    """The rows of a query on a table with ids, some at a time."""
    last = 0
    while (
        rows := connection.execute(sa.text(f"{query} WHERE id > :last ORDER BY id LIMIT {MANY}"), {"last": last})
        .mappings()
        .all()
    ):
        yield list(rows)
        last = rows[-1]["id"]
