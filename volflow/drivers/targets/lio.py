"""Exports by LIO, the target in the Linux kernel, through configfs (Linux 6.1).

**Names.** Everything is named after the volume: the target, its device, and the HBA that the
device is in, whose number is derived from the volume's id. Whatever a death left is found by these
names, and finished or removed; no lock is needed between processes, and nothing else is touched.
The kernel's tree is the same that ``targetcli`` and ``rtslib`` read and write.

**Credentials.** Each initiator on the ACL has the volume's user and secret; LIO shows them to
root, so that they are compared, and replaced where they are not those of the record. Whoever
changes a volume's credentials while an initiator with the former ones is logged in cuts nothing:
the session goes on, and only the new secret opens another. An entry whose initiator is not logged
in is removed instead.

**Order.** A target opens when all of it is there, and an entry on the ACL lets nobody in until its
secret is set: a target requires authentication, and makes no entries for initiators that it does
not know. Removing begins with closing.

**What is kept.** Nothing on disk: LIO forgets all of it at a reboot, and recovery makes it again,
one volume at a time, from the database, which is the one place where secrets are, encrypted. A
configuration that somebody saved with ``targetcli`` and that is restored at boot is compared with
the records like everything else.

Known limits: an initiator that is half way through its login while it is asked whether it is
logged in is not seen; its session is then cut. LIO tells one session of an initiator, though it
may have several. The kernel waits for the commands that run when a session ends: a disk that hangs
holds the call. The prefix of the names must not change while there are exports.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from volflow.drivers.base import Export, ModelUpdate
from volflow.drivers.chap import Credentials
from volflow.drivers.identity import iscsi_initiator, iscsi_key, volume_uuid
from volflow.drivers.targets.configfs import Configfs, KernelRefused, Reason, tolerate
from volflow.drivers.targets.lio_parts import LUN, UNSET, Backing, LioParts, device_names
from volflow.drivers.targets.location import Location, require_local, split_portals
from volflow.exceptions import (
    ConnectionFailed,
    ConnectionInUse,
    DriverError,
    ExportFailed,
    InvalidInput,
    InvalidUUID,
)
from volflow.models import ConnectionInfo, Connector, DriverVolume

ROOT = Path("/sys/kernel/config/target")

_PREFIX = re.compile(r"iqn\.[0-9]{4}-[0-9]{2}\.[a-z0-9.:-]{1,150}")


class LioTarget:
    """Exports block devices and files by the kernel of this host.

    :param portal: where initiators reach this host: ``ip:port[;ip2:port...]``.
    :param iqn_prefix: what a target's name begins with; the volume's id follows.
    :param discard: let initiators discard blocks, where the device can.
    :raises InvalidInput: one of them cannot be.
    """

    def __init__(
        self,
        portal: str = "127.0.0.1:3260",
        iqn_prefix: str = "iqn.2010-10.org.openstack:volume-",
        discard: bool = False,
    ) -> None:
        self.portals = split_portals(portal)
        if not _PREFIX.fullmatch(iqn_prefix):
            raise InvalidInput(f"the prefix {iqn_prefix!r} cannot begin an iSCSI name")
        self.iqn_prefix = iqn_prefix
        self.discard = discard
        self.fs = Configfs()
        self.root = ROOT

    def check(self) -> None:
        """Load LIO where it is not, and check that the portals are this host's.

        :raises DriverError: one sentence with what to do.
        """
        self._require()
        self.fs.make(self.root / "iscsi")
        require_local(self.portals)

    def validate_connector(self, connector: Connector) -> None:
        """Raise InvalidConnector where the connector has no iSCSI initiator."""
        iscsi_initiator(connector)

    def initiator_of(self, connector: Connector) -> str:
        """Name the ACL's key for a connector: the initiator, in lower case."""
        return iscsi_key(connector)

    def create(self, volume: DriverVolume, path: Path) -> ModelUpdate:
        """Export the path; access is given to nobody.

        :returns: ``{"provider_location": "192.0.2.1:3260,1 iqn.2010-10.org.openstack:volume-6f0c
            0", "provider_auth": "CHAP user secret"}``.
        :raises ExportFailed: the kernel refused.
        """
        login = _recorded(volume) or Credentials.generate()
        while login.user.startswith(UNSET) or login.secret.startswith(UNSET):
            login = Credentials.generate()
        self._export(volume, path, login)
        return {
            "provider_location": str(self._location(volume.id)),
            "provider_auth": login.provider_auth,
        }

    def ensure(self, volume: DriverVolume, path: Path) -> None:
        """Export the path at the recorded location with the recorded credentials.

        :raises ExportFailed: the location is none of this target's, or the kernel refused.
        """
        here = self._location(volume.id)
        if volume.provider_location and Location.parse(volume.provider_location) != here:
            raise ExportFailed(
                f"volume {volume.id} is recorded at '{volume.provider_location}', but this target "
                f"exports it at '{here}': configure the former portal and prefix, or detach it"
            )
        login = _recorded(volume)
        if login is None:
            raise ExportFailed(f"volume {volume.id} has no recorded credentials to export it with")
        self._export(volume, path, login)

    def remove(self, volume: DriverVolume) -> None:
        """Remove the target with its ACL, its sessions and its device.

        :raises ExportFailed: the kernel refused.
        """
        with _translated(ExportFailed, f"remove the export of volume {volume.id}"):
            self._parts(volume.id).remove()

    def connect(self, volume: DriverVolume, connector: Connector) -> ConnectionInfo:
        """Put the initiator on the ACL and describe the way to the export.

        :returns: ``{"driver_volume_type": "iscsi", "data": {"target_portal": ...}}``, see
            :meth:`~volflow.drivers.targets.location.Location.describe`.
        :raises ConnectionFailed: the volume is not exported, or the kernel refused.
        """
        initiator = iscsi_initiator(connector)
        login = _recorded(volume)
        recorded = volume.provider_location
        location = Location.parse(recorded) if recorded else self._location(volume.id)
        parts = self._parts(volume.id)
        with _translated(ConnectionFailed, f"give {initiator} access to volume {volume.id}"):
            if login is None or not parts.is_served():
                raise ConnectionFailed(
                    f"volume {volume.id} is not exported with its recorded credentials"
                )
            parts.ensure_acl(initiator.lower(), login, volume.readonly)
        data = location.describe(volume.id, login, multipath=bool(connector.get("multipath")))
        if self.discard:
            data["discard"] = True
        return {"driver_volume_type": "iscsi", "data": data}

    def disconnect(self, volume: DriverVolume, connector: Connector) -> None:
        """Take the initiator off the ACL, which ends its sessions and nobody else's.

        :raises ConnectionFailed: the kernel refused.
        """
        initiator = iscsi_key(connector)
        if not initiator:
            return
        with _translated(ConnectionFailed, f"take {initiator} off volume {volume.id}"):
            parts = self._parts(volume.id)
            if initiator in parts.initiators():
                parts.remove_acl(initiator)

    def disconnect_unused(self, volume: DriverVolume, connector: Connector) -> None:
        """Refuse new logins, look for the initiator's session, and open again if there is one.

        :raises ConnectionInUse: it is logged in, and keeps its access.
        :raises ConnectionFailed: the kernel refused.
        """
        initiator = iscsi_initiator(connector).lower()
        parts = self._parts(volume.id)
        with _translated(ConnectionFailed, f"take {initiator} off volume {volume.id}"):
            if initiator not in parts.initiators():
                return
            parts.shut(initiator)
            if not parts.is_logged_in(initiator):
                parts.remove_acl(initiator)
                return
            login = _recorded(volume)
            if login is not None:
                parts.set_login(initiator, login)
        raise ConnectionInUse(f"{initiator} is logged in to volume {volume.id}")

    def exports(self) -> list[Export]:
        """List the targets and devices that are named after a volume, half-made ones included."""
        self._require()
        with _translated(DriverError, "list the exports"):
            names = set(self.fs.objects(self.root / "iscsi"))
            names.update(device_names(self.fs, self.root))
            found = {}
            for name in sorted(names):
                try:
                    volume_id = volume_uuid(name.removeprefix(self.iqn_prefix))
                except InvalidUUID:
                    continue
                if name.startswith(self.iqn_prefix):
                    found[volume_id] = self._shown(volume_id)
        return list(found.values())

    def _shown(self, volume_id: str) -> Export:
        parts = self._parts(volume_id)
        initiators = parts.initiators()
        sessions = [initiator for initiator in initiators if parts.is_logged_in(initiator)]
        return Export(volume_id, tuple(initiators), tuple(sessions))

    def _location(self, volume_id: str) -> Location:
        return Location(self.portals, self._iqn(volume_id), LUN)

    def _iqn(self, volume_id: str) -> str:
        return self.iqn_prefix + volume_uuid(volume_id)

    def _require(self) -> None:
        """Load LIO where it is not: without its directory, nothing is known of exports."""
        self.fs.require(self.root, "target_core_mod")

    def _parts(self, volume_id: str) -> LioParts:
        self._require()
        return LioParts(self.fs, self.root, self._iqn(volume_id), volume_id)

    def _export(self, volume: DriverVolume, path: Path, login: Credentials) -> None:
        backing = Backing.of(path)
        parts = self._parts(volume.id)
        with _translated(ExportFailed, f"export volume {volume.id}"):
            if parts.is_other(backing):
                self._require_unused(parts, path)
                parts.remove()
            parts.ensure_device(backing, self.discard)
            parts.ensure_target(backing.kind, self.portals)
            for initiator in parts.initiators():
                self._adopt(parts, initiator, login, volume.readonly)

    def _require_unused(self, parts: LioParts, path: Path) -> None:
        for initiator in parts.initiators():
            if parts.is_logged_in(initiator):
                raise ExportFailed(
                    f"volume {parts.volume_id} is exported from something else than {path}, and "
                    f"{initiator} is logged in"
                )

    def _adopt(self, parts: LioParts, initiator: str, login: Credentials, readonly: bool) -> None:
        """Bring an entry of the ACL that was there in line with the record."""
        with tolerate(Reason.MISSING):
            if parts.has_login(initiator, login):
                parts.ensure_mapping(initiator, readonly)
            elif parts.is_logged_in(initiator):
                parts.set_login(initiator, login)
            else:
                parts.remove_acl(initiator)


def _recorded(volume: DriverVolume) -> Credentials | None:
    return Credentials.parse(volume.provider_auth) if volume.provider_auth else None


@contextmanager
def _translated(error: type[DriverError], action: str) -> Iterator[None]:
    try:
        yield
    except KernelRefused as refused:
        raise error(f"cannot {action}: {refused}") from refused
