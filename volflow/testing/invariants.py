"""What has to hold whenever nothing runs: the guarantees, checked against the backend itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oslo_context.context import RequestContext

from volflow.drivers.base import Export, initiator_of
from volflow.models import (
    TRANSITIONAL,
    Attachment,
    OperationState,
    Volume,
    VolumeStatus,
    derive_status,
)
from volflow.persistence import operations

if TYPE_CHECKING:
    from volflow.manager import VolumeManager


def violations(manager: VolumeManager, driver: Any, backend: str) -> list[str]:
    """Compare database and backend, and return what breaks a guarantee, each as a sentence.

    Call it when no run is going on. An operation that waits for its caller is in order; one that
    needs attention is not.
    """
    context = RequestContext(overwrite=False)
    exports = {export.volume_id: export for export in driver.list_exports()}
    found: list[str] = []
    for volume in manager.list_volumes(context, backend=backend):
        attachments = manager.list_attachments(context, volume.id)
        found += _owner(manager, volume)
        found += _status(volume, attachments)
        found += _double(volume, attachments)
        export = exports.pop(volume.id, None)
        found += _backend(manager, volume, attachments, export, driver)
    found += [f"G2: volume {key} is exported, and the database has none" for key in exports]
    return found


def _owner(manager: VolumeManager, volume: Volume) -> list[str]:
    if volume.operation_id is None:
        if volume.status in TRANSITIONAL:
            return [f"G1: volume {volume.id} is {volume.status} and nobody owns it"]
        return []
    with manager.database.read() as connection:
        stored = operations.get(connection, volume.operation_id)
    if stored is None:
        return [f"G1: volume {volume.id} is owned by an operation that is not there"]
    if stored.record.state is not OperationState.WAITING:
        return [f"G1: operation {stored.id} is {stored.record.state}: {stored.record}"]
    return []


def _status(volume: Volume, attachments: list[Attachment]) -> list[str]:
    if volume.status in (VolumeStatus.ERROR, VolumeStatus.MAINTENANCE):
        return []
    derived = derive_status(a.attach_status for a in attachments)
    if (volume.status, volume.attach_status) == derived:
        return []
    return [f"G1: volume {volume.id} is {volume.status}/{volume.attach_status}, not {derived}"]


def _double(volume: Volume, attachments: list[Attachment]) -> list[str]:
    if volume.multiattach or len(attachments) < 2:
        return []
    return [f"G3: volume {volume.id} has {len(attachments)} attachments"]


def _backend(
    manager: VolumeManager,
    volume: Volume,
    attachments: list[Attachment],
    export: Export | None,
    driver: Any,
) -> list[str]:
    terminated = _terminated(manager, volume)
    entitled = {
        initiator_of(driver, a.connector or {})
        for a in attachments
        if a.connection_info is not None and a.id != terminated
    }
    needed = any(a.connection_info is not None for a in attachments)
    if not needed:
        return [] if export is None else [f"G2: volume {volume.id} is exported for nobody"]
    if export is None:
        return [f"G3: volume {volume.id} is attached and not exported"]
    if export.initiators is not None and set(export.initiators) != entitled:
        has, due = sorted(export.initiators), sorted(entitled)
        return [f"G2: volume {volume.id} lets {has} in; entitled are {due}"]
    return []


def _terminated(manager: VolumeManager, volume: Volume) -> str | None:
    """The attachment whose access a detach that waits has taken away already."""
    if volume.operation_id is None or volume.status is not VolumeStatus.DETACHING:
        return None
    with manager.database.read() as connection:
        stored = operations.get(connection, volume.operation_id)
    if stored is None or not stored.arguments.get("terminated"):
        return None
    return stored.record.attachment_id
