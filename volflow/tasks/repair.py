"""The tasks that bring a volume's backend back to what the database says."""

from __future__ import annotations

from volflow.backoff import backoff
from volflow.exceptions import ConnectionInUse, DriverError
from volflow.models import (
    AttachStatus,
    Connector,
    DerivedStatus,
    Volume,
    VolumeStatus,
    derive_status,
)
from volflow.tasks.base import Step
from volflow.tasks.export import apply_model_update
from volflow.tasks.run import Run
from volflow.tasks.sessions import require_unused, terminate_unused

REPAIRED = {
    AttachStatus.RESERVED: AttachStatus.DETACHED,
    AttachStatus.ATTACHING: AttachStatus.DETACHED,
    AttachStatus.DETACHING: AttachStatus.ATTACHED,
}
"""What an attachment on its way becomes that no operation brings on."""


def repaired_status(volume: Volume, attachments: list[AttachStatus]) -> DerivedStatus:
    """The statuses of a volume that no operation owns, and whose attachments rest."""
    derived = derive_status(attachments)
    if volume.status in (VolumeStatus.CREATING, VolumeStatus.DELETING):
        return DerivedStatus(VolumeStatus.ERROR, derived.attach_status)
    idle = (VolumeStatus.MAINTENANCE, VolumeStatus.ERROR)
    if derived.status is VolumeStatus.AVAILABLE and volume.status in idle:
        return DerivedStatus(volume.status, derived.attach_status)
    return derived


class BeginRepair(Step):
    """Take the volume for its repair; its status stays what it is.

    Effect: the volume is owned by the operation.
    Undo: it is free again.
    """

    def do(self, run: Run) -> None:
        run.update_volume(operation_id=run.operation.id)

    def undo(self, run: Run) -> None:
        run.update_volume(operation_id=None)


class RepairBackend(Step):
    """Give back what attachments need, and take away what none does.

    Effect: the export at its recorded location with its recorded credentials, and the ACL, are
    those that the database justifies. What has a live session is left, and refused by name.
    Undo: none, each part is right by itself; the comparison is due again after a backoff.
    """

    outside = True

    def do(self, run: Run) -> None:
        if run.entitlement.export:
            update = run.backend.call("ensure_export", run.context, run.volume)
            apply_model_update(run, "ensure_export", update)
            for needed in run.entitlement.needed:
                if needed.attachment.connector is None:
                    raise DriverError(f"attachment {needed.attachment.id} has lost its connector")
                run.backend.call("initialize_connection", run.volume, needed.attachment.connector)
        self._take_away(run)
        run.compared()

    def undo(self, run: Run) -> None:
        run.compare_again(backoff(run.compare_attempts))

    def _take_away(self, run: Run) -> None:
        export = run.backend.export()
        if export is None:
            return
        held: list[ConnectionInUse] = []
        for key in run.entitlement.too_many(export):
            try:
                terminate_unused(run, _connector_of(run, key))
            except ConnectionInUse as e:
                held.append(e)
        if held:
            raise held[0]
        if run.entitlement.export is False:
            require_unused(run)
            run.backend.call("remove_export", run.context, run.volume)
            run.update_volume(provider_location=None, provider_auth=None)


class FinishRepair(Step):
    """Let the volume go, in the status that follows from its attachments.

    Effect: attachments that were on their way, and that no operation brings on, are detached
    (an attach) or attached (a detach); the volume is free.
    """

    def do(self, run: Run) -> None:
        if run.arguments.get("deleted"):
            run.update_volume(operation_id=None)
            return
        found = []
        for other in run.others:
            status = other.attachment.attach_status
            found.append(REPAIRED.get(status, status))
            if found[-1] is not status:
                run.rest_attachment(other.attachment, found[-1])
        rests = repaired_status(run.volume, found)
        run.update_volume(
            status=rests.status, attach_status=rests.attach_status, operation_id=None
        )


def _connector_of(run: Run, initiator: str) -> Connector:
    """A connector by which the driver finds an initiator's access again.

    :param initiator: the key of an ACL entry. A driver whose keys are no iSCSI initiators has a
        method ``connector_of(key)``.
    """
    for known in run.entitlement.known:
        if known.initiator == initiator and known.attachment.connector:
            return dict(known.attachment.connector)
    own = getattr(run.backend.driver, "connector_of", None)
    return {"initiator": initiator} if own is None else dict(own(initiator))
