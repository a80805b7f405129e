"""The first schema: volumes, attachments, operations, their flows and events, key fingerprints."""

from __future__ import annotations

import sqlalchemy as sa

from volflow.persistence.migrations import steps
from volflow.persistence.schema import LONG

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _volumes()
    _attachments()
    _operations()
    _flows_and_events()
    steps.create_table(
        "secret_keys",
        sa.Column("fingerprint", sa.String(64), primary_key=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )


def _volumes() -> None:
    steps.create_table(
        "volumes",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(255)),
        sa.Column("size_gib", sa.Integer, nullable=False),
        sa.Column("backend", sa.String(255), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("attach_status", sa.String(32), nullable=False),
        sa.Column("multiattach", sa.Boolean, nullable=False),
        sa.Column("readonly", sa.Boolean, nullable=False),
        sa.Column("provider_location", LONG),
        sa.Column("provider_auth", LONG),
        sa.Column("encryption_key_id", sa.String(255)),
        sa.Column("qos_specs", LONG),
        sa.Column("operation_id", sa.String(36)),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("deleted_at", sa.BigInteger),
    )
    steps.create_index("ix_volumes_created", "volumes", ["created_at", "id"])
    steps.create_index("ix_volumes_status", "volumes", ["status", "created_at", "id"])
    steps.create_index("ix_volumes_operation", "volumes", ["operation_id"])


def _attachments() -> None:
    steps.create_table(
        "attachments",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("volume_id", sa.String(36), sa.ForeignKey("volumes.id"), nullable=False),
        sa.Column("instance_uuid", sa.String(36)),
        sa.Column("attached_host", sa.String(255)),
        sa.Column("mountpoint", sa.String(255)),
        sa.Column("attach_mode", sa.String(8)),
        sa.Column("attach_status", sa.String(32), nullable=False),
        sa.Column("initiator", sa.String(255)),
        sa.Column("connector", LONG),
        sa.Column("connection_info", LONG),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("attached_at", sa.BigInteger),
        sa.Column("detached_at", sa.BigInteger),
    )
    steps.create_index("ix_attachments_volume", "attachments", ["volume_id", "detached_at"])


def _operations() -> None:
    steps.create_table(
        "operations",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("phase", sa.String(32), nullable=False),
        sa.Column("volume_id", sa.String(36), sa.ForeignKey("volumes.id"), nullable=False),
        sa.Column("attachment_id", sa.String(36)),
        sa.Column("backend", sa.String(255), nullable=False),
        sa.Column("request_id", sa.String(255)),
        sa.Column("arguments", LONG, nullable=False),
        sa.Column("error", LONG),
        sa.Column("leftovers", LONG),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("run_id", sa.String(36)),
        sa.Column("owner", sa.String(255)),
        sa.Column("lease_expires_at", sa.BigInteger),
        sa.Column("lease_length", sa.BigInteger),
        sa.Column("deadline", sa.BigInteger),
        sa.Column("retry_at", sa.BigInteger),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
    )
    steps.create_index("ix_operations_state", "operations", ["state", "created_at", "id"])
    steps.create_index("ix_operations_volume", "operations", ["volume_id", "created_at", "id"])
    steps.create_index("ix_operations_created", "operations", ["created_at", "id"])


def _flows_and_events() -> None:
    steps.create_table(
        "flows",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("operation_id", sa.String(36), sa.ForeignKey("operations.id"), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("phase", sa.String(32), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("atoms", LONG, nullable=False),
    )
    steps.create_index("ix_flows_operation", "flows", ["operation_id", "seq"], unique=True)
    steps.create_table(
        "events",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("operation_id", sa.String(36), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("step", sa.String(32), nullable=False),
        sa.Column("what", sa.String(32), nullable=False),
        sa.Column("detail", LONG),
    )
    steps.create_index("ix_events_operation", "events", ["operation_id", "id"])


def downgrade() -> None:
    for table in ("events", "flows", "operations", "attachments", "volumes", "secret_keys"):
        steps.drop_table(table)
