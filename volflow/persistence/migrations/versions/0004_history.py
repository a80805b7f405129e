"""Indexes by which what ended long ago is found, what a host has, and pages of all there is."""

from __future__ import annotations

from volflow.persistence.migrations import steps

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NEW = {
    "attachments": {
        "detached": ["detached_at", "id"],
        "host": ["attached_host", "detached_at"],
    },
    "operations": {
        "kind": ["kind", "created_at", "id"],
        "backend": ["backend", "created_at", "id"],
    },
    "volumes": {
        "live": ["deleted_at", "created_at", "id"],
        "live_status": ["deleted_at", "status", "created_at", "id"],
        "live_backend": ["deleted_at", "backend", "created_at", "id"],
        "name": ["name", "id"],
    },
}
OLD = {"volumes": {"created": ["created_at", "id"], "status": ["status", "created_at", "id"]}}


def upgrade() -> None:
    _change(NEW, OLD)


def downgrade() -> None:
    _change(OLD, NEW)


def _change(made: dict[str, dict[str, list[str]]], gone: dict[str, dict[str, list[str]]]) -> None:
    for table, indexes in made.items():
        for name, columns in indexes.items():
            steps.create_index(f"ix_{table}_{name}", table, columns)
    for table, indexes in gone.items():
        for name in indexes:
            steps.drop_index(f"ix_{table}_{name}", table)
