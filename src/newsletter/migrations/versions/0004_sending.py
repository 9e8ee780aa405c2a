"""What relays refused for good goes to the subscriber; which relay answered; an index in the order of claims."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up; there is no way down."""
    op.add_column("deliveries", sa.Column("relay", sa.String(length=255), nullable=True))
    op.add_column("subscribers", sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("subscribers", sa.Column("failure_code", sa.SmallInteger(), nullable=True))
    op.add_column("subscribers", sa.Column("failure", sa.Text(), nullable=True))
    claimable = sa.text("state IN ('queued', 'deferred', 'claimed')")
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["due_at", "id"],
        unique=False,
        postgresql_where=claimable,
        sqlite_where=claimable,
    )
    asked = sa.text("confirm_due_at IS NOT NULL")
    op.create_index(
        "ix_subscriptions_confirm_due_at",
        "subscriptions",
        ["confirm_due_at"],
        unique=False,
        postgresql_where=asked,
        sqlite_where=asked,
    )
    op.drop_index("ix_deliveries_ready", table_name="deliveries")
