"""How a list's digests are laid out, who hears of its runs, and pictures of items."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up; there is no way down."""
    for name, default in (("style", "full"), ("sections", "country"), ("header", "plain")):
        op.add_column("lists", sa.Column(name, sa.String(length=16), server_default=default, nullable=False))
    op.add_column("lists", sa.Column("logo_dark", sa.LargeBinary(), nullable=True))
    op.add_column("lists", sa.Column("logo_dark_type", sa.String(length=32), nullable=True))
    op.add_column("lists", sa.Column("reports_to", sa.Text(), server_default="[]", nullable=False))
    op.add_column("items", sa.Column("image", sa.Text(), nullable=True))
    op.add_column("items", sa.Column("image_alt", sa.Text(), server_default="", nullable=False))
