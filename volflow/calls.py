"""The six calls of the attach and detach workflow, and their two inverses."""

from __future__ import annotations

from typing import Any

from oslo_context.context import RequestContext

from volflow import arguments as check
from volflow.drivers.base import initiator_of
from volflow.exceptions import (
    AttachmentNotFound,
    InvalidInput,
    InvalidVolume,
    InvalidVolumeAttachMode,
    VolumeNotFound,
)
from volflow.flows.phases import PHASES, UNDOS
from volflow.joining import Joiner
from volflow.models import (
    Attachment,
    AttachStatus,
    ConnectionInfo,
    Operation,
    OperationKind,
    OperationState,
    Volume,
    VolumeStatus,
)
from volflow.persistence.operations import StoredOperation
from volflow.persistence.volumes import public
from volflow.persistence.work import new_id
from volflow.runner import Runner, Snapshot, raise_outcome
from volflow.tasks.run import expected_status


def new_operation(
    context: RequestContext,
    operation_id: str | None,
    kind: OperationKind,
    phase: str,
    volume: Volume,
    attachment_id: str | None,
) -> Operation:
    """The record of an operation that begins now."""
    return Operation(
        id=operation_id or new_id(),
        kind=kind,
        state=OperationState.RUNNING,
        phase=phase,
        volume_id=volume.id,
        attachment_id=attachment_id,
        backend=volume.backend,
        request_id=getattr(context, "request_id", None),
        error=None,
        epoch=1,
        owner=None,
        lease_expires_at=None,
        deadline=None,
        created_at=None,
        finished_at=None,
    )


