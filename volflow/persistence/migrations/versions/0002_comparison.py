"""When a volume is compared with its backend once more, and how often that has failed."""

from __future__ import annotations

import sqlalchemy as sa

from volflow.persistence.migrations import steps

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    steps.add_column("volumes", sa.Column("unsure_until", sa.BigInteger))
    steps.add_column("volumes", sa.Column("compare_at", sa.BigInteger))
    steps.add_column(
        "volumes", sa.Column("compare_attempts", sa.Integer, nullable=False, server_default="0")
    )
    steps.create_index("ix_volumes_compare", "volumes", ["compare_at"])


def downgrade() -> None:
    steps.drop_index("ix_volumes_compare", "volumes")
    steps.drop_column("volumes", "compare_attempts")
    steps.drop_column("volumes", "compare_at")
    steps.drop_column("volumes", "unsure_until")
