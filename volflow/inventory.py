"""Volumes made and deleted, and what there is: volumes, attachments, operations."""

from __future__ import annotations

from typing import Any

from oslo_context.context import RequestContext

from volflow import arguments as check
from volflow.calls import Calls, new_operation
from volflow.exceptions import (
    AttachmentNotFound,
    InvalidInput,
    InvalidVolume,
    OperationConflict,
)
from volflow.flows.phases import PHASES
from volflow.joining import Joiner
from volflow.models import (
    Attachment,
    AttachStatus,
    DriverVolume,
    Event,
    Operation,
    OperationKind,
    OperationState,
    Volume,
    VolumeStatus,
)
from volflow.persistence import operations
from volflow.persistence.volumes import StoredVolume, public
from volflow.persistence.work import FromNow, conditional_update, new_id
from volflow.runner import Runner, Snapshot, raise_outcome
from volflow.states import allowed
from volflow.tasks.run import expected_status

_COMPARED = (
    "size_gib",
    "backend",
    "name",
    "multiattach",
    "readonly",
    "qos_specs",
    "encryption_key_id",
)


class Inventory:
    """Volumes as things, and the queries."""

    def __init__(self, runner: Runner, joiner: Joiner, calls: Calls) -> None:
        self._runner = runner
        self._joiner = joiner
        self._calls = calls

    def create_volume(
        self, context: RequestContext, volume_id: str | None, wanted: dict[str, Any]
    ) -> Volume:
        """Make a volume on its backend; ``wanted`` holds checked columns."""
        self._runner.driver(wanted["backend"])
        given = {"call": "create_volume", "volume": wanted}
        key = volume_id or new_id()

        def attempt() -> Volume:
            if volume_id and (stored := self._joiner.find(volume_id)):
                self._joiner.same(stored, OperationKind.CREATE, volume_id, given)
                return self.get_volume(volume_id)
            operation_id = volume_id or new_id()
            volume = _planned(key, operation_id, wanted)
            phase = PHASES["create_volume"]
            operation = new_operation(context, operation_id, phase.kind, phase.name, volume, None)
            snapshot = Snapshot(StoredVolume(volume, 0, deleted=False), [], None)
            raise_outcome(self._runner.start(context, phase, operation, snapshot, given))
            return self.get_volume(key)

        if volume_id is not None:
            self._refuse_taken(volume_id)
        return self._joiner.repeat(attempt)

    def delete_volume(self, context: RequestContext, volume_id: str) -> None:
        """Delete a volume that nobody uses."""

        def attempt() -> None:
            snapshot = self._calls.live(volume_id)
            volume = snapshot.volume.volume
            wanted = [VolumeStatus.AVAILABLE, VolumeStatus.ERROR]
            if volume.status not in wanted or volume.operation_id is not None:
                raise expected_status(volume, wanted)
            if snapshot.attachments:
                raise InvalidVolume(
                    f"volume {volume_id} has {len(snapshot.attachments)} attachments; detach first"
                )
            phase = PHASES["delete_volume"]
            operation = new_operation(context, None, phase.kind, phase.name, volume, None)
            given = {"call": "delete_volume"}
            raise_outcome(self._runner.start(context, phase, operation, snapshot, given))

        self._joiner.repeat(attempt)

    def set_maintenance(self, volume_id: str, on: bool) -> Volume:
        """Take an available volume out of use, or back."""
        before, after = VolumeStatus.AVAILABLE, VolumeStatus.MAINTENANCE
        if not on:
            before, after = after, before
        assert allowed(before, after)
        found = self._calls.live(volume_id)
        volume = found.volume.volume
        if volume.status is after:
            return public(volume)
        if volume.status is not before or volume.operation_id is not None:
            raise expected_status(volume, [before])
        revision = found.volume.revision
        expected = {"status": before.value, "operation_id": None, "revision": revision}
        values = {"status": after.value, "revision": revision + 1, "updated_at": FromNow()}
        if not self._runner.database.write(
            lambda c: conditional_update(c, "volumes", volume_id, values, expected),
            landed=lambda c: self._has_revision(c, volume_id, revision + 1),
        ):
            raise InvalidVolume(f"volume {volume_id} changed meanwhile; try again")
        return self.get_volume(volume_id)

    def get_volume(self, volume_id: str) -> Volume:
        """The volume.

        :raises VolumeNotFound: there is none, or it was deleted.
        """
        return public(self._calls.live(volume_id).volume.volume)

    def list_volumes(
        self, status: str | None, backend: str | None, limit: int | None, marker: str | None
    ) -> list[Volume]:
        """Volumes, oldest first."""
        if status is not None and status not in set(VolumeStatus):
            raise InvalidInput(f"there is no status {status!r}")
        with self._runner.database.read() as connection:
            return self._runner.volumes.list(connection, status, backend, limit, marker)

    def list_attachments(self, volume_id: str | None, live: bool) -> list[Attachment]:
        """Attachments, oldest first."""
        with self._runner.database.read() as connection:
            return self._runner.attachments.list(connection, volume_id, live)

    def get_attachment(self, attachment_id: str) -> Attachment:
        """The attachment, also a detached one."""
        with self._runner.database.read() as connection:
            found = self._runner.attachments.get(connection, attachment_id)
        if found is None:
            raise AttachmentNotFound(f"there is no attachment {attachment_id}")
        return found.attachment

    def get_operation(self, operation_id: str) -> Operation:
        """The operation."""
        return self._joiner.get(operation_id).record

    def list_operations(
        self, state: str | None, volume_id: str | None, limit: int | None, marker: str | None
    ) -> list[Operation]:
        """Operations, oldest first."""
        if state is not None and state not in set(OperationState):
            raise InvalidInput(f"there is no operation state {state!r}")
        with self._runner.database.read() as connection:
            return operations.find(connection, state, volume_id, limit, marker)

    def timeline(self, operation_id: str) -> list[Event]:
        """What happened in an operation, in order."""
        self._joiner.get(operation_id)
        with self._runner.database.read() as connection:
            return operations.timeline(connection, operation_id)

    def _refuse_taken(self, volume_id: str) -> None:
        with self._runner.database.read() as connection:
            found = self._runner.volumes.get(connection, volume_id)
            operation = operations.get(connection, volume_id)
        if found is None:
            return
        settled = operation is not None and operation.record.state is OperationState.ROLLED_BACK
        if operation is None or (found.deleted and not settled):
            raise OperationConflict(f"the volume id {volume_id} was used before")

    def _has_revision(self, connection: Any, volume_id: str, revision: int) -> bool:
        found = self._runner.volumes.get(connection, volume_id)
        return found is not None and found.revision == revision


def checked_volume(
    size_gib: Any,
    backend: Any,
    name: Any,
    multiattach: Any,
    readonly: Any,
    qos_specs: Any,
    encryption_key_id: Any,
) -> dict[str, Any]:
    """The columns of a new volume.

    :raises InvalidInput: one of them is wrong.
    """
    if qos_specs is not None and not isinstance(qos_specs, dict):
        raise InvalidInput("qos_specs has to be a dict or None")
    values = (
        check.size_gib(size_gib),
        check.text("backend", backend, optional=False),
        check.text("name", name),
        check.flag("multiattach", multiattach),
        check.flag("readonly", readonly),
        check.json_value("qos_specs", qos_specs),
        check.text("encryption_key_id", encryption_key_id),
    )
    return dict(zip(_COMPARED, values, strict=True))


def _planned(volume_id: str, operation_id: str, wanted: dict[str, Any]) -> DriverVolume:
    return DriverVolume(
        id=volume_id,
        status=VolumeStatus.CREATING,
        attach_status=AttachStatus.DETACHED,
        provider_location=None,
        operation_id=operation_id,
        created_at=None,
        updated_at=None,
        **wanted,
    )
