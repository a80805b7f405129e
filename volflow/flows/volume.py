"""The flows that make and delete a volume."""

from __future__ import annotations

from volflow.tasks.base import Step
from volflow.tasks.status import BeginCreate, BeginDelete, FinishCreate, FinishDelete
from volflow.tasks.volume import CreateVolume, DeleteVolume


def create_steps() -> list[Step]:
    """The steps of a creation; the names are stored."""
    return [
        BeginCreate("update-status"),
        CreateVolume("create-volume"),
        FinishCreate("finalize"),
    ]


def delete_steps() -> list[Step]:
    """The steps of a deletion; the names are stored."""
    return [
        BeginDelete("update-status"),
        DeleteVolume("delete-volume"),
        FinishDelete("finalize"),
    ]