class Calls:
    """The six calls; each runs its phase in the calling thread and is durable."""

    def __init__(self, runner: Runner, joiner: Joiner) -> None:
        self._runner = runner
        self._joiner = joiner

    # Attach

    def reserve_volume(
        self, context: RequestContext, volume_id: str, operation_id: str | None
    ) -> Volume:
        given = {"call": "reserve_volume"}

        def attempt() -> Volume:
            if operation_id and (stored := self._joiner.find(operation_id)):
                self._joiner.same(stored, OperationKind.ATTACH, volume_id, given)
                return self._volume(volume_id)
            snapshot = self.live(volume_id)
            self.require_reservable(snapshot)
            phase = PHASES["reserve_volume"]
            operation = new_operation(
                context, operation_id, phase.kind, phase.name, self._of(snapshot), new_id()
            )
            raise_outcome(self._runner.start(context, phase, operation, snapshot, given))
            return self._volume(volume_id)

        return self._joiner.repeat(attempt)

    def initialize_connection(
        self, context: RequestContext, volume_id: str, connector: Any
    ) -> ConnectionInfo:
        connector = check.connector(connector)

        def attempt() -> ConnectionInfo:
            snapshot = self._resting(volume_id, OperationKind.ATTACH, "initialize_connection")
            stored = snapshot.operation
            driver = self._runner.driver(snapshot.volume.volume.backend)
            if stored is None or not _waits(stored, OperationKind.ATTACH):
                return self._existing_connection(snapshot, initiator_of(driver, connector))
            recorded = stored.arguments.get("connector")
            if recorded is not None:
                if initiator_of(driver, recorded) != initiator_of(driver, connector):
                    raise InvalidVolume(
                        f"volume {volume_id} is reserved for another initiator; "
                        "terminate_connection first"
                    )
                self._runner.touch(stored)
                return _connection_info(_mine(snapshot))
            arguments = stored.arguments | {"connector": connector}
            phase = PHASES["initialize_connection"]
            run = self._runner.advance(context, phase, snapshot, arguments)
            raise_outcome(run)
            return _connection_info(run.attachment)

        return self._joiner.repeat(attempt)

    def attach(
        self,
        context: RequestContext,
        volume_id: str,
        instance_uuid: str | None,
        host_name: str | None,
        mountpoint: str | None,
        mode: str,
    ) -> Attachment:
        given = attach_arguments(instance_uuid, host_name, mountpoint, mode)
        if given["instance_uuid"] is None and given["host_name"] is None:
            raise InvalidInput("attach needs an instance_uuid or a host_name")

        def attempt() -> Attachment:
            snapshot = self._resting(volume_id, OperationKind.ATTACH, "attach")
            require_mode(self._of(snapshot), mode)
            same = _same_instance(snapshot, given)
            stored = snapshot.operation
            if stored is None or not _waits(stored, OperationKind.ATTACH):
                if same is None:
                    raise expected_status(snapshot.volume.volume, [VolumeStatus.ATTACHING])
                return same
            if same is not None:
                # The instance has the volume already: the reservation has nothing to do.
                undo = UNDOS["unreserve_volume"]
                raise_outcome(self._runner.undo(context, undo, snapshot))
                return same
            if not stored.arguments.get("handed_out"):
                raise InvalidVolume(f"volume {volume_id} has no connection: initialize it first")
            arguments = stored.arguments | given
            run = self._runner.advance(context, PHASES["attach"], snapshot, arguments)
            raise_outcome(run)
            return self._attachment(run.attachment.id)

        return self._joiner.repeat(attempt)

    def unreserve_volume(self, context: RequestContext, volume_id: str) -> Volume:
        return self._roll(context, volume_id, OperationKind.ATTACH, "unreserve_volume")

    # Detach

    def begin_detaching(
        self,
        context: RequestContext,
        volume_id: str,
        attachment_id: str | None,
        operation_id: str | None,
    ) -> Volume:
        given = {"call": "begin_detaching", "wanted": attachment_id}

        def attempt() -> Volume:
            if operation_id and (stored := self._joiner.find(operation_id)):
                self._joiner.same(stored, OperationKind.DETACH, volume_id, given)
                return self._volume(volume_id)
            snapshot = self.live(volume_id)
            attachment = self.require_detachable(snapshot, attachment_id)
            phase = PHASES["begin_detaching"]
            operation = new_operation(
                context, operation_id, phase.kind, phase.name, self._of(snapshot), attachment.id
            )
            raise_outcome(self._runner.start(context, phase, operation, snapshot, given))
            return self._volume(volume_id)

        return self._joiner.repeat(attempt)

    def terminate_connection(
        self, context: RequestContext, volume_id: str, connector: Any, force: bool
    ) -> None:
        connector = None if connector is None else check.connector(connector)
        check.flag("force", force)

        def attempt() -> None:
            snapshot = self._resting(volume_id, None, "terminate_connection")
            stored = snapshot.operation
            if stored is not None and _waits(stored, OperationKind.DETACH):
                self._require_own(snapshot, stored, connector)
                if stored.arguments.get("terminated"):
                    self._runner.touch(stored)
                else:
                    self._terminate(context, snapshot, stored, force)
            elif stored is not None and _waits(stored, OperationKind.ATTACH):
                if stored.arguments.get("connector") is not None:
                    self._require_own(snapshot, stored, connector)
                    undo = UNDOS["undo_initialize_connection"]
                    raise_outcome(self._runner.undo(context, undo, snapshot, force=force))
            else:
                wanted = [VolumeStatus.DETACHING, VolumeStatus.ATTACHING]
                raise expected_status(snapshot.volume.volume, wanted)

        self._joiner.repeat(attempt)

    def _terminate(
        self, context: RequestContext, snapshot: Snapshot, stored: StoredOperation, force: bool
    ) -> None:
        arguments = stored.arguments | ({"force": True} if force else {})
        phase = PHASES["terminate_connection"]
        raise_outcome(self._runner.advance(context, phase, snapshot, arguments))

    def detach(self, context: RequestContext, volume_id: str, attachment_id: str | None) -> Volume:
        def attempt() -> Volume:
            if attachment_id is not None and self._is_detached(volume_id, attachment_id):
                return self._volume(volume_id)
            snapshot = self._resting(volume_id, OperationKind.DETACH, "detach")
            stored = snapshot.operation
            if stored is None or not _waits(stored, OperationKind.DETACH):
                raise expected_status(snapshot.volume.volume, [VolumeStatus.DETACHING])
            if attachment_id is None and len(snapshot.attachments) > 1:
                raise _several(snapshot)
            if attachment_id not in (None, stored.record.attachment_id):
                raise InvalidVolume(f"attachment {attachment_id} is not being detached")
            phase = PHASES["detach"]
            done = stored.arguments.get("terminated")
            tasks = [t for t in phase.tasks if not (done and t == "terminate-connection")]
            run = self._runner.advance(context, phase, snapshot, stored.arguments, tasks)
            raise_outcome(run)
            return self._volume(volume_id)

        return self._joiner.repeat(attempt)

    def roll_detaching(self, context: RequestContext, volume_id: str) -> Volume:
        return self._roll(context, volume_id, OperationKind.DETACH, "roll_detaching")

    # What they share

    def live(self, volume_id: str) -> Snapshot:
        """Read a volume that was not deleted, with its owner.

        :raises VolumeNotFound: there is none.
        """
        snapshot = self._runner.snapshot(volume_id)
        if snapshot.volume.deleted:
            raise VolumeNotFound(f"volume {volume_id} was deleted")
        return snapshot

    def require_reservable(self, snapshot: Snapshot) -> None:
        """Check that a reservation may begin.

        :raises InvalidVolume: the volume's status, or its owner, forbids it.
        """
        volume = snapshot.volume.volume
        wanted = [VolumeStatus.AVAILABLE]
        if volume.multiattach:
            wanted.append(VolumeStatus.IN_USE)
        if volume.status not in wanted:
            raise expected_status(volume, wanted)
        _require_free(snapshot)

    def require_detachable(self, snapshot: Snapshot, attachment_id: str | None) -> Attachment:
        """Choose the attachment of a detach that may begin.

        :raises InvalidVolume: the volume's or the attachment's status forbids it, or there are
            several and none was named.
        :raises AttachmentNotFound: the volume never had the one that was named.
        """
        volume = snapshot.volume.volume
        if volume.status is not VolumeStatus.IN_USE:
            raise expected_status(volume, [VolumeStatus.IN_USE])
        _require_free(snapshot)
        live = [a.attachment for a in snapshot.attachments]
        if attachment_id is None:
            if len(live) > 1:
                raise _several(snapshot)
            chosen = live[0]
        elif named := [a for a in live if a.id == attachment_id]:
            chosen = named[0]
        else:
            self._is_detached(volume.id, attachment_id)
            raise InvalidVolume(f"attachment {attachment_id} is detached; expected attached")
        if chosen.attach_status is not AttachStatus.ATTACHED:
            raise InvalidVolume(
                f"attachment {chosen.id} is {chosen.attach_status}; expected attached"
            )
        return chosen

    def _roll(
        self, context: RequestContext, volume_id: str, kind: OperationKind, name: str
    ) -> Volume:
        status = VolumeStatus.ATTACHING if kind is OperationKind.ATTACH else VolumeStatus.DETACHING

        def attempt() -> Volume:
            snapshot = self._resting(volume_id, kind, name)
            stored = snapshot.operation
            if stored is None or stored.record.kind is not kind:
                raise expected_status(snapshot.volume.volume, [status])
            if stored.record.state is OperationState.NEEDS_ATTENTION:
                return again(stored)
            raise_outcome(self._runner.undo(context, UNDOS[name], snapshot))
            return self._volume(volume_id)

        def again(stored: StoredOperation) -> Volume:
            """Undo what was refused before, and then the rest."""
            run = self._runner.resume(stored, wait_for_lock=True)
            if run is None or run.state is OperationState.WAITING:
                return attempt()
            if run.leftovers:
                raise_outcome(run)
            return self._volume(volume_id)

        return self._joiner.repeat(attempt)

    def _resting(self, volume_id: str, kind: OperationKind | None, phase: str) -> Snapshot:
        """Read the volume when no run is changing it; the same call of others is waited for.

        :raises InvalidVolume: something else is running.
        """
        snapshot = self.live(volume_id)
        stored = snapshot.operation
        if stored is None:
            return snapshot
        if not stored.running:
            _require_orderly(stored, phase)
            return snapshot
        record = stored.record
        dead = self._joiner.is_dead(stored)
        if not dead and (record.phase != phase or (kind is not None and record.kind is not kind)):
            raise InvalidVolume(
                f"volume {volume_id} is {snapshot.volume.volume.status}: operation {stored.id} "
                f"runs {record.phase} now"
            )
        self._joiner.join(stored)
        return self.live(volume_id)

    def _require_own(
        self, snapshot: Snapshot, stored: StoredOperation, connector: dict[str, Any] | None
    ) -> None:
        if connector is None:
            return
        driver = self._runner.driver(snapshot.volume.volume.backend)
        own = stored.arguments.get("connector") or _mine(snapshot).connector or {}
        if initiator_of(driver, own) != initiator_of(driver, connector):
            raise InvalidVolume(
                f"the connector is not that of attachment {stored.record.attachment_id}"
            )

    def _existing_connection(self, snapshot: Snapshot, initiator: str) -> ConnectionInfo:
        for found in snapshot.attachments:
            if (
                found.initiator == initiator
                and found.attachment.attach_status is AttachStatus.ATTACHED
            ):
                return _connection_info(found.attachment)
        raise expected_status(snapshot.volume.volume, [VolumeStatus.ATTACHING])

    def _is_detached(self, volume_id: str, attachment_id: str) -> bool:
        found = self._attachment(attachment_id)
        if found.volume_id != volume_id:
            raise AttachmentNotFound(f"volume {volume_id} has no attachment {attachment_id}")
        return found.attach_status is AttachStatus.DETACHED

    def _attachment(self, attachment_id: str) -> Attachment:
        with self._runner.database.read() as connection:
            found = self._runner.attachments.get(connection, attachment_id)
        if found is None:
            raise AttachmentNotFound(f"there is no attachment {attachment_id}")
        return found.attachment

    def _volume(self, volume_id: str) -> Volume:
        with self._runner.database.read() as connection:
            found = self._runner.volumes.get(connection, volume_id)
        if found is None or found.deleted:
            raise VolumeNotFound(f"there is no volume {volume_id}")
        return public(found.volume)

    @staticmethod
    def _of(snapshot: Snapshot) -> Volume:
        return snapshot.volume.volume


