"""What the source of a retagged item said, so that importing it again does not undo the editor's tags."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up; there is no way down."""
    op.add_column("items", sa.Column("source_tags", sa.Text(), nullable=True))
