"""Advice: the command that helps what stands still."""

from __future__ import annotations

from datetime import datetime

from volflow.models import Operation, OperationState


def helps(found: Operation, now: datetime) -> str | None:
    """Say which command helps an operation that stands still."""
    match found.state:
        case OperationState.NEEDS_ATTENTION:
            return "volflow recover, once the backend answers or the host has logged out"
        case OperationState.QUEUED:
            return f"volflow conductor run --backend {found.backend}, where none lives"
        case OperationState.WAITING:
            return f"its caller's next call, or volflow operation cancel {found.id}"
        case OperationState.RUNNING | OperationState.REVERTING:
            lease = found.lease_expires_at
            if lease is None or lease <= now:
                return "volflow recover: its owner showed no life for its lease"
            return "volflow recover, if its owner is dead"
        case _:
            return None
