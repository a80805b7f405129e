"""Exports by tgtd, the Linux SCSI target in user space (tgt 1.0.85).

**Target ids.** tgtd finds everything by a target's number, which it does not choose. It is derived
from the volume's id (31 bits of a hash), so that it is the same after a restart of tgtd and in
every process: a number that was read before a restart can never mean another volume's target.
tgtd itself refuses a number or a name that is taken; two volumes with the same number (one pair in
two thousand million) then try the next one. No lock is needed between processes.

**Credentials.** tgtd does not show an account's secret. Before an account is made, the user and a
fingerprint of the credentials are written to LUN 0 (the controller, which no host sees as a disk)
as its serial number and id. A bound account therefore always has the credentials that LUN 0 names,
wherever a process died, and an account that was not bound yet is found by the name there. The
fingerprint is seen by root, and by initiators that are logged in and so know the secret.

**Order.** A target whose account is missing lets in every initiator on its ACL without a password,
so that the ACL is empty while an account is made or replaced. tgtd 1.0.85 dies at its next show
where one of several accounts was unbound before a later one, so that they go from the last to the
first. ``--force`` never deletes a target: tgtd's code ends the daemon where a session survives it.

**Hosts that are gone.** tgtd closes a session that it is told to close only once its socket can be
read or written: never, where a host hangs and does not take its answers. Each target therefore
pings its initiators, and a host that leaves three pings unanswered loses its session.

Known limits: tgtd shows no login that is half way, so that an initiator that knows the secret, and
passed the ACL before it was taken off, may still finish its login; it is then listed as a session.
The prefix of the names must not change while there are exports.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from volflow.drivers.base import Export, ModelUpdate
from volflow.drivers.chap import Credentials
from volflow.drivers.identity import iscsi_initiator, iscsi_key, volume_uuid
from volflow.drivers.targets.location import Location, split_portals
from volflow.drivers.targets.tgt_parts import LUN, TargetParts, has_account, users
from volflow.drivers.targets.tgt_show import ShownTarget
from volflow.drivers.targets.tgtadm import Reason, TgtAdm, TgtRefused, tolerate
from volflow.exceptions import (
    ConnectionFailed,
    ConnectionInUse,
    DriverError,
    ExportFailed,
    InvalidInput,
    InvalidUUID,
)
from volflow.models import ConnectionInfo, Connector, DriverVolume

_PREFIX = re.compile(r"iqn\.[0-9]{4}-[0-9]{2}\.[a-z0-9.:-]{1,150}")


class TgtTarget:
    """Exports files by one tgtd.

    :param portal: where initiators reach tgtd: ``ip:port[;ip2:port...]``.
    :param control_port: tgtd's ``-C``.
    :param iqn_prefix: what a target's name begins with; the volume's id follows.
    :param timeout: seconds for one request to tgtd, and beside the pings for sessions to end.
    :param socket: tgtd's management socket without its ``.<control port>``.
    :param ping_seconds: between two pings of an initiator; the third without an answer ends its
        session.
    :raises InvalidInput: one of them cannot be.
    """

    def __init__(
        self,
        portal: str = "127.0.0.1:3260",
        control_port: int = 0,
        iqn_prefix: str = "iqn.2010-10.org.openstack:volume-",
        timeout: float = 20.0,
        socket: str = "/var/run/tgtd/socket",
        ping_seconds: int = 5,
    ) -> None:
        self.portals = split_portals(portal)
        if not _PREFIX.fullmatch(iqn_prefix):
            raise InvalidInput(f"the prefix {iqn_prefix!r} cannot begin an iSCSI name")
        if not 0 <= control_port < 32768:
            raise InvalidInput(f"the control port {control_port} is not between 0 and 32767")
        if timeout <= 0:
            raise InvalidInput(f"the timeout of {timeout} seconds is not above 0")
        if ping_seconds < 1:
            raise InvalidInput(f"{ping_seconds} seconds between pings are less than 1")
        self.iqn_prefix = iqn_prefix
        self.timeout = timeout
        self.tgt = TgtAdm(control_port, socket, timeout)
        self.parts = TargetParts(self.tgt, timeout, ping_seconds)

    def check(self) -> None:
        """Check that tgtd answers and listens at the portals.

        :raises DriverError: one sentence with what to do.
        """
        with _translated(DriverError, "ask tgtd"):
            listening = self.tgt.portals()
        for portal in self.portals:
            if not any(_serves(known, portal) for known in listening):
                raise DriverError(
                    f"tgtd does not listen at {portal}, but at {', '.join(listening) or 'none'}: "
                    f"start it with '--iscsi portal={portal}', or configure another portal"
                )

    def validate_connector(self, connector: Connector) -> None:
        """Raise InvalidConnector where the connector has no iSCSI initiator."""
        iscsi_initiator(connector)

    def initiator_of(self, connector: Connector) -> str:
        """Name the ACL's key for a connector: the initiator, in lower case."""
        return iscsi_key(connector)

    def create(self, volume: DriverVolume, path: Path) -> ModelUpdate:
        """Export the path; access is given to nobody.

        :returns: ``{"provider_location": "192.0.2.1:3260,1 iqn.2010-10.org.openstack:volume-6f0c
            1", "provider_auth": "CHAP user secret"}``.
        :raises ExportFailed: tgtd refused.
        """
        login = _recorded(volume) or Credentials.generate()
        self._export(volume, path, login)
        return {
            "provider_location": str(self._location(volume.id)),
            "provider_auth": login.provider_auth,
        }

    def ensure(self, volume: DriverVolume, path: Path) -> None:
        """Export the path at the recorded location with the recorded credentials.

        :raises ExportFailed: the location is none of this target's, or tgtd refused.
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
        """Remove the target with its ACL, its sessions and its account.

        :raises ExportFailed: tgtd refused.
        :raises TransientDriverError: a session did not end in time.
        """
        with _translated(ExportFailed, f"remove the export of volume {volume.id}"):
            targets = self.tgt.targets()
            mine = self._find(targets, volume.id)
            if mine is not None:
                self.parts.unbind_all(mine)
                self.parts.close_sessions(mine.tid)
                self.parts.delete_accounts(mine, targets)
                self.parts.delete_target(mine.tid)
            user = _recorded_user(volume)
            if user and user not in users(targets, mine):
                with tolerate(Reason.NO_ACCOUNT):
                    self.tgt.delete_account(user)

    def connect(self, volume: DriverVolume, connector: Connector) -> ConnectionInfo:
        """Put the initiator on the ACL and describe the way to the export.

        :returns: ``{"driver_volume_type": "iscsi", "data": {"target_portal": ...}}``, see
            :meth:`~volflow.drivers.targets.location.Location.describe`.
        :raises ConnectionFailed: the volume is not exported as it is recorded, or tgtd refused.
        """
        initiator = iscsi_initiator(connector)
        login = _recorded(volume)
        recorded = volume.provider_location
        location = Location.parse(recorded) if recorded else self._location(volume.id)
        with _translated(ConnectionFailed, f"give {initiator} access to volume {volume.id}"):
            mine = self._find(self.tgt.targets(), volume.id)
            # Without an account the ACL alone would let the initiator in.
            if (
                mine is None
                or login is None
                or LUN not in mine.luns
                or not has_account(mine, volume.id, login)
            ):
                raise ConnectionFailed(
                    f"volume {volume.id} is not exported with its recorded credentials"
                )
            if initiator not in mine.acl:
                with tolerate(Reason.ACL_EXISTS):
                    self.tgt.bind(mine.tid, initiator)
        multipath = bool(connector.get("multipath"))
        return {
            "driver_volume_type": "iscsi",
            "data": location.describe(volume.id, login, multipath=multipath),
        }

    def disconnect(self, volume: DriverVolume, connector: Connector) -> None:
        """Take the initiator off the ACL, then close its sessions.

        :raises ConnectionFailed: tgtd refused.
        :raises TransientDriverError: a session did not end in time.
        """
        initiator = iscsi_key(connector)
        with _translated(ConnectionFailed, f"take {initiator} off volume {volume.id}"):
            mine = self._find(self.tgt.targets(), volume.id)
            if mine is not None:
                self.parts.unbind(mine, initiator)
                self.parts.close_sessions(mine.tid, initiator)

    def disconnect_unused(self, volume: DriverVolume, connector: Connector) -> None:
        """Take the initiator off the ACL, look for its sessions, and put it back if there are any.

        :raises ConnectionInUse: it is logged in, and keeps its access.
        :raises ConnectionFailed: tgtd refused.
        """
        initiator = iscsi_initiator(connector)
        with _translated(ConnectionFailed, f"take {initiator} off volume {volume.id}"):
            mine = self._find(self.tgt.targets(), volume.id)
            if mine is None:
                return
            taken = self.parts.unbind(mine, initiator.lower())
            if not self.parts.sessions(mine.tid, initiator.lower()):
                return
            # Also where nothing was taken: a death between the two left the initiator outside.
            for name in taken or [initiator]:
                with tolerate(Reason.ACL_EXISTS):
                    self.tgt.bind(mine.tid, name)
        raise ConnectionInUse(f"{initiator} is logged in to volume {volume.id}")

    def exports(self) -> list[Export]:
        """List the targets that are named after a volume, half-made ones included."""
        with _translated(DriverError, "list the exports"):
            targets = self.tgt.targets()
        found = []
        for target in targets:
            try:
                volume_id = volume_uuid(target.iqn.removeprefix(self.iqn_prefix))
            except InvalidUUID:
                continue
            acl = dict.fromkeys(entry.lower() for entry in target.acl)
            sessions = tuple(session.initiator.lower() for session in target.sessions)
            found.append(Export(volume_id, tuple(acl), sessions))
        return found

    def _location(self, volume_id: str) -> Location:
        return Location(self.portals, self._iqn(volume_id), LUN)

    def _iqn(self, volume_id: str) -> str:
        return self.iqn_prefix + volume_uuid(volume_id)

    def _find(self, targets: tuple[ShownTarget, ...], volume_id: str) -> ShownTarget | None:
        iqn = self._iqn(volume_id)
        return next((target for target in targets if target.iqn == iqn), None)

    def _export(self, volume: DriverVolume, path: Path, login: Credentials) -> None:
        if "," in str(path) or not str(path).isprintable():
            raise ExportFailed(f"tgtd takes no path with a comma or a control character: {path}")
        with _translated(ExportFailed, f"export volume {volume.id}"):
            targets = self.tgt.targets()
            mine = self._find(targets, volume.id) or self.parts.new_target(
                targets, self._iqn(volume.id), volume.id
            )
            self.parts.ensure_pings(mine)
            self.parts.ensure_lun(mine, volume, path)
            if not has_account(mine, volume.id, login):
                self.parts.replace_account(mine, targets, volume.id, login)


def _recorded(volume: DriverVolume) -> Credentials | None:
    return Credentials.parse(volume.provider_auth) if volume.provider_auth else None


def _recorded_user(volume: DriverVolume) -> str | None:
    """Return whose account to look for; a record that reads otherwise never had one."""
    try:
        login = _recorded(volume)
    except ExportFailed:
        return None
    return None if login is None else login.user


def _serves(listening: str, portal: str) -> bool:
    """True where a portal of tgtd's, such as ``0.0.0.0:3260``, takes connections to ``portal``."""
    host, _, port = listening.rpartition(":")
    wanted, _, wanted_port = portal.rpartition(":")
    if port != wanted_port:
        return False
    try:
        asked = ipaddress.ip_address(wanted.strip("[]"))
    except ValueError:
        return True  # a name, which only the initiator can resolve
    known = ipaddress.ip_address(host.strip("[]"))
    return known == asked or known.is_unspecified


@contextmanager
def _translated(error: type[DriverError], action: str) -> Iterator[None]:
    try:
        yield
    except TgtRefused as refused:
        raise error(f"cannot {action}: {refused}") from refused
