"""Room in the pages of subscriptions, so that moving a cursor writes no index entries on PostgreSQL."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up; there is no way down. What is there already finds room as it is rewritten."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE subscriptions SET (fillfactor = 50)")
