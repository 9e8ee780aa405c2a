"""Notices to admins, who are no subscribers; the number of a notice, which a link may name, is given once."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_UNSENT, _REPORT = sa.text("due_at IS NOT NULL"), sa.text("subscriber_id IS NULL")


def upgrade() -> None:
    """Up; there is no way down."""
    if op.get_bind().dialect.name == "sqlite":
        _make_anew()
    else:
        op.alter_column("notices", "subscriber_id", existing_type=_ID, nullable=True)
    op.create_index(
        "uq_notices_report",
        "notices",
        ["kind", "email", "data"],
        unique=True,
        postgresql_where=_REPORT,
        sqlite_where=_REPORT,
    )


def _make_anew() -> None:
    """SQLite cannot change a column: the table is made anew, with its indexes."""
    for name in ("ix_notices_due_at", "ix_notices_subscriber_id"):
        op.drop_index(name, "notices")
    with op.batch_alter_table("notices", recreate="always", table_kwargs={"sqlite_autoincrement": True}) as table:
        table.alter_column("subscriber_id", existing_type=_ID, nullable=True)
    op.create_index("ix_notices_due_at", "notices", ["due_at"], sqlite_where=_UNSENT)
    op.create_index("ix_notices_subscriber_id", "notices", ["subscriber_id"])
