"""Rules may be made on the page: every change of one is a row.

Revision: 0009, after 0008.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds one table."""
    op.create_table(
        "rule_changes",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rule", sa.String(length=100), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("project", sa.String(length=200), nullable=True),
        sa.Column("pack", sa.String(length=100), nullable=False),
        sa.Column("replaces", sa.String(length=100), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("tests", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("made_by", sa.String(length=100), nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_rule_changes")),
        sa.UniqueConstraint("rule", "version", name=op.f("uq_rule_changes_rule_version")),
    )


def downgrade() -> None:
    """Forgets those rules and all that they ever were."""
    op.drop_table("rule_changes")
