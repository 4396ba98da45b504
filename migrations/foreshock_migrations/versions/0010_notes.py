"""Runs have a note, with who wrote it and when.

Revision: 0010, after 0009.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns. Runs that are here have no note."""
    op.add_column("runs", sa.Column("note", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("note_by", sa.String(length=100), nullable=True))
    op.add_column("runs", sa.Column("note_at", sa.Double(), nullable=True))


def downgrade() -> None:
    """Forgets the notes."""
    with op.batch_alter_table("runs") as altered:
        for name in ("note_at", "note_by", "note"):
            altered.drop_column(name)
