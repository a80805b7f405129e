"""When a volume is compared with its backend once more, and how often that has failed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("volumes", sa.Column("unsure_until", sa.BigInteger))
    op.add_column("volumes", sa.Column("compare_at", sa.BigInteger))
    op.add_column(
        "volumes", sa.Column("compare_attempts", sa.Integer, nullable=False, server_default="0")
    )
    op.create_index("ix_volumes_compare", "volumes", ["compare_at"])


def downgrade() -> None:
    op.drop_index("ix_volumes_compare", "volumes")
    op.drop_column("volumes", "compare_attempts")
    op.drop_column("volumes", "compare_at")
    op.drop_column("volumes", "unsure_until")
