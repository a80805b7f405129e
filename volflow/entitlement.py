"""What the database entitles initiators to, and how a backend differs from it.

One function says which export and which ACL entries of a volume are justified; the repair of a
volume, recovery and ``reconcile`` all ask it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from volflow.drivers.base import Export
from volflow.models import (
    AttachStatus,
    Difference,
    DifferenceKind,
    OperationKind,
    OperationState,
    Volume,
)
from volflow.persistence.attachments import StoredAttachment
from volflow.persistence.operations import StoredOperation

_HAVE_ACCESS = (AttachStatus.ATTACHED, AttachStatus.DETACHING)
_DECIDED = (OperationState.WAITING, OperationState.QUEUED)
"""States in which an operation has left nothing half done."""


@dataclass(frozen=True)
class Entitlement:
    """What the backend should hold of one volume.

    :ivar needed: the attachments whose initiators have to have access.
    :ivar undecided: keys of initiators whose access an operation leaves open until it goes on.
    :ivar export: True: it has to be there; False: it must not; None: that is left open.
    :ivar known: all live attachments.
    """

    needed: tuple[StoredAttachment, ...]
    undecided: frozenset[str]
    export: bool | None
    known: tuple[StoredAttachment, ...] = ()

    @property
    def initiators(self) -> frozenset[str]:
        """The keys of the ACL that have to be there."""
        return frozenset(found.initiator for found in self.needed if found.initiator)

    def too_many(self, export: Export) -> tuple[str, ...]:
        """The keys of the export's ACL that nothing justifies."""
        known = self.initiators | self.undecided
        return tuple(key for key in export.acl if key not in known)

    def missing(self, export: Export) -> tuple[str, ...]:
        """The keys that the export's ACL lacks, in order."""
        if export.initiators is None:
            return ()
        return tuple(sorted(self.initiators - set(export.initiators)))


def entitlement(
    attachments: Sequence[StoredAttachment], owner: StoredOperation | None
) -> Entitlement:
    """Say what the live attachments of a volume, and the operation that owns it, justify.

    :param owner: None, or one that is settled: nobody changes the volume. An operation that runs
        leaves everything of its own attachment open.
    """
    mine = _own(attachments, owner)
    needed = [
        found
        for found in attachments
        if found is not mine and found.attachment.attach_status in _HAVE_ACCESS
    ]
    if owner is None or mine is None:
        export = bool(needed) or _left_open(owner)
        return Entitlement(tuple(needed), frozenset(), export, tuple(attachments))
    if owner.resting_state not in _DECIDED:
        undecided = frozenset({mine.initiator} if mine.initiator else ())
        export = True if needed else None
        return Entitlement(tuple(needed), undecided, export, tuple(attachments))
    if _has_access(owner):
        needed.append(mine)
    detaches = owner.record.kind is OperationKind.DETACH
    export = bool(needed) or detaches
    return Entitlement(tuple(needed), frozenset(), export, tuple(attachments))


def _own(
    attachments: Sequence[StoredAttachment], owner: StoredOperation | None
) -> StoredAttachment | None:
    """The attachment that an unsettled operation makes or ends."""
    if owner is None or owner.record.settled:
        return None
    wanted = owner.record.attachment_id
    return next((found for found in attachments if found.attachment.id == wanted), None)


def _has_access(owner: StoredOperation) -> bool:
    """True where the initiator of an operation that waits or is queued has to have access."""
    if owner.record.kind is OperationKind.ATTACH:
        return bool(owner.arguments.get("handed_out"))
    return not owner.arguments.get("terminated")


def _left_open(owner: StoredOperation | None) -> bool | None:
    """The answer for an export that no attachment needs: a stopped undo may still have it."""
    if owner is None or owner.record.settled or owner.record.kind is OperationKind.REPAIR:
        return False
    return None if owner.resting_state not in _DECIDED else False


def differences(
    volume: Volume, entitled: Entitlement, export: Export | None
) -> Iterator[Difference]:
    """Compare what a volume's export is with what it should be."""

    def found(
        kind: DifferenceKind, detail: str, initiator: str | None = None, in_use: bool = False
    ) -> Difference:
        return Difference(
            kind, volume.backend, volume.id, initiator, volume.operation_id, in_use, detail
        )

    if export is None:
        if entitled.export:
            yield found(
                DifferenceKind.EXPORT_MISSING, f"volume {volume.id} has to be exported, and is not"
            )
        return
    if entitled.export is False:
        yield found(
            DifferenceKind.EXPORT_UNJUSTIFIED,
            f"volume {volume.id} is exported, and no attachment needs it",
            in_use=logged_in(export),
        )
    for key in entitled.missing(export):
        yield found(
            DifferenceKind.ACCESS_MISSING, f"{key} has to have access to volume {volume.id}", key
        )
    for key in entitled.too_many(export):
        yield found(
            DifferenceKind.ACCESS_UNJUSTIFIED,
            f"{key} has access to volume {volume.id}, and no attachment needs it",
            key,
            logged_in(export, key),
        )


def logged_in(export: Export, initiator: str | None = None) -> bool:
    """True where a session is live, or the backend cannot tell.

    :param initiator: only this one's, whatever its case; None: anybody's.
    """
    found = live_sessions(export, initiator)
    return found is None or bool(found)


def live_sessions(export: Export, initiator: str | None) -> list[str] | None:
    """The sessions of an export; None where the backend cannot tell.

    :param initiator: only this one's, whatever its case; None: all.
    """
    if export.sessions is None:
        return None
    wanted = None if initiator is None else initiator.lower()
    return [s for s in export.sessions if wanted in (None, s.lower())]


def sessions_of(
    exports: Iterable[Export], volume_id: str, initiator: str | None
) -> list[str] | None:
    """The live sessions of a volume's export; None where the backend cannot tell.

    :param initiator: only this one's, whatever its case; None: all.
    """
    for export in exports:
        if export.volume_id == volume_id:
            return live_sessions(export, initiator)
    return []
