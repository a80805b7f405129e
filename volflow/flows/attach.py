"""The attach flow, and its phases, which are parts of it."""

from __future__ import annotations

from volflow.tasks.attachment import RecordAttachment
from volflow.tasks.base import Step
from volflow.tasks.connection import InitializeConnection
from volflow.tasks.connector import ValidateConnector
from volflow.tasks.export import CreateExport
from volflow.tasks.host import ConnectHost
from volflow.tasks.status import FinishAttach, Reserve


def attach_steps() -> list[Step]:
    """The steps of an attach; they are undone from the bottom of this list to the top.

    The names are stored, and an operation in flight is resumed by them: rename one only with
    a migration.
    """
    return [
        Reserve("update-status"),
        ValidateConnector("validate-connector"),
        CreateExport("create-export"),
        InitializeConnection("initialize-connection"),
        RecordAttachment("record-attachment"),
        ConnectHost("connect-host"),
        FinishAttach("finalize"),
    ]


PHASES = {
    "reserve_volume": ("update-status",),
    "initialize_connection": (
        "validate-connector",
        "create-export",
        "initialize-connection",
        "record-attachment",
    ),
    "attach": ("finalize",),
}
