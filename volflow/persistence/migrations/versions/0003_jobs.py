"""What operations need to be queued, who runs them, and how many a backend bears."""

from __future__ import annotations

import sqlalchemy as sa

from volflow.persistence.migrations import steps
from volflow.persistence.schema import LONG

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    steps.add_column(
        "operations", sa.Column("priority", sa.Integer, nullable=False, server_default="0")
    )
    steps.add_column("operations", sa.Column("posted_at", sa.BigInteger))
    steps.add_column("operations", sa.Column("claimed_by", sa.String(255)))
    steps.add_column("operations", sa.Column("claim_expires_at", sa.BigInteger))
    steps.create_index(
        "ix_operations_queue", "operations", ["state", "backend", "priority", "created_at"]
    )
    steps.create_table(
        "conductors",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("backends", LONG, nullable=False),
        sa.Column("workers", sa.Integer, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("lease_length", sa.BigInteger, nullable=False),
    )
    steps.create_table(
        "backends",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("max_running", sa.Integer),
        sa.Column("claims", sa.BigInteger, nullable=False, server_default="0"),
    )


def downgrade() -> None:
    steps.drop_table("backends")
    steps.drop_table("conductors")
    steps.drop_index("ix_operations_queue", "operations")
    for column in ("claim_expires_at", "claimed_by", "posted_at", "priority"):
        steps.drop_column("operations", column)
