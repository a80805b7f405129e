"""Exports by nvmet, NVMe over TCP in the Linux kernel, through configfs (Linux 6.1).

**Names.** An export is a subsystem that is named after the volume, holds it open, and that no port
shows: nobody can connect to it. Each host that is given access gets a subsystem of its own beside
it, named after volume and host, that only this host may connect to. The kernel ends the
connections of a whole subsystem and not of one host, so that taking a host's access away ends its
connections and nobody else's. Every subsystem shows the same namespace, by the volume's id as its
UUID.

**Access.** A host is known by its name (NQN) alone: the network has to be one where nobody claims
another's. There are no credentials.

**Sessions.** Linux 6.1 does not tell who is connected. An export with a host on its ACL has
unknown sessions; one without any has none.

**Order.** A subsystem is shown at the ports last, and hidden from them first. Ports are made when
they are needed, found again by their address, and removed with the last subsystem; so are hosts.

**What is kept.** Nothing on disk: recovery makes exports and access again from the database.

Known limits: nvmet protects no namespace from writing, so that a readonly volume is as readonly as
its host makes it, by the ``access_mode`` of connection_info. The prefix of the names must not
change while there are exports.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from volflow.drivers.base import Export, ModelUpdate
from volflow.drivers.identity import nvme_host, volume_uuid
from volflow.drivers.targets.configfs import Configfs, KernelRefused
from volflow.drivers.targets.location import require_local, split_portals
from volflow.drivers.targets.nvmet_parts import NAMESPACE, Ports, Subsystem, host_mark
from volflow.exceptions import (
    ConnectionFailed,
    DriverError,
    ExportFailed,
    InvalidInput,
    InvalidUUID,
)
from volflow.models import ConnectionInfo, Connector, DriverVolume

ROOT = Path("/sys/kernel/config/nvmet")

_PREFIX = re.compile(r"nqn\.[0-9]{4}-[0-9]{2}\.[a-z0-9.:-]{1,140}")


class NvmetTarget:
    """Exports block devices and files by the kernel of this host, over NVMe/TCP.

    :param portal: where hosts reach this one: ``ip:port[;ip2:port...]``.
    :param nqn_prefix: what a subsystem's name begins with; the volume's id follows.
    :param discard: tell hosts that they may discard blocks.
    :raises InvalidInput: one of them cannot be.
    """

    def __init__(
        self,
        portal: str = "127.0.0.1:4420",
        nqn_prefix: str = "nqn.2010-10.org.openstack:volume-",
        discard: bool = False,
    ) -> None:
        self.portals = split_portals(portal)
        for each in self.portals:
            _require_ip(each)
        if not _PREFIX.fullmatch(nqn_prefix):
            raise InvalidInput(f"the prefix {nqn_prefix!r} cannot begin an NVMe qualified name")
        self.nqn_prefix = nqn_prefix
        self.discard = discard
        self.fs = Configfs()
        self.root = ROOT

    def check(self) -> None:
        """Load nvmet where it is not, and check that the portals are this host's.

        :raises DriverError: one sentence with what to do.
        """
        self._require()
        require_local(self.portals)

    def validate_connector(self, connector: Connector) -> None:
        """Raise InvalidConnector where the connector has no NVMe host name."""
        nvme_host(connector)

    def initiator_of(self, connector: Connector) -> str:
        """Name the ACL's key for a connector: the host's NQN, whose case counts."""
        return nvme_host(connector)

    def create(self, volume: DriverVolume, path: Path) -> ModelUpdate:
        """Export the path; access is given to nobody.

        :returns: ``{"provider_location": "192.0.2.1:4420 tcp nqn.2010-10.org.openstack:volume-6f0c
            1"}``.
        :raises ExportFailed: the kernel refused.
        """
        self._export(volume, path)
        return {"provider_location": self._location(volume.id)}

    def ensure(self, volume: DriverVolume, path: Path) -> None:
        """Export the path at the recorded location.

        :raises ExportFailed: the location is none of this target's, or the kernel refused.
        """
        here = self._location(volume.id)
        if volume.provider_location not in (None, here):
            raise ExportFailed(
                f"volume {volume.id} is recorded at '{volume.provider_location}', but this target "
                f"exports it at '{here}': configure the former portal and prefix, or detach it"
            )
        self._export(volume, path)

    def remove(self, volume: DriverVolume) -> None:
        """Remove the export with its hosts and their connections.

        :raises ExportFailed: the kernel refused.
        """
        self._require()
        with _translated(ExportFailed, f"remove the export of volume {volume.id}"):
            for subsystem in [*self._accesses(volume.id), self._subsystem(volume.id)]:
                subsystem.remove()
            self._ports().clean()

    def connect(self, volume: DriverVolume, connector: Connector) -> ConnectionInfo:
        """Make the host's subsystem and describe the way to it.

        :returns: ``{"driver_volume_type": "nvmeof", "data": {"target_nqn": str, "vol_uuid": str,
            "ns_id": 1, "portals": [["192.0.2.1", 4420, "tcp"]], ...}}``.
        :raises ConnectionFailed: the volume is not exported, or the kernel refused.
        """
        host = nvme_host(connector)
        self._require()
        subsystem = self._subsystem(volume.id, host)
        with _translated(ConnectionFailed, f"give {host} access to volume {volume.id}"):
            path = self._subsystem(volume.id).backing()
            if path is None:
                raise ConnectionFailed(f"volume {volume.id} is not exported")
            if subsystem.backing() not in (None, path):
                subsystem.remove()
            subsystem.ensure(path)
            subsystem.allow(host)
            self._ports().open(subsystem)
        return {"driver_volume_type": "nvmeof", "data": self._describe(volume.id, subsystem.nqn)}

    def disconnect(self, volume: DriverVolume, connector: Connector) -> None:
        """Remove the host's subsystem, which ends its connections and nobody else's.

        :raises ConnectionFailed: the kernel refused.
        """
        host = nvme_host(connector)
        self._require()
        with _translated(ConnectionFailed, f"take {host} off volume {volume.id}"):
            self._subsystem(volume.id, host).remove()
            self._ports().clean()

    def exports(self) -> list[Export]:
        """List the subsystems that are named after a volume, half-made ones included."""
        self._require()
        found: dict[str, list[str]] = {}
        with _translated(DriverError, "list the exports"):
            for nqn in self.fs.objects(self.root / "subsystems"):
                volume_id = self._volume_of(nqn)
                if volume_id is not None:
                    hosts = Subsystem(self.fs, self.root, nqn, volume_id).hosts()
                    found.setdefault(volume_id, []).extend(hosts)
        return [
            Export(volume_id, tuple(hosts), None if hosts else ())
            for volume_id, hosts in found.items()
        ]

    def _require(self) -> None:
        """Load nvmet where it is not: without its directory, nothing is known of exports."""
        self.fs.require(self.root, "nvmet", "nvmet-tcp")

    def _volume_of(self, nqn: str) -> str | None:
        """The id of the volume that a subsystem is named after; None: it is not volflow's."""
        if not nqn.startswith(self.nqn_prefix):
            return None
        try:
            return volume_uuid(nqn.removeprefix(self.nqn_prefix).partition(":")[0])
        except InvalidUUID:
            return None

    def _subsystem(self, volume_id: str, host: str | None = None) -> Subsystem:
        """The export's own subsystem, or a host's."""
        nqn = self.nqn_prefix + volume_uuid(volume_id)
        if host is not None:
            nqn = f"{nqn}:{host_mark(host)}"
        return Subsystem(self.fs, self.root, nqn, volume_id)

    def _accesses(self, volume_id: str) -> list[Subsystem]:
        own = self._subsystem(volume_id).nqn
        return [
            Subsystem(self.fs, self.root, nqn, volume_id)
            for nqn in self.fs.objects(self.root / "subsystems")
            if nqn.startswith(f"{own}:")
        ]

    def _ports(self) -> Ports:
        return Ports(self.fs, self.root, self.portals)

    def _location(self, volume_id: str) -> str:
        return f"{';'.join(self.portals)} tcp {self._subsystem(volume_id).nqn} {NAMESPACE}"

    def _describe(self, volume_id: str, nqn: str) -> dict[str, Any]:
        data: dict[str, Any] = {
            "target_nqn": nqn,
            "vol_uuid": volume_id,
            "ns_id": NAMESPACE,
            "portals": [_split(portal) for portal in self.portals],
            "volume_id": volume_id,
        }
        if self.discard:
            data["discard"] = True
        return data

    def _export(self, volume: DriverVolume, path: Path) -> None:
        if not str(path).isprintable():
            raise ExportFailed(f"nvmet takes no path with a control character: {path!r}")
        self._require()
        own = self._subsystem(volume.id)
        with _translated(ExportFailed, f"export volume {volume.id}"):
            if own.backing() not in (None, path):
                self._require_unused(volume.id, path)
                own.remove()
            own.ensure(path)

    def _require_unused(self, volume_id: str, path: Path) -> None:
        for access in self._accesses(volume_id):
            if hosts := access.hosts():
                raise ExportFailed(
                    f"volume {volume_id} is exported from something else than {path}, and "
                    f"{hosts[0]} has access"
                )


def _split(portal: str) -> list[str | int]:
    host, _, port = portal.rpartition(":")
    return [host.strip("[]"), int(port), "tcp"]


def _require_ip(portal: str) -> None:
    try:
        ipaddress.ip_address(portal.rpartition(":")[0].strip("[]"))
    except ValueError:
        raise InvalidInput(
            f"the portal {portal!r} has no IP address: the kernel resolves no names"
        ) from None


@contextmanager
def _translated(error: type[DriverError], action: str) -> Iterator[None]:
    try:
        yield
    except KernelRefused as refused:
        raise error(f"cannot {action}: {refused}") from refused
