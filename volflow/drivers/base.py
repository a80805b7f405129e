"""The contract between volflow's core and a storage backend.

Arguments and results follow Cinder's drivers, so that one of those fits through a thin
adapter. What the core promises a driver:

* calls that change a volume's backend never overlap, in this process or another on this host;
* ``create_export`` is called only where no export is known, ``remove_export`` only where no
  other attachment needs it, ``terminate_connection`` only where no other attachment has the
  same initiator: a driver counts nothing;
* any call may be repeated, also after a death half way: every method finds its object by the
  volume's id and the connector, and does only what is still to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from volflow.exceptions import InvalidConnector
from volflow.models import Attachment, ConnectionInfo, Connector, DriverVolume

ModelUpdate = dict[str, Any]
"""Columns that a driver wants recorded: ``provider_location``, ``provider_auth``."""


@dataclass(frozen=True, slots=True)
class Export:
    """One export that the backend holds now.

    :ivar volume_id: the volume that it exports.
    :ivar initiators: the keys of its ACL, as :func:`initiator_of` gives them; None: the backend
        keeps no ACL, or cannot tell.
    :ivar sessions: initiators that are logged in, one entry a session; None: the backend
        cannot tell.
    """

    volume_id: str
    initiators: tuple[str, ...] | None = ()
    sessions: tuple[str, ...] | None = ()

    @property
    def acl(self) -> tuple[str, ...]:
        """The keys of its ACL; none where the backend keeps or tells none."""
        return self.initiators or ()


class Host(Protocol):
    """The side of a host that uses volumes: it logs in to targets and finds the disks.

    :ivar name: the host's name, as its attachments record it.
    """

    name: str

    def connector(self) -> Connector:
        """Who the host is."""

    def connect_volume(self, connection_info: ConnectionInfo) -> Mapping[str, Any]:
        """Log in, unless it is, and wait for the disk.

        :returns: ``path``, the device's, and what else there is to say of it.
        """

    def disconnect_volume(self, connection_info: ConnectionInfo) -> None:
        """Flush and remove the disk, and log out; what is not there is no error."""


@runtime_checkable
class Driver(Protocol):
    """What the core calls; any object with these methods is a driver."""

    def do_setup(self, context: Any) -> None: ...
    def check_for_setup_error(self) -> None: ...
    def create_volume(self, context: Any, volume: DriverVolume) -> ModelUpdate | None: ...
    def delete_volume(self, context: Any, volume: DriverVolume) -> None: ...
    def validate_connector(self, connector: Connector) -> None: ...
    def create_export(
        self, context: Any, volume: DriverVolume, connector: Connector
    ) -> ModelUpdate | None: ...
    def ensure_export(self, context: Any, volume: DriverVolume) -> ModelUpdate | None: ...
    def remove_export(self, context: Any, volume: DriverVolume) -> None: ...
    def initialize_connection(
        self, volume: DriverVolume, connector: Connector
    ) -> ConnectionInfo: ...
    def terminate_connection(
        self, volume: DriverVolume, connector: Connector, force: bool = False
    ) -> Any: ...
    def attach_volume(
        self,
        context: Any,
        volume: DriverVolume,
        instance_uuid: str | None,
        host_name: str | None,
        mountpoint: str | None,
    ) -> None: ...
    def detach_volume(
        self, context: Any, volume: DriverVolume, attachment: Attachment
    ) -> None: ...
    def list_exports(self) -> Iterable[Export]: ...


class VolumeDriver:
    """A base for drivers: the calls that most backends need nothing for are no-ops.

    The rest a driver has to write; one that it left out raises NotImplementedError, which
    reaches the caller as DriverError.
    """

    def do_setup(self, context: Any) -> None:
        """Prepare: read configuration, make directories."""

    def check_for_setup_error(self) -> None:
        """Raise DriverError where the backend cannot work as it is configured."""

    def create_volume(self, context: Any, volume: DriverVolume) -> ModelUpdate | None:
        """Make the volume of ``volume.size_gib`` GiB; one that is there already is left."""
        raise NotImplementedError(f"{type(self).__name__} has no create_volume")

    def delete_volume(self, context: Any, volume: DriverVolume) -> None:
        """Delete the volume; one that is gone already is no error."""
        raise NotImplementedError(f"{type(self).__name__} has no delete_volume")

    def validate_connector(self, connector: Connector) -> None:
        """Check that the connector names its initiator.

        :raises InvalidConnector: what the driver needs is missing.
        """
        initiator = connector.get("initiator")
        if not isinstance(initiator, str) or not initiator:
            raise InvalidConnector("the connector has no initiator")

    def create_export(
        self, context: Any, volume: DriverVolume, connector: Connector
    ) -> ModelUpdate | None:
        """Export the volume with the credentials of ``volume.provider_auth``.

        :returns: ``{"provider_location": str, "provider_auth": "CHAP user secret"}``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no create_export")

    def ensure_export(self, context: Any, volume: DriverVolume) -> ModelUpdate | None:
        """Make the export exist with the recorded location and credentials."""
        raise NotImplementedError(f"{type(self).__name__} has no ensure_export")

    def remove_export(self, context: Any, volume: DriverVolume) -> None:
        """Remove the export, found by the volume's id."""
        raise NotImplementedError(f"{type(self).__name__} has no remove_export")

    def initialize_connection(self, volume: DriverVolume, connector: Connector) -> ConnectionInfo:
        """Give the initiator access and describe the way to it.

        The account that it names is that of ``volume.provider_auth``, which a repair brings back,
        whatever the target has by now.

        :returns: ``{"driver_volume_type": "iscsi", "data": {...}}``, JSON only.
        """
        raise NotImplementedError(f"{type(self).__name__} has no initialize_connection")

    def terminate_connection(
        self, volume: DriverVolume, connector: Connector, force: bool = False
    ) -> Any:
        """Take the initiator's access away; one that has none is no error."""
        raise NotImplementedError(f"{type(self).__name__} has no terminate_connection")

    def attach_volume(
        self,
        context: Any,
        volume: DriverVolume,
        instance_uuid: str | None,
        host_name: str | None,
        mountpoint: str | None,
    ) -> None:
        """Hear that the volume is attached; repeated after a death, a failure is logged."""

    def detach_volume(self, context: Any, volume: DriverVolume, attachment: Attachment) -> None:
        """Hear that the volume is detached; repeated after a death, a failure is logged."""

    def list_exports(self) -> Iterable[Export]:
        """List the exports of volflow's volumes that the backend holds now."""
        raise NotImplementedError(f"{type(self).__name__} has no list_exports")


def initiator_of(driver: object, connector: Connector) -> str:
    """Name the ACL's key for a connector: the driver's own rule, or the lower-case initiator.

    :raises InvalidConnector: the driver's own rule finds none.
    """
    own = getattr(driver, "initiator_of", None)
    if own is None:
        return str(connector.get("initiator", "")).lower()
    try:
        return str(own(connector))
    except InvalidConnector:
        raise
    except Exception as e:
        raise InvalidConnector(f"the connector names no initiator: {type(e).__name__}") from e
