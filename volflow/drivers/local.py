"""Volumes as files that their users open on this very host: no target, no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from volflow.drivers.base import Export, ModelUpdate, VolumeDriver
from volflow.drivers.files import Images
from volflow.drivers.ledger import Ledger
from volflow.exceptions import ConnectionFailed, ExportFailed, InvalidConnector
from volflow.models import ConnectionInfo, Connector, DriverVolume


class LocalDriver(VolumeDriver):
    """Images in one directory, opened by their path; for a machine without an iSCSI target.

    The ACL says who should have access, for recovery and for whoever mounts the directory; the
    path itself is guarded by the directory's permissions alone. Nothing can tell who has a
    file open, so that no export ever has a session.

    :param directory: the images; the exports are kept in its subdirectory ``exports``.
    """

    def __init__(self, directory: str | Path) -> None:
        self.images = Images(directory)
        self.ledger = Ledger(Path(directory) / "exports")

    def do_setup(self, context: Any) -> None:
        """Make the directories where they are missing."""
        self.images.prepare()
        self.ledger.prepare()

    def check_for_setup_error(self) -> None:
        """Raise DriverError where one of the directories cannot be written."""
        self.images.check()
        self.ledger.check()

    def create_volume(self, context: Any, volume: DriverVolume) -> ModelUpdate | None:
        """Make the image; one of the right size is left."""
        self.images.create(volume.id, volume.size_gib)
        return None

    def delete_volume(self, context: Any, volume: DriverVolume) -> None:
        """Delete the image; one that is gone already is no error."""
        self.images.delete(volume.id)

    def validate_connector(self, connector: Connector) -> None:
        """Check that the connector names its ``initiator`` or its ``host``.

        :raises InvalidConnector: it names neither.
        """
        self.initiator_of(connector)

    def initiator_of(self, connector: Connector) -> str:
        """Return the ACL's key: the initiator, else the host, in lower case.

        :raises InvalidConnector: there is neither.
        """
        for key in ("initiator", "host"):
            name = connector.get(key) if isinstance(connector, dict) else None
            if isinstance(name, str) and name:
                return name.lower()
        raise InvalidConnector("the connector has neither an initiator nor a host")

    def create_export(
        self, context: Any, volume: DriverVolume, connector: Connector
    ) -> ModelUpdate | None:
        """Open the export, with access for nobody.

        :returns: ``{"provider_location": "/var/lib/volflow/images/6f0c....raw"}``.
        """
        path = self.images.path(volume.id)
        self.ledger.add(volume.id)
        return {"provider_location": str(path)}

    def ensure_export(self, context: Any, volume: DriverVolume) -> ModelUpdate | None:
        """Open the export again where it is gone.

        :raises ExportFailed: the recorded location is another one.
        """
        path = self.images.path(volume.id)
        if volume.provider_location not in (None, str(path)):
            raise ExportFailed(
                f"volume {volume.id} is recorded at {volume.provider_location}, but its image "
                f"is {path}"
            )
        self.ledger.add(volume.id)
        return None

    def remove_export(self, context: Any, volume: DriverVolume) -> None:
        """Close the export and forget its ACL."""
        self.ledger.remove(volume.id)

    def initialize_connection(self, volume: DriverVolume, connector: Connector) -> ConnectionInfo:
        """Give the initiator access.

        :returns: ``{"driver_volume_type": "local", "data": {"device_path": "/..."}}``.
        :raises ConnectionFailed: the volume is not exported.
        """
        initiator = self.initiator_of(connector)
        path = self.images.path(volume.id)
        if self.ledger.initiators(volume.id) is None:
            raise ConnectionFailed(f"volume {volume.id} is not exported")
        self.ledger.grant(volume.id, initiator)
        return {
            "driver_volume_type": "local",
            "data": {"device_path": str(path), "volume_id": volume.id},
        }

    def terminate_connection(
        self, volume: DriverVolume, connector: Connector, force: bool = False
    ) -> None:
        """Take the initiator's access away; one that has none is no error."""
        self.ledger.revoke(volume.id, self.initiator_of(connector))

    def list_exports(self) -> list[Export]:
        """List the exports that are open."""
        return self.ledger.exports()
