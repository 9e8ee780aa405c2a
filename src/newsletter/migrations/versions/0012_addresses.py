"""Addresses are compared in small letters, and no longer with their case folded, which took different ones for one."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up; there is no way down."""
    connection = op.get_bind()
    for table in ("subscribers", "address_changes"):
        known = sa.table(table, sa.column("id"), sa.column("email"), sa.column("email_key"))
        size = sa.func.length(sa.cast(known.c.email, sa.LargeBinary))
        if connection.dialect.name == "postgresql":
            size = sa.func.octet_length(known.c.email)
        # The others are the same either way.
        foreign = sa.select(known).where(size != sa.func.length(known.c.email))
        for row in connection.execute(foreign).all():
            key = row.email.lower()
            if key != row.email_key:
                connection.execute(sa.update(known).where(known.c.id == row.id).values(email_key=key))
