"""A driver made of two parts: storage that holds volumes, and a target that exports them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from volflow.drivers.base import Export, ModelUpdate, VolumeDriver
from volflow.drivers.targets import Target
from volflow.exceptions import DriverError
from volflow.models import ConnectionInfo, Connector, DriverVolume


class Storage(Protocol):
    """Holds volumes on this host.

    Every method may be repeated; calls for one volume never overlap.
    """

    def prepare(self) -> None:
        """Make what is missing before the first use."""

    def check(self) -> None:
        """Raise DriverError where the storage cannot work as it is configured."""

    def create(self, volume_id: str, size_gib: int) -> object:
        """Make a volume; one of this size is left.

        :raises DriverError: there is one of another size, or it cannot be made.
        """

    def delete(self, volume_id: str) -> None:
        """Delete a volume; one that is gone already is no error."""

    def path(self, volume_id: str) -> Path:
        """Return where the target finds the volume, ready to be opened.

        :raises DriverError: there is none.
        """


class ExportingDriver(VolumeDriver):
    """Volumes of a storage, exported by a target.

    It has ``terminate_unused_connection`` where the target can do that: a target that cannot
    tell who is logged in leaves the question to the core.

    :param storage: what holds the volumes.
    :param target: what exports them.
    """

    def __init__(self, storage: Storage, target: Target) -> None:
        self.storage = storage
        self.target = target
        disconnect_unused = getattr(target, "disconnect_unused", None)
        if disconnect_unused is not None:
            self.terminate_unused_connection = disconnect_unused

    def do_setup(self, context: Any) -> None:
        """Make what the storage misses."""
        self.storage.prepare()

    def check_for_setup_error(self) -> None:
        """Raise DriverError where the storage or the target cannot work."""
        self.storage.check()
        self.target.check()

    def create_volume(self, context: Any, volume: DriverVolume) -> ModelUpdate | None:
        """Make the volume; one of the right size is left."""
        self.storage.create(volume.id, volume.size_gib)
        return None

    def delete_volume(self, context: Any, volume: DriverVolume) -> None:
        """Delete the volume; one that is gone already is no error.

        :raises DriverError: the volume is still exported, and a target keeps it alive.
        """
        if any(export.volume_id == volume.id for export in self.target.exports()):
            raise DriverError(f"volume {volume.id} is still exported")
        self.storage.delete(volume.id)

    def validate_connector(self, connector: Connector) -> None:
        """Raise InvalidConnector where the connector lacks what the target needs."""
        self.target.validate_connector(connector)

    def initiator_of(self, connector: Connector) -> str:
        """Name the ACL's key for a connector, as the target does."""
        return self.target.initiator_of(connector)

    def create_export(
        self, context: Any, volume: DriverVolume, connector: Connector
    ) -> ModelUpdate | None:
        """Export the volume, with access for nobody."""
        return self.target.create(volume, self.storage.path(volume.id))

    def ensure_export(self, context: Any, volume: DriverVolume) -> ModelUpdate | None:
        """Export the volume at the recorded location with the recorded credentials."""
        self.target.ensure(volume, self.storage.path(volume.id))
        return None

    def remove_export(self, context: Any, volume: DriverVolume) -> None:
        """Remove the export with its ACL, its credentials and its sessions."""
        self.target.remove(volume)

    def initialize_connection(self, volume: DriverVolume, connector: Connector) -> ConnectionInfo:
        """Give the initiator access and describe the way to the export."""
        return self.target.connect(volume, connector)

    def terminate_connection(
        self, volume: DriverVolume, connector: Connector, force: bool = False
    ) -> None:
        """Take the initiator's access away and end its sessions, with or without ``force``.

        Whether a live session may be cut is decided before this is called.
        """
        self.target.disconnect(volume, connector)

    def list_exports(self) -> list[Export]:
        """List the exports that the target holds now."""
        return self.target.exports()
