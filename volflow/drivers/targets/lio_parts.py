"""The parts of one LIO target, made and taken away one by one: device, target, ACL.

What each has to do with the others is told in :mod:`volflow.drivers.targets.lio`.
"""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

from volflow.drivers.chap import Credentials
from volflow.drivers.targets.configfs import Configfs, KernelRefused, Reason, tolerate
from volflow.drivers.targets.location import GROUP_TAG
from volflow.exceptions import ExportFailed

LUN = 0
"""The volume's LUN."""

UNSET = "NULL"
"""What takes a CHAP user or secret away: LIO takes anything that begins so for it."""

_NO_SESSION = "No active iSCSI Session"
"""How an ACL's ``info`` begins where its initiator is not logged in."""

_KINDS = ("iblock", "fileio")


@dataclass(frozen=True, slots=True)
class Backing:
    """What is behind a LUN, and how LIO is told.

    :ivar kind: ``iblock`` for a block device, ``fileio`` for a file.
    """

    kind: str
    path: Path
    control: str

    @classmethod
    def of(cls, path: Path) -> Backing:
        """Look what a path leads to.

        :raises ExportFailed: it is neither a block device nor a file, or LIO cannot take it.
        """
        if "," in str(path) or not str(path).isprintable():
            raise ExportFailed(f"LIO takes no path with a comma or a control character: {path}")
        try:
            found = path.stat()
        except OSError as error:
            raise ExportFailed(f"cannot export {path}: {error.strerror}") from error
        if stat.S_ISBLK(found.st_mode):
            return cls("iblock", path, f"udev_path={path}")
        if stat.S_ISREG(found.st_mode):
            return cls("fileio", path, f"fd_dev_name={path},fd_dev_size={found.st_size}")
        raise ExportFailed(f"cannot export {path}: it is neither a block device nor a file")


