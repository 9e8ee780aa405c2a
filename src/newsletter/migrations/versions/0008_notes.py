"""An editor's note for a run, by language."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up; there is no way down."""
    op.add_column("runs", sa.Column("notes", sa.Text(), server_default="{}", nullable=False))
