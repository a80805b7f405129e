"""The six calls of the attach and detach workflow, and their two inverses."""

from __future__ import annotations

from typing import Any

from oslo_context.context import RequestContext

from volflow import arguments as check
from volflow import rules
from volflow.drivers.base import initiator_of
from volflow.exceptions import InvalidInput, InvalidVolume
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
from volflow.persistence.records import Records
from volflow.persistence.snapshots import Snapshot
from volflow.persistence.work import new_id
from volflow.runner import Runner, cancelled
from volflow.settling import raise_outcome


def new_operation(
    context: RequestContext,
    operation_id: str | None,
    kind: OperationKind,
    phase: str,
    volume: Volume,
    attachment_id: str | None,
    state: OperationState = OperationState.RUNNING,
) -> Operation:
    """The record of an operation that begins now."""
    return Operation(
        id=operation_id or new_id(),
        kind=kind,
        state=state,
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


class Calls:
    """The six calls; each runs its phase in the calling thread and is durable."""

    def __init__(self, runner: Runner, records: Records, joiner: Joiner) -> None:
        self._runner = runner
        self._records = records
        self._joiner = joiner

    # Attach

    def reserve_volume(
        self, context: RequestContext, volume_id: str, operation_id: str | None
    ) -> Volume:
        """Begin an attach that waits for its caller."""
        given = {"call": "reserve_volume"}

        def known(stored: StoredOperation) -> Volume:
            self._joiner.same(stored, OperationKind.ATTACH, volume_id, given)
            return self._records.volume(volume_id)

        def fresh() -> Volume:
            snapshot = self._joiner.live(volume_id)
            rules.require_reservable(snapshot)
            phase = PHASES["reserve_volume"]
            volume = snapshot.volume.volume
            operation = new_operation(
                context, operation_id, phase.kind, phase.name, volume, new_id()
            )
            raise_outcome(self._runner.start(context, phase, operation, snapshot, given))
            return self._records.volume(volume_id)

        return self._joiner.once(operation_id, known, fresh)

    def initialize_connection(
        self, context: RequestContext, volume_id: str, connector: Any
    ) -> ConnectionInfo:
        """Make the connection of a reservation, or give the answer again."""
        connector = check.connector(connector)

        def attempt() -> ConnectionInfo:
            snapshot, _ = self._resting(volume_id, OperationKind.ATTACH, "initialize_connection")
            stored = snapshot.operation
            driver = self._runner.driver(snapshot.volume.volume.backend)
            if stored is None or not rules.waits(stored, OperationKind.ATTACH):
                return rules.existing_connection(snapshot, initiator_of(driver, connector))
            recorded = stored.arguments.get("connector")
            if recorded is not None:
                rules.require_same_initiator(driver, recorded, connector)
                self._runner.touch(stored)
                return rules.connection_info(rules.mine(snapshot))
            arguments = stored.arguments | {"connector": connector}
            phase = PHASES["initialize_connection"]
            run = self._runner.advance(context, phase, snapshot, arguments)
            raise_outcome(run)
            return rules.connection_info(run.attachment)

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
        """End an attach."""
        given = attach_arguments(instance_uuid, host_name, mountpoint, mode)
        if given["instance_uuid"] is None and given["host_name"] is None:
            raise InvalidInput("attach needs an instance_uuid or a host_name")

        def attempt() -> Attachment:
            snapshot, _ = self._resting(volume_id, OperationKind.ATTACH, "attach")
            rules.require_mode(snapshot.volume.volume, mode)
            same = rules.same_instance(snapshot, given)
            stored = snapshot.operation
            if stored is None or not rules.waits(stored, OperationKind.ATTACH):
                if same is None:
                    wanted = [VolumeStatus.ATTACHING]
                    raise rules.expected_status(snapshot.volume.volume, wanted)
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
            return self._records.attachment(run.attachment.id)

        return self._joiner.repeat(attempt)

    def unreserve_volume(self, context: RequestContext, volume_id: str) -> Volume:
        """Undo an attach that waits."""
        return self._roll(context, volume_id, OperationKind.ATTACH, "unreserve_volume")

    # Detach

    def begin_detaching(
        self,
        context: RequestContext,
        volume_id: str,
        attachment_id: str | None,
        operation_id: str | None,
    ) -> Volume:
        """Begin a detach that waits for its caller."""
        given = {"call": "begin_detaching", "wanted": attachment_id}

        def known(stored: StoredOperation) -> Volume:
            self._joiner.same(stored, OperationKind.DETACH, volume_id, given)
            return self._records.volume(volume_id)

        def fresh() -> Volume:
            snapshot = self._joiner.live(volume_id)
            attachment = self.detachable(snapshot, attachment_id)
            phase = PHASES["begin_detaching"]
            volume = snapshot.volume.volume
            operation = new_operation(
                context, operation_id, phase.kind, phase.name, volume, attachment.id
            )
            raise_outcome(self._runner.start(context, phase, operation, snapshot, given))
            return self._records.volume(volume_id)

        return self._joiner.once(operation_id, known, fresh)

    def terminate_connection(
        self, context: RequestContext, volume_id: str, connector: Any, force: bool
    ) -> None:
        """Take the access of a detach away, or that of an attach whose caller gives up."""
        connector = None if connector is None else check.connector(connector)
        check.flag("force", force)

        def attempt() -> None:
            snapshot, joined = self._resting(volume_id, None, "terminate_connection", force)
            stored = snapshot.operation
            if stored is not None and rules.is_stopped_attach(stored):
                self._require_own(snapshot, stored, connector)
                self._go_on_forced(stored)
            elif stored is not None and rules.waits(stored, OperationKind.DETACH):
                self._require_own(snapshot, stored, connector)
                if stored.arguments.get("terminated"):
                    self._runner.touch(stored)
                else:
                    self._terminate(context, snapshot, stored, force)
            elif stored is not None and rules.waits(stored, OperationKind.ATTACH):
                if stored.arguments.get("connector") is not None:
                    self._require_own(snapshot, stored, connector)
                    undo = UNDOS["undo_initialize_connection"]
                    raise_outcome(self._runner.undo(context, undo, snapshot, force=force))
            elif joined is None:
                wanted = [VolumeStatus.DETACHING, VolumeStatus.ATTACHING]
                raise rules.expected_status(snapshot.volume.volume, wanted)

        self._joiner.repeat(attempt)

    def _go_on_forced(self, stored: StoredOperation) -> None:
        """Undo an attach that a live session, or one that nobody can tell, holds open."""
        run = self._runner.resume(stored, wait_for_lock=True, force=True)
        if run is not None and run.leftovers:
            raise_outcome(run)

    def detach(self, context: RequestContext, volume_id: str, attachment_id: str | None) -> Volume:
        """Do what of a detach is still to do."""

        def attempt() -> Volume:
            if self._is_detached(volume_id, attachment_id):
                return self._records.volume(volume_id)
            snapshot, joined = self._resting(volume_id, OperationKind.DETACH, "detach")
            stored = snapshot.operation
            if joined is not None and joined.record.state is OperationState.SUCCEEDED:
                return self._records.volume(volume_id)
            if stored is None or not rules.waits(stored, OperationKind.DETACH):
                if self._is_detached(volume_id, attachment_id):  # by the same call, meanwhile
                    return self._records.volume(volume_id)
                raise rules.expected_status(snapshot.volume.volume, [VolumeStatus.DETACHING])
            if attachment_id is None and len(snapshot.attachments) > 1:
                raise rules.several(snapshot)
            if attachment_id not in (None, stored.record.attachment_id):
                raise InvalidVolume(f"attachment {attachment_id} is not being detached")
            phase = PHASES["detach"]
            done = stored.arguments.get("terminated")
            tasks = [t for t in phase.tasks if not (done and t == "terminate-connection")]
            run = self._runner.advance(context, phase, snapshot, stored.arguments, tasks)
            raise_outcome(run)
            return self._records.volume(volume_id)

        return self._joiner.repeat(attempt)

    def roll_detaching(self, context: RequestContext, volume_id: str) -> Volume:
        """Undo a detach that waits."""
        return self._roll(context, volume_id, OperationKind.DETACH, "roll_detaching")

    # What they share

    def _is_detached(self, volume_id: str, attachment_id: str | None) -> bool:
        if attachment_id is None:
            return False
        named = rules.require_of(volume_id, self._records.attachment(attachment_id))
        return named.attach_status is AttachStatus.DETACHED

    def detachable(self, snapshot: Snapshot, attachment_id: str | None) -> Attachment:
        """The attachment of a detach that may begin.

        :raises AttachmentNotFound: the volume never had the one that was named.
        :raises InvalidVolume: a status forbids it, or there are several and none was named.
        """
        if attachment_id is None:
            return rules.choose_attachment(snapshot, None)
        volume_id = snapshot.volume.volume.id
        named = rules.require_of(volume_id, self._records.attachment(attachment_id))
        return rules.choose_attachment(snapshot, named)

    def _terminate(
        self, context: RequestContext, snapshot: Snapshot, stored: StoredOperation, force: bool
    ) -> None:
        arguments = stored.arguments | ({"force": True} if force else {})
        phase = PHASES["terminate_connection"]
        raise_outcome(self._runner.advance(context, phase, snapshot, arguments))

    def _roll(
        self, context: RequestContext, volume_id: str, kind: OperationKind, name: str
    ) -> Volume:
        attach = kind is OperationKind.ATTACH
        status = VolumeStatus.ATTACHING if attach else VolumeStatus.DETACHING

        def attempt() -> Volume:
            snapshot, joined = self._resting(volume_id, kind, name)
            stored = snapshot.operation
            if joined is not None and joined.record.state is OperationState.ROLLED_BACK:
                return self._records.volume(volume_id)
            if stored is None or stored.record.kind is not kind:
                raise rules.expected_status(snapshot.volume.volume, [status])
            if stored.record.state is OperationState.NEEDS_ATTENTION:
                return again(stored)
            raise_outcome(self._runner.undo(context, UNDOS[name], snapshot))
            return self._records.volume(volume_id)

        def again(stored: StoredOperation) -> Volume:
            """Undo what was refused before, and then the rest."""
            run = self._runner.resume(stored, wait_for_lock=True)
            if run is None or run.state is OperationState.WAITING:
                return attempt()
            if run.leftovers:
                raise_outcome(run)
            return self._records.volume(volume_id)

        return self._joiner.repeat(attempt)

    def _resting(
        self, volume_id: str, kind: OperationKind | None, phase: str, force: bool = False
    ) -> tuple[Snapshot, StoredOperation | None]:
        """Read the volume when no run is changing it; the same call of others is waited for.

        :returns: the volume, and the operation whose run was waited for, as it is now.
        :raises InvalidVolume: something else is running.
        """
        snapshot = self._joiner.live(volume_id)
        stored = snapshot.operation
        if stored is None:
            return snapshot, None
        if not stored.running:
            if stored.record.state is OperationState.QUEUED:
                raise InvalidVolume(
                    f"volume {volume_id} is {snapshot.volume.volume.status}: operation "
                    f"{stored.id} is queued for a conductor; cancel it, or wait for it"
                )
            if not force:
                rules.require_orderly(stored, phase)
            if stored.cancel_requested and stored.record.state is OperationState.WAITING:
                context = RequestContext(request_id=stored.record.request_id, overwrite=False)
                undo = UNDOS["cancel_operation"]
                self._runner.undo(context, undo, snapshot, cancelled(stored))
                return self._records.live(volume_id), None
            return snapshot, None
        record = stored.record
        same = record.phase == phase and kind in (None, record.kind)
        if not same and not self._joiner.is_dead(stored):
            raise InvalidVolume(
                f"volume {volume_id} is {snapshot.volume.volume.status}: operation {stored.id} "
                f"runs {record.phase} now"
            )
        joined = self._joiner.join(stored)
        if not same:
            return self._resting(volume_id, kind, phase, force)
        return self._records.live(volume_id), joined

    def _require_own(
        self, snapshot: Snapshot, stored: StoredOperation, connector: dict[str, Any] | None
    ) -> None:
        if connector is not None:
            driver = self._runner.driver(snapshot.volume.volume.backend)
            own = stored.arguments.get("connector") or rules.mine(snapshot).connector or {}
            rules.require_same_initiator(driver, own, connector)
