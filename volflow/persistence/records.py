"""Everything that is read: volumes, attachments, operations, timelines."""

from __future__ import annotations

from collections.abc import Sequence

from volflow.exceptions import (
    AttachmentNotFound,
    OperationNotFound,
    VolumeNotFound,
)
from volflow.models import Attachment, Conductor, Event, Operation, Volume
from volflow.persistence import conductors, operations
from volflow.persistence.attachments import Attachments
from volflow.persistence.engine import Database
from volflow.persistence.operations import StoredOperation
from volflow.persistence.secrets import Cipher
from volflow.persistence.snapshots import Snapshot, Snapshots
from volflow.persistence.volumes import StoredVolume, Volumes, public


class Records:
    """Reads; each call on one connection, and it changes nothing."""

    def __init__(self, database: Database, cipher: Cipher) -> None:
        self._database = database
        self._volumes = Volumes(cipher)
        self._attachments = Attachments(cipher)
        self._snapshots = Snapshots(self._volumes, self._attachments)

    def snapshot(self, volume_id: str, operation_id: str | None = None) -> Snapshot:
        """A volume, also a deleted one, with its owner or with the operation asked for.

        :raises VolumeNotFound: the database never had it.
        """
        found = self.find_snapshot(volume_id, operation_id)
        if found is None:
            raise VolumeNotFound(f"there is no volume {volume_id}")
        return found

    def find_snapshot(self, volume_id: str, operation_id: str | None = None) -> Snapshot | None:
        """A volume with its owner or with the operation asked for; None: there never was one.

        :raises DatabaseError: a row makes no sense to this release, or a secret cannot be read.
        """
        with self._database.read() as connection:
            return self._snapshots.of_volume(connection, volume_id, operation_id)

    def find_run(self, operation_id: str) -> Snapshot | None:
        """What a run of an operation begins with; None: it or its volume never was.

        :raises DatabaseError: a row makes no sense to this release, or a secret cannot be read.
        """
        with self._database.read() as connection:
            return self._snapshots.of_operation(connection, operation_id)

    def live(self, volume_id: str) -> Snapshot:
        """A volume that was not deleted, with its owner.

        :raises VolumeNotFound: there is none.
        """
        snapshot = self.snapshot(volume_id)
        if snapshot.volume.deleted:
            raise VolumeNotFound(f"volume {volume_id} was deleted")
        return snapshot

    def find_volume(self, volume_id: str) -> StoredVolume | None:
        """The volume, also a deleted one; None where the database never had it."""
        with self._database.read() as connection:
            return self._volumes.get(connection, volume_id)

    def volume(self, volume_id: str) -> Volume:
        """The volume.

        :raises VolumeNotFound: there is none, or it was deleted.
        """
        found = self.find_volume(volume_id)
        if found is None or found.deleted:
            raise VolumeNotFound(f"there is no volume {volume_id}")
        return public(found.volume)

    def volumes(
        self, status: str | None, backend: str | None, limit: int | None, marker: str | None
    ) -> list[Volume]:
        """Volumes that are not deleted, oldest first."""
        with self._database.read() as connection:
            return self._volumes.list(connection, status, backend, limit, marker)

    def attachment(self, attachment_id: str | None) -> Attachment:
        """The attachment, also a detached one.

        :raises AttachmentNotFound: there is none.
        """
        with self._database.read() as connection:
            found = self._attachments.get(connection, attachment_id or "")
        if found is None:
            raise AttachmentNotFound(f"there is no attachment {attachment_id}")
        return found.attachment

    def attachments(self, volume_id: str | None, live: bool) -> list[Attachment]:
        """Attachments, oldest first."""
        with self._database.read() as connection:
            return self._attachments.list(connection, volume_id, live)

    def attachments_of(self, host: str | None) -> Sequence[Attachment]:
        """The live attachments of a host that are at rest, oldest first."""
        with self._database.read() as connection:
            return self._attachments.of_host(connection, host)

    def find_operation(self, operation_id: str) -> StoredOperation | None:
        """The operation, or None."""
        with self._database.read() as connection:
            return operations.get(connection, operation_id)

    def operation(self, operation_id: str) -> StoredOperation:
        """The operation.

        :raises OperationNotFound: there is none.
        """
        found = self.find_operation(operation_id)
        if found is None:
            raise OperationNotFound(f"there is no operation {operation_id}")
        return found

    def operations(
        self, state: str | None, volume_id: str | None, limit: int | None, marker: str | None
    ) -> list[Operation]:
        """Operations, oldest first."""
        with self._database.read() as connection:
            return operations.find(connection, state, volume_id, limit, marker)

    def unsettled(self) -> tuple[list[StoredOperation], list[str]]:
        """Every operation that is not settled, oldest first, and the ids of unreadable ones."""
        with self._database.read() as connection:
            return operations.unsettled(connection)

    def conductors(self) -> list[Conductor]:
        """The conductors that live, or died without a word, oldest first."""
        with self._database.read() as connection:
            return conductors.find(connection)

    def timeline(self, operation_id: str, last: int | None = None) -> list[Event]:
        """What happened in an operation, in order; only so many of the last events."""
        with self._database.read() as connection:
            return operations.timeline(connection, operation_id, last)
