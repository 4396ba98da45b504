"""Deliveries remember what the receiver calls them, so that what follows can be said behind them.

Revision: 0006, after 0005.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds one column. What was sent before has no name, so what follows it is said by itself."""
    op.add_column("deliveries", sa.Column("receipt", sa.String(length=200), nullable=True))


def downgrade() -> None:
    """Forgets the names."""
    with op.batch_alter_table("deliveries") as altered:
        altered.drop_column("receipt")
