"""Which call a volume's state allows: decisions on what was read, each with its sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from volflow.drivers.base import initiator_of
from volflow.exceptions import AttachmentNotFound, InvalidVolume, InvalidVolumeAttachMode
from volflow.flows.phases import UNDOS
from volflow.models import (
    Attachment,
    AttachStatus,
    ConnectionInfo,
    OperationKind,
    OperationState,
    Volume,
    VolumeStatus,
)
from volflow.persistence.operations import StoredOperation
from volflow.persistence.snapshots import Snapshot


def expected_status(volume: Volume, wanted: Sequence[VolumeStatus]) -> InvalidVolume:
    """The error for a volume that is not in a status that the call needs."""
    names = " or ".join(wanted)
    owner = f", owned by operation {volume.operation_id}" if volume.operation_id else ""
    return InvalidVolume(f"volume {volume.id} is {volume.status}{owner}; expected {names}")


def require_free(volume: Volume, wanted: Sequence[VolumeStatus]) -> None:
    """Check that the volume has one of these statuses, and that no operation owns it.

    :raises InvalidVolume: it has not, or one does.
    """
    if volume.status not in wanted or volume.operation_id is not None:
        raise expected_status(volume, wanted)


def require_reservable(snapshot: Snapshot) -> None:
    """Check that a reservation may begin.

    :raises InvalidVolume: the volume's status, its owner, or an attachment forbids it.
    """
    volume = snapshot.volume.volume
    wanted = [VolumeStatus.AVAILABLE]
    if volume.multiattach:
        wanted.append(VolumeStatus.IN_USE)
    require_free(volume, wanted)
    if snapshot.attachments and not volume.multiattach:
        # Somebody wrote the status by hand: the host still has the volume.
        raise InvalidVolume(
            f"volume {volume.id} is {volume.status}, and attachment "
            f"{snapshot.attachments[0].attachment.id} has it; reconcile it first"
        )


def require_mode(volume: Volume, mode: str) -> None:
    """Refuse to write to a readonly volume.

    :raises InvalidVolumeAttachMode: mode ``rw``, and the volume is readonly.
    """
    if volume.readonly and mode == "rw":
        raise InvalidVolumeAttachMode(f"volume {volume.id} is readonly; attach it with mode 'ro'")


def choose_attachment(snapshot: Snapshot, named: Attachment | None) -> Attachment:
    """Choose the attachment of a detach that may begin.

    :param named: the one that the caller named; None: the only one.
    :raises InvalidVolume: the volume's or the attachment's status forbids it, or there are
        several and none was named.
    """
    require_free(snapshot.volume.volume, [VolumeStatus.IN_USE])
    chosen = named
    if chosen is None:
        if len(snapshot.attachments) != 1:
            raise several(snapshot)
        chosen = snapshot.attachments[0].attachment
    if chosen.attach_status is not AttachStatus.ATTACHED:
        raise InvalidVolume(f"attachment {chosen.id} is {chosen.attach_status}; expected attached")
    return chosen


def require_of(volume_id: str, attachment: Attachment) -> Attachment:
    """Check that the attachment is the volume's.

    :raises AttachmentNotFound: it is another volume's.
    """
    if attachment.volume_id != volume_id:
        raise AttachmentNotFound(f"volume {volume_id} has no attachment {attachment.id}")
    return attachment


def require_same_initiator(driver: Any, mine: dict[str, Any], asked: dict[str, Any]) -> None:
    """Check that a connector is that of the attachment.

    :raises InvalidVolume: it names another initiator.
    """
    own = initiator_of(driver, mine)
    if own != initiator_of(driver, asked):
        raise InvalidVolume(f"the volume is reserved for {own}, not for this connector")


def waits(stored: StoredOperation | None, kind: OperationKind) -> bool:
    """True where the operation is one of the six calls' and it is its caller's turn."""
    if stored is None or stored.record.kind is not kind:
        return False
    if stored.record.state is OperationState.WAITING:
        return True
    return (
        stored.record.state is OperationState.NEEDS_ATTENTION
        and bool(stored.arguments.get("force"))
        and stored.arguments.get("call") == "begin_detaching"
    )


def is_stopped_attach(stored: StoredOperation) -> bool:
    """True where the undo of an attach (or of a part of it) is being refused or held back."""
    record = stored.record
    return record.kind is OperationKind.ATTACH and record.state is OperationState.NEEDS_ATTENTION


def require_orderly(stored: StoredOperation, phase: str) -> None:
    """Refuse to build on an operation whose undo is being refused; its inverse may go on.

    :raises InvalidVolume: it needs attention.
    """
    if (
        stored.record.state is OperationState.NEEDS_ATTENTION
        and phase not in UNDOS
        and not waits(stored, OperationKind.DETACH)
    ):
        raise InvalidVolume(
            f"operation {stored.id} is not done: the backend refuses "
            f"{'; '.join(stored.record.leftovers)}"
        )


def mine(snapshot: Snapshot) -> Attachment:
    """The attachment of the operation that owns the volume.

    :raises InvalidVolume: its row is missing.
    """
    wanted = snapshot.operation.record.attachment_id if snapshot.operation else None
    for found in snapshot.attachments:
        if found.attachment.id == wanted:
            return found.attachment
    raise InvalidVolume(f"volume {snapshot.volume.volume.id} has lost attachment {wanted}")


def connection_info(attachment: Attachment) -> ConnectionInfo:
    """What the attachment's initiator was told.

    :raises InvalidVolume: it was told nothing yet.
    """
    if attachment.connection_info is None:
        raise InvalidVolume(f"attachment {attachment.id} has no connection")
    return attachment.connection_info


def existing_connection(snapshot: Snapshot, initiator: str) -> ConnectionInfo:
    """What an initiator was told that has the volume already.

    :raises InvalidVolume: it has not.
    """
    for found in snapshot.attachments:
        attachment = found.attachment
        if found.initiator == initiator and attachment.attach_status is AttachStatus.ATTACHED:
            return connection_info(attachment)
    raise expected_status(snapshot.volume.volume, [VolumeStatus.ATTACHING])


def same_instance(snapshot: Snapshot, given: dict[str, Any]) -> Attachment | None:
    """The attachment that the instance (or the host, without one) has already."""
    for found in (a.attachment for a in snapshot.attachments):
        if found.attach_status is not AttachStatus.ATTACHED:
            continue
        if given["instance_uuid"] is not None:
            if found.instance_uuid == given["instance_uuid"]:
                return found
        elif found.instance_uuid is None and found.attached_host == given["host_name"]:
            return found
    return None


def several(snapshot: Snapshot) -> InvalidVolume:
    """The error for a volume of which one attachment has to be named."""
    return InvalidVolume(
        f"volume {snapshot.volume.volume.id} has {len(snapshot.attachments)} attachments; "
        "name one with attachment_id"
    )
