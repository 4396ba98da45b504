"""Channels that fail are tried rarely; deliveries remember their tries, and may be tried again after they were given up.

Revision: 0005, after 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds one table and two columns."""
    op.create_table(
        "breakers",
        sa.Column("channel_id", sa.String(length=32), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("failing_since", sa.Double(), nullable=True),
        sa.Column("quiet_until", sa.Double(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("channel_id", name=op.f("pk_breakers")),
    )
    op.add_column("deliveries", sa.Column("retried_at", sa.Double(), nullable=True))
    op.add_column("deliveries", sa.Column("log", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Forgets how channels and tries went."""
    with op.batch_alter_table("deliveries") as altered:
        altered.drop_column("log")
        altered.drop_column("retried_at")
    op.drop_table("breakers")
