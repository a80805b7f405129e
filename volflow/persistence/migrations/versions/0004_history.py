"""Indexes by which what ended long ago is found, what a host has, and a page of the volumes."""

from __future__ import annotations

from volflow.persistence.migrations import steps

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    steps.create_index("ix_attachments_detached", "attachments", ["detached_at", "id"])
    steps.create_index("ix_attachments_host", "attachments", ["attached_host", "detached_at"])
    steps.create_index("ix_volumes_deleted", "volumes", ["deleted_at", "created_at", "id"])
    steps.create_index(
        "ix_volumes_backend", "volumes", ["backend", "deleted_at", "created_at", "id"]
    )
    steps.drop_index("ix_volumes_created", "volumes")


def downgrade() -> None:
    steps.create_index("ix_volumes_created", "volumes", ["created_at", "id"])
    steps.drop_index("ix_volumes_backend", "volumes")
    steps.drop_index("ix_volumes_deleted", "volumes")
    steps.drop_index("ix_attachments_host", "attachments")
    steps.drop_index("ix_attachments_detached", "attachments")
