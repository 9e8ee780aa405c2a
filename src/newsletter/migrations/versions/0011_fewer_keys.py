"""Deliveries refer to runs, profiles and editions, of which none is ever deleted, without foreign keys."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_KEYS = ("fk_deliveries_run_id", "fk_deliveries_profile_id", "fk_deliveries_edition_id")
_CLAIMABLE = sa.text("state IN ('queued', 'deferred', 'claimed')")
_OPEN = sa.text("state IN ('held', 'queued', 'claimed', 'deferred')")


def upgrade() -> None:
    """Up; there is no way down."""
    if op.get_bind().dialect.name == "sqlite":
        _make_anew()
        return
    for name in _KEYS:
        op.drop_constraint(name, "deliveries", type_="foreignkey")


def _make_anew() -> None:
    """SQLite cannot drop a key: the table is made anew, with its indexes."""
    for name in ("ix_deliveries_due", "uq_deliveries_open", "ix_deliveries_subscription_id"):
        op.drop_index(name, "deliveries")
    with op.batch_alter_table("deliveries", recreate="always") as table:
        for name in _KEYS:
            table.drop_constraint(name, type_="foreignkey")
    op.create_index("ix_deliveries_due", "deliveries", ["due_at", "id"], sqlite_where=_CLAIMABLE)
    op.create_index("uq_deliveries_open", "deliveries", ["subscription_id"], unique=True, sqlite_where=_OPEN)
    op.create_index("ix_deliveries_subscription_id", "deliveries", ["subscription_id"])
