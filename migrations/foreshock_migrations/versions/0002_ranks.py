"""Several ranks become one: the cursor of that.

Revision: 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds one table."""
    op.create_table(
        "merges",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("yardsticks", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "attempt", name=op.f("pk_merges")),
    )


def downgrade() -> None:
    """Forgets how far the ranks were merged; what was merged stays."""
    op.drop_table("merges")
