"""Volumes as files that a target exports over iSCSI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from volflow.drivers.base import Export, ModelUpdate, VolumeDriver
from volflow.drivers.files import Images
from volflow.drivers.targets import Target
from volflow.drivers.targets.tgt import TgtTarget
from volflow.exceptions import DriverError
from volflow.models import ConnectionInfo, Connector, DriverVolume


class FileDriver(VolumeDriver):
    """Images in one directory, exported by a target.

    :param directory: where the images are.
    :param target: what exports them.
    """

    def __init__(self, directory: str | Path, target: Target) -> None:
        self.images = Images(directory)
        self.target = target

    @classmethod
    def from_options(
        cls,
        directory: str,
        portal: str = "127.0.0.1:3260",
        control_port: int = 0,
        iqn_prefix: str = "iqn.2010-10.org.openstack:volume-",
        timeout: float = 20.0,
        socket: str = "/var/run/tgtd/socket",
        ping_seconds: int = 5,
    ) -> FileDriver:
        """Build the driver with tgtd as its target; see :class:`TgtTarget` for the options."""
        return cls(
            directory, TgtTarget(portal, control_port, iqn_prefix, timeout, socket, ping_seconds)
        )

    def do_setup(self, context: Any) -> None:
        """Make the directory where it is missing."""
        self.images.prepare()

    def check_for_setup_error(self) -> None:
        """Raise DriverError where the directory cannot be written, or the target cannot work."""
        self.images.check()
        self.target.check()

    def create_volume(self, context: Any, volume: DriverVolume) -> ModelUpdate | None:
        """Make the image; one of the right size is left."""
        self.images.create(volume.id, volume.size_gib)
        return None

    def delete_volume(self, context: Any, volume: DriverVolume) -> None:
        """Delete the image; one that is gone already is no error.

        :raises DriverError: the volume is still exported: a target keeps a deleted file alive.
        """
        if any(export.volume_id == volume.id for export in self.target.exports()):
            raise DriverError(f"volume {volume.id} is still exported")
        self.images.delete(volume.id)

    def validate_connector(self, connector: Connector) -> None:
        """Raise InvalidConnector where the connector lacks what the target needs."""
        self.target.validate_connector(connector)

    def create_export(
        self, context: Any, volume: DriverVolume, connector: Connector
    ) -> ModelUpdate | None:
        """Export the image, with access for nobody."""
        return self.target.create(volume, self.images.path(volume.id))

    def ensure_export(self, context: Any, volume: DriverVolume) -> ModelUpdate | None:
        """Export the image at the recorded location with the recorded credentials."""
        self.target.ensure(volume, self.images.path(volume.id))
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

    def terminate_unused_connection(self, volume: DriverVolume, connector: Connector) -> None:
        """Take the initiator's access away unless it is logged in.

        :raises ConnectionInUse: it is, and keeps its access.
        """
        self.target.disconnect_unused(volume, connector)

    def list_exports(self) -> list[Export]:
        """List the exports that the target holds now."""
        return self.target.exports()
