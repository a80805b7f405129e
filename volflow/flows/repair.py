"""The flow that repairs a volume's backend, and its part for a volume that an operation owns."""

from __future__ import annotations

from volflow.tasks.base import Step
from volflow.tasks.repair import BeginRepair, FinishRepair, RepairBackend

RESTORE = ("repair-backend",)


def repair_steps() -> list[Step]:
    """The steps of a repair; the names are stored."""
    return [
        BeginRepair("update-status"),
        RepairBackend("repair-backend"),
        FinishRepair("finalize"),
    ]
