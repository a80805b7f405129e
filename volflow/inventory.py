"""Volumes made, deleted, and taken out of use."""

from __future__ import annotations

from typing import Any

from oslo_context.context import RequestContext

from volflow import arguments as check
from volflow import rules
from volflow.calls import new_operation
from volflow.exceptions import InvalidInput, InvalidVolume, OperationConflict
from volflow.flows.phases import PHASES
from volflow.joining import Joiner
from volflow.models import (
    AttachStatus,
    DriverVolume,
    OperationKind,
    OperationState,
    Volume,
    VolumeStatus,
)
from volflow.persistence import volumes
from volflow.persistence.operations import StoredOperation
from volflow.persistence.records import Records
from volflow.persistence.snapshots import Snapshot
from volflow.persistence.volumes import StoredVolume, public
from volflow.persistence.work import FromNow, conditional_update, new_id
from volflow.runner import Runner
from volflow.settling import raise_outcome
from volflow.states import allowed

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
    """Volumes as things."""

    def __init__(self, runner: Runner, records: Records, joiner: Joiner) -> None:
        self._runner = runner
        self._records = records
        self._joiner = joiner

    def create_volume(
        self, context: RequestContext, volume_id: str | None, wanted: dict[str, Any]
    ) -> Volume:
        """Make a volume on its backend; ``wanted`` holds checked columns."""
        self._runner.driver(wanted["backend"])
        given = {"call": "create_volume", "volume": wanted}
        key = volume_id or new_id()

        def known(stored: StoredOperation) -> Volume:
            self._joiner.same(stored, OperationKind.CREATE, key, given)
            return self._records.volume(key)

        def fresh() -> Volume:
            operation_id = volume_id or new_id()
            volume = _planned(key, operation_id, wanted)
            phase = PHASES["create_volume"]
            operation = new_operation(context, operation_id, phase.kind, phase.name, volume, None)
            snapshot = Snapshot(StoredVolume(volume, 0, deleted=False), [], None)
            raise_outcome(self._runner.start(context, phase, operation, snapshot, given))
            return self._records.volume(key)

        if volume_id is not None:
            self._refuse_taken(volume_id)
        return self._joiner.once(volume_id, known, fresh)

    def delete_volume(self, context: RequestContext, volume_id: str) -> None:
        """Delete a volume that nobody uses."""

        def attempt() -> None:
            snapshot = self._joiner.live(volume_id)
            volume = snapshot.volume.volume
            rules.require_free(volume, [VolumeStatus.AVAILABLE, VolumeStatus.ERROR])
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
        found = self._joiner.live(volume_id)
        volume = found.volume.volume
        if volume.status is after:
            return public(volume)
        rules.require_free(volume, [before])
        revision = found.volume.revision
        expected = {"status": before.value, "operation_id": None, "revision": revision}
        values = {"status": after.value, "revision": revision + 1, "updated_at": FromNow()}
        if not self._runner.database.write(
            lambda c: conditional_update(c, "volumes", volume_id, values, expected),
            landed=lambda c: volumes.revision(c, volume_id) == revision + 1,
        ):
            raise InvalidVolume(f"volume {volume_id} changed meanwhile; try again")
        return self._records.volume(volume_id)

    def _refuse_taken(self, volume_id: str) -> None:
        found = self._records.find_volume(volume_id)
        operation = self._records.find_operation(volume_id)
        if found is None:
            return
        settled = operation is not None and operation.record.state is OperationState.ROLLED_BACK
        if operation is None or (found.deleted and not settled):
            raise OperationConflict(f"the volume id {volume_id} was used before")


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
