"""Runs have an owner and tags, can be archived, and lie in the trash for a while before they are deleted.

Revision: 0008, after 0007.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_FAMILIES = "ix_series_run_id_family"


def upgrade() -> None:
    """Adds columns, a table and indexes. Runs that are here have no owner and no tag."""
    op.add_column("runs", sa.Column("owner", sa.String(length=100), nullable=True))
    for name in ("archived_at", "trashed_at", "noted_at"):
        op.add_column("runs", sa.Column(name, sa.Double(), nullable=True))
    op.create_index(op.f("ix_runs_noted_at"), "runs", ["noted_at"], unique=False)
    op.create_table(
        "tags",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("tag", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "tag", name=op.f("pk_tags")),
    )
    op.create_index(op.f("ix_tags_tag"), "tags", ["tag"], unique=False)
    op.create_index(_FAMILIES, "series", ["run_id", "family"], unique=False)


def downgrade() -> None:
    """Forgets what people said about runs. What lies in the trash is seen again."""
    op.drop_index(_FAMILIES, table_name="series")
    op.drop_index(op.f("ix_tags_tag"), table_name="tags")
    op.drop_table("tags")
    op.drop_index(op.f("ix_runs_noted_at"), table_name="runs")
    with op.batch_alter_table("runs") as altered:
        for name in ("noted_at", "trashed_at", "archived_at", "owner"):
            altered.drop_column(name)