class LioParts:
    """Makes and takes away what one target consists of; does only what is still to do.

    :param root: ``/sys/kernel/config/target``.
    :param iqn: the target's name, which its device has, too.
    :param volume_id: the volume's id, which is the disk's serial number.
    """

    def __init__(self, fs: Configfs, root: Path, iqn: str, volume_id: str) -> None:
        self.fs = fs
        self.iqn = iqn
        self.volume_id = volume_id
        self.core = root / "core"
        self.target = root / "iscsi" / iqn
        self.group = self.target / f"tpgt_{GROUP_TAG}"
        self.lun = self.group / "lun" / f"lun_{LUN}"
        self.acls = self.group / "acls"

    def device(self, kind: str) -> Path:
        """Where the volume's device is, if it is of this kind."""
        return self.core / f"{kind}_{hba_number(self.volume_id)}" / self.iqn

    def is_served(self) -> bool:
        """True where the target is open and has the volume behind its LUN."""
        try:
            enabled = self.fs.read(self.group / "enable") == "1"
        except KernelRefused as refused:
            if refused.reason is not Reason.MISSING:
                raise
            return False
        return enabled and bool(self.fs.links(self.lun))

    def is_other(self, backing: Backing) -> bool:
        """True where the volume is exported from something else than this."""
        for kind in _KINDS:
            device = self.device(kind)
            if self.fs.exists(device) and self.fs.read(device / "enable") == "1":
                return kind != backing.kind or self.fs.read(device / "udev_path") != str(
                    backing.path
                )
        return False

    def ensure_device(self, backing: Backing, discard: bool) -> None:
        """Open the volume, with its id as the disk's serial number."""
        device = self.device(backing.kind)
        self.fs.make(device.parent)
        self.fs.make(device)
        if self.fs.read(device / "enable") != "1":
            self.fs.write(device / "control", backing.control)
            self.fs.write(device / "udev_path", backing.path)
            self.fs.write(device / "enable", 1)
        serial = device / "wwn" / "vpd_unit_serial"
        if self.fs.read(serial).rpartition(" ")[2] != self.volume_id:
            self.fs.write(serial, self.volume_id)
        if discard:
            self.fs.put(device / "attrib" / "emulate_tpu", 1)

    def ensure_target(self, kind: str, portals: tuple[str, ...]) -> None:
        """Make the target, with the device behind its LUN, and open it at the portals last."""
        self.fs.make(self.target.parent)
        self.fs.make(self.target)
        self.fs.make(self.group)
        self.fs.put(self.group / "attrib" / "authentication", 1)
        self.fs.put(self.group / "attrib" / "generate_node_acls", 0)
        self.fs.make(self.lun)
        if not self.fs.links(self.lun):
            self.fs.link(self.device(kind), self.lun / self.volume_id)
        for stale in set(self.fs.objects(self.group / "np")) - set(portals):
            self.fs.remove(self.group / "np" / stale)
        for portal in portals:
            self.fs.make(self.group / "np" / portal)
        self.fs.put(self.group / "enable", 1)

    def remove(self) -> None:
        """End all sessions, then take away target and device, or what there is of them."""
        with tolerate(Reason.MISSING):
            self.fs.put(self.group / "enable", 0)
        for initiator in self.initiators():
            self.remove_acl(initiator)
        for link in self.fs.links(self.lun):
            self.fs.unlink(link)
        self.fs.remove(self.lun)
        for portal in self.fs.objects(self.group / "np"):
            self.fs.remove(self.group / "np" / portal)
        self.fs.remove(self.group)
        self.fs.remove(self.target)
        for kind in _KINDS:
            device = self.device(kind)
            self.fs.remove(device)
            with tolerate(Reason.BUSY):  # another volume's device has the same number
                self.fs.remove(device.parent)

    # The ACL

    def initiators(self) -> list[str]:
        """Read the ACL: initiators in lower case."""
        return self.fs.objects(self.acls)

    def is_logged_in(self, initiator: str) -> bool:
        """True where the initiator has a session now."""
        try:
            found = self.fs.read(self.acls / initiator / "info")
        except KernelRefused as refused:
            if refused.reason is not Reason.MISSING:
                raise
            return False
        return not found.startswith(_NO_SESSION)

    def ensure_acl(self, initiator: str, login: Credentials, readonly: bool) -> None:
        """Let an initiator in with these credentials.

        An entry without a secret lets nobody in, and one without a LUN shows nothing.
        """
        acl = self.acls / initiator
        self.fs.make(acl)
        if not self.has_login(initiator, login):
            self.set_login(initiator, login)
        self.ensure_mapping(initiator, readonly)

    def ensure_mapping(self, initiator: str, readonly: bool) -> None:
        """Show the LUN to an initiator, write-protected or not."""
        mapped = self.acls / initiator / f"lun_{LUN}"
        self.fs.make(mapped)
        if not self.fs.links(mapped):
            self.fs.link(self.lun, mapped / self.volume_id)
        self.fs.put(mapped / "write_protect", int(readonly))

    def has_login(self, initiator: str, login: Credentials) -> bool:
        """True where an initiator has to log in with exactly these credentials."""
        auth = self.acls / initiator / "auth"
        found = (self.fs.read(auth / "userid"), self.fs.read(auth / "password"))
        return found == (login.user, login.secret)

    def set_login(self, initiator: str, login: Credentials) -> None:
        """Let an initiator log in with these credentials from now on."""
        auth = self.acls / initiator / "auth"
        self.fs.write(auth / "userid", login.user)
        self.fs.write(auth / "password", login.secret)

    def shut(self, initiator: str) -> None:
        """Let an initiator no longer log in; its sessions go on."""
        self.fs.write(self.acls / initiator / "auth" / "password", UNSET)

    def remove_acl(self, initiator: str) -> None:
        """Take an initiator off the ACL, which ends its sessions; one that is not there is no
        error.
        """
        acl = self.acls / initiator
        for name in self.fs.objects(acl):
            if name.startswith("lun_"):
                for link in self.fs.links(acl / name):
                    self.fs.unlink(link)
                self.fs.remove(acl / name)
        self.fs.remove(acl)


def hba_number(volume_id: str) -> int:
    """Derive the number of a volume's HBA, 2**30 to 2**31 - 1, from its id.

    It is the same in every process and far from those that others count from 0. Two volumes
    with the same number share the HBA.
    """
    digest = hashlib.sha256(volume_id.encode()).digest()
    return 2**30 + int.from_bytes(digest[:8]) % 2**30


def device_names(fs: Configfs, root: Path) -> list[str]:
    """Read the names of all devices that LIO has, others' included."""
    core = root / "core"
    return [
        name
        for hba in fs.objects(core)
        if hba.partition("_")[0] in _KINDS
        for name in fs.objects(core / hba)
    ]
