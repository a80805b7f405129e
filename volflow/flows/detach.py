"""The detach flow, and its phases, which are parts of it."""

from __future__ import annotations

from volflow.tasks.attachment import RemoveAttachment
from volflow.tasks.base import Step
from volflow.tasks.connection import TerminateConnection
from volflow.tasks.export import RemoveExport
from volflow.tasks.host import DisconnectHost
from volflow.tasks.status import BeginDetach, FinishDetach


def detach_steps() -> list[Step]:
    """The steps of a detach; they are undone from the bottom of this list to the top.

    The names are stored, and an operation in flight is resumed by them: rename one only with
    a migration.
    """
    return [
        BeginDetach("update-status"),
        DisconnectHost("disconnect-host"),
        TerminateConnection("terminate-connection"),
        RemoveExport("remove-export"),
        RemoveAttachment("remove-attachment"),
        FinishDetach("finalize"),
    ]


PHASES = {
    "begin_detaching": ("update-status",),
    "terminate_connection": ("terminate-connection",),
    "detach": ("terminate-connection", "remove-export", "remove-attachment", "finalize"),
}