def attach_arguments(
    instance_uuid: Any, host_name: Any, mountpoint: Any, mode: Any
) -> dict[str, Any]:
    """What an attachment is made with, checked.

    :raises InvalidInput: one of them is wrong.
    """
    return {
        "instance_uuid": check.optional_uuid("instance_uuid", instance_uuid),
        "host_name": check.text("host_name", host_name),
        "mountpoint": check.text("mountpoint", mountpoint),
        "mode": check.mode(mode),
    }


def require_mode(volume: Volume, mode: str) -> None:
    """Refuse to write to a readonly volume.

    :raises InvalidVolumeAttachMode: mode ``rw``, and the volume is readonly.
    """
    if volume.readonly and mode == "rw":
        raise InvalidVolumeAttachMode(f"volume {volume.id} is readonly; attach it with mode 'ro'")


def _waits(stored: StoredOperation, kind: OperationKind) -> bool:
    """True where the operation is one of the six calls' and it is its caller's turn."""
    record = stored.record
    if record.kind is not kind:
        return False
    if record.state is OperationState.WAITING:
        return True
    return (
        record.state is OperationState.NEEDS_ATTENTION
        and bool(stored.arguments.get("force"))
        and stored.arguments.get("call") == "begin_detaching"
    )


def _require_orderly(stored: StoredOperation, phase: str) -> None:
    """Refuse to build on an operation whose undo is being refused; its inverse may go on.

    :raises InvalidVolume: it needs attention.
    """
    if (
        stored.record.state is OperationState.NEEDS_ATTENTION
        and phase not in UNDOS
        and not _waits(stored, OperationKind.DETACH)
    ):
        raise InvalidVolume(
            f"operation {stored.id} is not done: the backend refuses "
            f"{'; '.join(stored.record.leftovers)}"
        )


