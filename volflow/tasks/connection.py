"""The tasks that give one initiator access and take it away."""

from __future__ import annotations

from typing import Any

from volflow.exceptions import DriverError
from volflow.models import AttachStatus, ConnectionInfo
from volflow.tasks.base import Step
from volflow.tasks.export import apply_model_update
from volflow.tasks.run import Run
from volflow.tasks.sessions import terminate_unused


def connect(run: Run) -> ConnectionInfo:
    """Give the initiator access, and complete the driver's answer.

    :returns: ``{"driver_volume_type": str, "data": dict}``, JSON only.
    :raises DriverError: the driver refused, or its answer has another shape.
    """
    method = "initialize_connection"
    info = run.backend.checked(method, run.backend.call(method, run.volume, run.connector))
    if not (
        isinstance(info, dict)
        and isinstance(info.get("driver_volume_type"), str)
        and isinstance(info.get("data"), dict)
    ):
        raise DriverError(f"{method} of backend {run.volume.backend} returned no connection_info")
    info["data"] = _defaults(run) | info["data"]
    if mode := run.arguments.get("mode"):
        info["data"]["access_mode"] = mode
    return info


def _defaults(run: Run) -> dict[str, Any]:
    volume, connector = run.volume, run.connector
    asked = connector.get("mode")
    return {
        "access_mode": "ro" if volume.readonly else asked if asked in ("rw", "ro") else "rw",
        "encrypted": volume.encryption_key_id is not None,
        "qos_specs": volume.qos_specs,
        "volume_id": volume.id,
        "target_discovered": False,
    }


class InitializeConnection(Step):
    """Give this initiator access to the export and build the answer for the caller.

    Effect: one ACL entry for the initiator, whose name is recorded first.
    Undo: remove it, found by the connector and never by the result, so that it is right also
    when ``do`` died half way; kept while another attachment has the same initiator.
    """

    outside = True

    def prepare(self, run: Run) -> None:
        run.update_attachment(attach_status=AttachStatus.ATTACHING, initiator=run.initiator)
        run.derive_volume(AttachStatus.ATTACHING, owned=True)

    def do(self, run: Run) -> None:
        run.connection_info = connect(run)

    def undo(self, run: Run) -> None:
        if not run.shares_access():
            terminate_unused(run, run.connector)
        run.update_attachment(attach_status=AttachStatus.RESERVED, initiator=None)
        run.derive_volume(AttachStatus.RESERVED, owned=True)


class TerminateConnection(Step):
    """Take this initiator's access away, unless another attachment has the same one.

    Effect: no ACL entry any more.
    Undo: the entry again, with the same credentials, and the answer that goes with it.
    """

    outside = True

    def do(self, run: Run) -> None:
        if not run.shares_access():
            run.backend.call("terminate_connection", run.volume, run.connector, force=run.forced)
        run.set_argument("terminated", True)

    def undo(self, run: Run) -> None:
        run.set_argument("terminated", None)
        # The target may have been restarted since, and have lost the export.
        update = run.backend.call("ensure_export", run.context, run.volume)
        apply_model_update(run, "ensure_export", update)
        info = connect(run)
        if mode := run.attachment.attach_mode:
            info["data"]["access_mode"] = mode
        run.update_attachment(connection_info=info)
