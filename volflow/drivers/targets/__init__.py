"""Targets: what exports a volume's file or device to other hosts.

A driver that has storage of its own is given one of these to export it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from volflow.drivers.base import Export, ModelUpdate
from volflow.models import ConnectionInfo, Connector, DriverVolume

__all__ = ["Target", "TellingTarget"]


class Target(Protocol):
    """Exports paths. Every method may be repeated, and finds its export by the volume's id.

    Calls for one volume never overlap; calls for several do, also from several processes.
    """

    def check(self) -> None:
        """Raise DriverError where the target cannot work as it is configured."""

    def validate_connector(self, connector: Connector) -> None:
        """Raise InvalidConnector where the connector lacks what the target needs."""

    def initiator_of(self, connector: Connector) -> str:
        """Name the ACL's key for a connector, as :meth:`exports` lists it."""

    def create(self, volume: DriverVolume, path: Path) -> ModelUpdate:
        """Export the path with the volume's credentials, or new ones, and access for nobody.

        An export that is already right is left with its sessions; one that is half made is
        finished; credentials that are not the volume's are replaced.
        """

    def ensure(self, volume: DriverVolume, path: Path) -> None:
        """Export the path at the recorded location with the recorded credentials.

        :raises ExportFailed: the recorded location is none that this target serves.
        """

    def remove(self, volume: DriverVolume) -> None:
        """Remove the export with its ACL, its credentials and its sessions."""

    def connect(self, volume: DriverVolume, connector: Connector) -> ConnectionInfo:
        """Give the initiator access to the export and describe the way to it."""

    def disconnect(self, volume: DriverVolume, connector: Connector) -> None:
        """Take the initiator's access away and end its sessions, and nobody else's."""

    def exports(self) -> list[Export]:
        """List the exports of volumes that the target holds now."""


class TellingTarget(Target, Protocol):
    """A target that can refuse new logins and then tell who is logged in."""

    def disconnect_unused(self, volume: DriverVolume, connector: Connector) -> None:
        """Take the initiator's access away unless it is logged in.

        :raises ConnectionInUse: it is, and keeps its access.
        """
