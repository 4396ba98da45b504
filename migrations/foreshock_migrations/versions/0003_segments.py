"""Blocks are sealed into segments; keys and projects; on PostgreSQL the tables with volume are partitioned by run.

Revision: 0003, after 0002.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

PARTITIONS = 16
_BY_RUN: dict[str, Any] = {"postgresql_partition_by": "HASH (run_id)"}


_BEHIND = {
    "ix_writers_untallied": "tallied_seq < acked_seq",
    "ix_writers_unsealed": "sealed_seq < acked_seq",
}


def upgrade() -> None:
    """Adds tables and columns; copies `blocks` into a partitioned table on PostgreSQL."""
    op.add_column("runs", sa.Column("deleted_at", sa.Double(), nullable=True))
    op.add_column("attempts", sa.Column("first_step", sa.BigInteger(), nullable=True))
    op.add_column("writers", sa.Column("tallied_seq", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("writers", sa.Column("sealed_seq", sa.BigInteger(), server_default="0", nullable=False))
    with op.batch_alter_table("writers") as writers:
        writers.alter_column("tallied_seq", server_default=None)
        writers.alter_column("sealed_seq", server_default=None)
    op.add_column("series", sa.Column("axis", sa.JSON(), nullable=True))
    op.add_column("frames", sa.Column("widths", sa.JSON(), nullable=True))
    op.execute("UPDATE writers SET tallied_seq = acked_seq")  # until now each block was counted as it came
    op.execute(
        "UPDATE attempts SET first_step = (SELECT min(first_step) FROM blocks"
        " WHERE blocks.run_id = attempts.run_id AND blocks.attempt = attempts.attempt)"
    )
    op.create_table(
        "projects",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("retention_days", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_projects")),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("project", sa.String(length=200), nullable=True),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keys")),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_sessions")),
    )
    _partitioned("clocks", _clocks)
    _partitioned("segments", _segments)
    _partitioned("rollups", _rollups)
    op.create_index(
        "ix_clocks_steps", "clocks", ["run_id", "attempt", "first_step", "last_step"], unique=False
    )
    op.create_index(
        "ix_segments_steps",
        "segments",
        ["run_id", "series_id", "attempt", "first_step", "last_step", "nonfinite"],
        unique=False,
    )
    for name, behind in _BEHIND.items():
        op.create_index(
            name,
            "writers",
            ["run_id"],
            unique=False,
            sqlite_where=sa.text(behind),
            postgresql_where=sa.text(behind),
        )
    if op.get_bind().dialect.name == "postgresql":
        _copied("blocks", _blocks, partitioned=True)


def downgrade() -> None:
    """Takes them away again. What was sealed is lost: export it first."""
    if op.get_bind().dialect.name == "postgresql":
        _copied("blocks", _blocks, partitioned=False)
    for name in ("rollups", "segments", "clocks", "sessions", "keys", "projects"):
        op.drop_table(name)
    for name in _BEHIND:
        op.drop_index(name, table_name="writers")
    for table, column in (
        ("frames", "widths"),
        ("series", "axis"),
        ("writers", "sealed_seq"),
        ("writers", "tallied_seq"),
        ("attempts", "first_step"),
        ("runs", "deleted_at"),
    ):
        with op.batch_alter_table(table) as altered:
            altered.drop_column(column)


def _partitioned(name: str, create: Callable[..., None]) -> None:
    create(name, **_BY_RUN)
    if op.get_bind().dialect.name != "postgresql":
        return
    column = "rows" if name == "blocks" else "data"
    op.execute(f"ALTER TABLE {name} ALTER COLUMN {column} SET STORAGE EXTERNAL")  # it is compressed already
    for number in range(PARTITIONS):
        op.execute(
            f"CREATE TABLE {name}_p{number:02} PARTITION OF {name}"
            f" FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number})"
        )


def _copied(name: str, create: Callable[..., None], *, partitioned: bool) -> None:
    op.execute(f"ALTER TABLE {name} RENAME TO {name}_before")
    op.execute(f"ALTER TABLE {name}_before RENAME CONSTRAINT pk_{name} TO pk_{name}_before")
    op.execute("DROP INDEX ix_blocks_run_id_first_step")
    if partitioned:
        _partitioned(name, create)
    else:
        create(name)
    op.execute(f"INSERT INTO {name} SELECT * FROM {name}_before")  # noqa: S608 (a name of ours)
    op.drop_table(f"{name}_before")
    op.create_index("ix_blocks_run_id_first_step", "blocks", ["run_id", "first_step"])


def _blocks(name: str, **options: Any) -> None:
    op.create_table(
        name,
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("writer", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("first_step", sa.BigInteger(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=True),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "attempt", "writer", "seq", name=op.f(f"pk_{name}")),
        **options,
    )


def _clocks(name: str, **options: Any) -> None:
    op.create_table(
        name,
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("writer", sa.String(length=64), nullable=False),
        sa.Column("frame", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("first_step", sa.BigInteger(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("first_time", sa.Double(), nullable=False),
        sa.Column("last_time", sa.Double(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "attempt", "writer", "frame", "first_seq", name=op.f("pk_clocks")),
        **options,
    )


def _segments(name: str, **options: Any) -> None:
    op.create_table(
        name,
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("writer", sa.String(length=64), nullable=False),
        sa.Column("frame", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_step", sa.BigInteger(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("nonfinite", sa.BigInteger(), nullable=False),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(
            "run_id", "series_id", "attempt", "writer", "frame", "first_seq", name=op.f("pk_segments")
        ),
        **options,
    )


def _rollups(name: str, **options: Any) -> None:
    op.create_table(
        name,
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("level", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("chunk", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "series_id", "attempt", "level", "chunk", name=op.f("pk_rollups")),
        **options,
    )
