"""The tasks that keep what an attachment was given."""

from __future__ import annotations

from volflow.exceptions import DriverError
from volflow.models import AttachStatus
from volflow.persistence.work import FromNow
from volflow.tasks.base import Step
from volflow.tasks.run import Run


class RecordAttachment(Step):
    """Keep connector and connection_info with the attachment.

    Effect: both on the attachment, the latter encrypted. From its commit on the caller may have
    handed them to the initiator, which the operation remembers.
    Undo: both are cleared.
    """

    def do(self, run: Run) -> None:
        if run.connection_info is None:
            raise DriverError(f"volume {run.volume.id} has no connection to record")
        run.update_attachment(connector=run.connector, connection_info=run.connection_info)
        run.set_argument("handed_out", True)

    def undo(self, run: Run) -> None:
        run.update_attachment(connector=None, connection_info=None)


class RemoveAttachment(Step):
    """Close the attachment; its row stays as history, without the connection_info.

    Effect: the attachment is ``detached``.
    Undo: it is ``detaching`` again, with what it was given.
    """

    def do(self, run: Run) -> None:
        run.update_attachment(
            attach_status=AttachStatus.DETACHED, connection_info=None, detached_at=FromNow()
        )

    def undo(self, run: Run) -> None:
        run.update_attachment(attach_status=AttachStatus.DETACHING, detached_at=None)
