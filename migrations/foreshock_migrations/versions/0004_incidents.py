"""Incidents and silences; channels choose what they get, when, how often and how many together.

Revision: 0004, after 0003.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COLUMNS: dict[str, dict[str, sa.types.TypeEngine[Any]]] = {
    "channels": {
        "matches": sa.JSON(),
        "after_seconds": sa.Double(),
        "repeat_seconds": sa.Double(),
        "digest_seconds": sa.Double(),
    },
    "deliveries": {
        "about": sa.String(length=16),
        "incident": sa.BigInteger(),
        "digest": sa.String(length=40),
    },
}


def upgrade() -> None:
    """Adds tables and columns. Alerts that fire now belong to no incident; when they are over, that is told as before."""
    op.create_table(
        "incidents",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("family", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("inhibits", sa.Boolean(), nullable=False),
        sa.Column("firing", sa.JSON(), nullable=False),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.Column("rule", sa.String(length=100), nullable=True),
        sa.Column("series_id", sa.BigInteger(), nullable=True),
        sa.Column("episode", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=True),
        sa.Column("muted", sa.Text(), nullable=True),
        sa.Column("opened_step", sa.BigInteger(), nullable=False),
        sa.Column("resolved_step", sa.BigInteger(), nullable=True),
        sa.Column("opened_at", sa.Double(), nullable=False),
        sa.Column("told_at", sa.Double(), nullable=True),
        sa.Column("resolved_at", sa.Double(), nullable=True),
        sa.Column("acknowledged_at", sa.Double(), nullable=True),
        sa.Column("acknowledged_by", sa.String(length=100), nullable=True),
        sa.Column("next_at", sa.Double(), nullable=True),
        sa.Column("secret", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number", name=op.f("pk_incidents")),
    )
    op.create_index("ix_incidents_state_next_at", "incidents", ["state", "next_at"], unique=False)
    op.create_table(
        "silences",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project", sa.String(length=200), nullable=True),
        sa.Column("matches", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("made_by", sa.String(length=100), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("ends_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_silences")),
    )
    op.create_index(op.f("ix_silences_ends_at"), "silences", ["ends_at"], unique=False)
    for table, columns in _COLUMNS.items():
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    """Takes them away again."""
    op.execute("DELETE FROM deliveries WHERE kind IN ('repeated', 'digest') OR state = 'collected'")
    for table, columns in _COLUMNS.items():
        with op.batch_alter_table(table) as altered:
            for name in columns:
                altered.drop_column(name)
    op.drop_index(op.f("ix_silences_ends_at"), table_name="silences")
    op.drop_table("silences")
    op.drop_index("ix_incidents_state_next_at", table_name="incidents")
    op.drop_table("incidents")
