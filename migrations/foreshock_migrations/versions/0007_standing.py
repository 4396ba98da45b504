"""The alerts of a run are found by their state, without reading those that are quiet.

Revision: 0007, after 0006.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_NAME = "ix_alerts_run_id_state_severity"


def upgrade() -> None:
    """Adds one index."""
    op.create_index(_NAME, "alerts", ["run_id", "state", "severity"])


def downgrade() -> None:
    """Takes it away."""
    op.drop_index(_NAME, table_name="alerts")
