"""The first and the last task of each flow: the volume's status, and who owns it."""

from __future__ import annotations

from volflow.models import AttachStatus, VolumeStatus
from volflow.persistence.work import FromNow
from volflow.tasks.base import Step
from volflow.tasks.run import Run


class Reserve(Step):
    """Reserve the volume for one attachment.

    Effect: the volume is ``attaching`` and owned by the operation; an attachment is reserved.
    Undo: the attachment is closed, the volume has the status of its other attachments.
    """

    def do(self, run: Run) -> None:
        run.insert_attachment()
        run.derive_volume(AttachStatus.RESERVED, owned=True)

    def undo(self, run: Run) -> None:
        run.update_attachment(attach_status=AttachStatus.DETACHED, detached_at=FromNow())
        run.derive_volume(AttachStatus.DETACHED, owned=False)


class FinishAttach(Step):
    """Make the attachment count.

    Effect: the driver is told; the attachment is ``attached``, the volume ``in-use`` and free.
    Undo: the driver is told; the attachment is ``attaching`` and the volume owned again.
    """

    def do(self, run: Run) -> None:
        given = run.arguments
        instance_uuid, host = given.get("instance_uuid"), given.get("host_name")
        mode = given.get("mode") or "rw"
        mountpoint = given.get("mountpoint") or run.attachment.mountpoint
        run.notify("attach_volume", run.context, run.volume, instance_uuid, host, mountpoint)
        info = run.attachment.connection_info
        if info is not None:
            info = {**info, "data": {**info["data"], "access_mode": mode}}
        run.update_attachment(
            attach_status=AttachStatus.ATTACHED,
            instance_uuid=instance_uuid,
            attached_host=host,
            mountpoint=mountpoint,
            attach_mode=mode,
            connection_info=info,
            attached_at=FromNow(),
        )
        run.derive_volume(AttachStatus.ATTACHED, owned=False)

    def undo(self, run: Run) -> None:
        run.notify("detach_volume", run.context, run.volume, run.attachment)
        run.update_attachment(
            attach_status=AttachStatus.ATTACHING,
            instance_uuid=None,
            attached_host=None,
            mountpoint=None,
            attach_mode=None,
            attached_at=None,
        )
        run.derive_volume(AttachStatus.ATTACHING, owned=True)


class BeginDetach(Step):
    """Take the volume for a detach.

    Effect: volume and attachment are ``detaching``, the volume owned by the operation.
    Undo: the attachment is ``attached``, the volume ``in-use`` and free.
    """

    def do(self, run: Run) -> None:
        run.update_attachment(attach_status=AttachStatus.DETACHING)
        run.derive_volume(AttachStatus.DETACHING, owned=True)

    def undo(self, run: Run) -> None:
        run.update_attachment(attach_status=AttachStatus.ATTACHED)
        run.derive_volume(AttachStatus.ATTACHED, owned=False)


class FinishDetach(Step):
    """Let the volume go.

    Effect: the driver is told; the volume has the status of its other attachments and is free;
    with the last attachment its location and credentials are forgotten.
    Undo: the volume is ``detaching`` and owned again.
    """

    def do(self, run: Run) -> None:
        run.notify("detach_volume", run.context, run.volume, run.attachment)
        cleared = {} if run.others else {"provider_location": None, "provider_auth": None}
        run.derive_volume(AttachStatus.DETACHED, owned=False, **cleared)

    def undo(self, run: Run) -> None:
        run.derive_volume(AttachStatus.DETACHING, owned=True)


class BeginCreate(Step):
    """Write the volume down before the backend makes it.

    Effect: the volume's row, ``creating``.
    Undo: the row is marked as deleted; its id is never used again.
    """

    def do(self, run: Run) -> None:
        run.insert_volume()

    def undo(self, run: Run) -> None:
        run.update_volume(operation_id=None, deleted_at=FromNow())


class FinishCreate(Step):
    """Offer the volume.

    Effect: the volume is ``available``; it settles the operation with the same commit, so that
    there is nothing to undo it for.
    """

    def do(self, run: Run) -> None:
        run.update_volume(status=VolumeStatus.AVAILABLE, operation_id=None)


class BeginDelete(Step):
    """Take the volume for its deletion.

    Effect: the volume is ``deleting``.
    Undo: it is in ``error``, since nobody knows what the backend has left of it.
    """

    def do(self, run: Run) -> None:
        run.update_volume(status=VolumeStatus.DELETING, operation_id=run.operation.id)

    def undo(self, run: Run) -> None:
        run.update_volume(status=VolumeStatus.ERROR, operation_id=None)


class FinishDelete(Step):
    """Forget the volume.

    Effect: the row is marked as deleted.
    """

    def do(self, run: Run) -> None:
        run.update_volume(operation_id=None, deleted_at=FromNow())