def _mine(snapshot: Snapshot) -> Attachment:
    wanted = snapshot.operation.record.attachment_id if snapshot.operation else None
    for found in snapshot.attachments:
        if found.attachment.id == wanted:
            return found.attachment
    raise InvalidVolume(f"volume {snapshot.volume.volume.id} has lost attachment {wanted}")


def _connection_info(attachment: Attachment) -> ConnectionInfo:
    if attachment.connection_info is None:
        raise InvalidVolume(f"attachment {attachment.id} has no connection")
    return attachment.connection_info


def _same_instance(snapshot: Snapshot, given: dict[str, Any]) -> Attachment | None:
    for found in (a.attachment for a in snapshot.attachments):
        if found.attach_status is not AttachStatus.ATTACHED:
            continue
        if given["instance_uuid"] is not None:
            if found.instance_uuid == given["instance_uuid"]:
                return found
        elif found.instance_uuid is None and found.attached_host == given["host_name"]:
            return found
    return None


def _require_free(snapshot: Snapshot) -> None:
    volume = snapshot.volume.volume
    if volume.operation_id is not None:
        raise InvalidVolume(f"volume {volume.id} is owned by operation {volume.operation_id}")


def _several(snapshot: Snapshot) -> InvalidVolume:
    return InvalidVolume(
        f"volume {snapshot.volume.volume.id} has {len(snapshot.attachments)} attachments; "
        "name one with attachment_id"
    )
