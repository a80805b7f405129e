"""A kernel that is a directory: what configfs does for LIO and nvmet, as far as volflow uses it.

It is compared with the real one by the lab, which runs the same promises in a virtual machine.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from volflow.drivers.targets.configfs import Configfs, Request, _translated

NO_SESSION = "No active iSCSI Session for Initiator Endpoint: {name}\n"
SESSION = "InitiatorName: {name}\nLIO Session ID: 1   SessionType: Normal\n"
_SERIAL = "T10 VPD Unit Serial Number: "

# What comes with an object: a pattern of its path, then attributes (and their values) and
# directories (an empty value with a slash at the end).
_TEMPLATES: tuple[tuple[str, dict[str, str]], ...] = (
    (
        r"core/[^/]+/[^/]+",
        {
            "enable": "0",
            "control": "",
            "udev_path": "",
            "wwn/vpd_unit_serial": _SERIAL,
            "attrib/emulate_tpu": "0",
        },
    ),
    (
        r"iscsi/[^/]+/tpgt_\d+",
        {
            "enable": "0",
            "attrib/authentication": "1",
            "attrib/generate_node_acls": "0",
            "lun/": "",
            "np/": "",
            "acls/": "",
        },
    ),
    (
        r"iscsi/[^/]+/tpgt_\d+/acls/[^/]+",
        {"info": NO_SESSION, "auth/userid": "NULL", "auth/password": "NULL"},
    ),
    (r"iscsi/[^/]+/tpgt_\d+/acls/[^/]+/lun_\d+", {"write_protect": "0"}),
    (
        r"subsystems/[^/]+",
        {"attr_allow_any_host": "0", "attr_serial": "x", "namespaces/": "", "allowed_hosts/": ""},
    ),
    (
        r"subsystems/[^/]+/namespaces/\d+",
        {"enable": "0", "device_path": "(null)", "device_uuid": "0"},
    ),
    (
        r"ports/\d+",
        {
            "addr_trtype": "",
            "addr_adrfam": "",
            "addr_traddr": "",
            "addr_trsvcid": "",
            "subsystems/": "",
        },
    ),
)


class FakeKernel(Configfs):
    """The kernel's side of configfs below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("core", "iscsi", "hosts", "subsystems", "ports"):
            (root / name).mkdir(parents=True)
        self.made: set[Path] = set()
        self.lock = threading.RLock()  # one change at a time, as in the kernel

    def make(self, path: Path) -> None:
        with self.lock, _translated(Request.MAKE, path):
            if path.exists():
                return
            path.mkdir()
            self.made.add(path)
            for pattern, content in _TEMPLATES:
                if re.fullmatch(pattern, str(path.relative_to(self.root))):
                    self._fill(path, content)

    def remove(self, path: Path) -> None:
        with self.lock, _translated(Request.REMOVE, path):
            if not path.exists():
                return
            if any(link.is_symlink() for link in path.rglob("*")):
                raise OSError(errno.ENOTEMPTY, "links")
            if any(path in other.parents for other in self.made):
                raise OSError(errno.ENOTEMPTY, "objects")
            if any(link.readlink() == path for link in self._links()):
                raise OSError(errno.EBUSY, "linked")
            shutil.rmtree(path)
            self.made.discard(path)

    def write(self, path: Path, value: object) -> None:
        with self.lock, _translated(Request.WRITE, path):
            if not path.exists():
                raise OSError(errno.ENOENT, "attribute")
            if path.name.startswith("addr_") and list((path.parent / "subsystems").iterdir()):
                raise OSError(errno.EACCES, "the port is open")
            if path.name in ("enable", "control") and self._is_open_device(path.parent):
                raise OSError(errno.EEXIST, "the device is open")
            if path.name == "enable" and path.parent.parent.name == "namespaces":
                self._open(Path((path.parent / "device_path").read_text()))
            text = f"{_SERIAL}{value}" if path.name == "vpd_unit_serial" else str(value)
            path.write_text(text)

    def link(self, source: Path, path: Path) -> None:
        with self.lock, _translated(Request.LINK, path):
            if not source.exists():
                raise OSError(errno.ENOENT, "source")
            if source.parent.parent.name == "core" and (source / "enable").read_text() != "1":
                raise OSError(errno.ENODEV, "the device is closed")
            self._link(source, path)

    @staticmethod
    def _link(source: Path, path: Path) -> None:
        if not path.is_symlink():
            path.symlink_to(source)

    def unlink(self, path: Path) -> None:
        with self.lock:
            super().unlink(path)

    def log_in(self, initiator: str) -> None:
        """Give an initiator a session wherever it is on an ACL."""
        for acl in self.root.glob(f"iscsi/*/tpgt_1/acls/{initiator}"):
            (acl / "info").write_text(SESSION.format(name=initiator))

    def log_in_iscsi(self, data: dict[str, Any], initiator: str) -> None:
        """Log an initiator in as the kernel does; raise where it does not let it in."""
        group = self.root / "iscsi" / data["target_iqn"] / "tpgt_1"
        acl = group / "acls" / initiator
        login = [(acl / "auth" / name).read_text() for name in ("userid", "password")]
        if (group / "enable").read_text() != "1" or "NULL" in login:
            raise PermissionError("closed")
        if login != [data["auth_username"], data["auth_password"]]:
            raise PermissionError("not authenticated")
        (acl / "info").write_text(SESSION.format(name=initiator))

    def log_out_iscsi(self, data: dict[str, Any], initiator: str) -> None:
        """End an initiator's session; none is no error."""
        info = self.root / "iscsi" / data["target_iqn"] / "tpgt_1" / "acls" / initiator / "info"
        if info.exists():
            info.write_text(NO_SESSION.format(name=initiator))

    def connect_nvme(self, data: dict[str, Any], host: str) -> None:
        """Connect a host as the kernel does; raise where it does not let it in."""
        nqn = data["target_nqn"]
        if not list(self.root.glob(f"ports/*/subsystems/{nqn}")):
            raise FileNotFoundError(nqn)
        if not (self.root / "subsystems" / nqn / "allowed_hosts" / host).is_symlink():
            raise PermissionError(host)

    def wipe(self) -> None:
        """Forget everything, as at a reboot."""
        for name in ("core", "iscsi", "hosts", "subsystems", "ports"):
            shutil.rmtree(self.root / name)
            (self.root / name).mkdir()
        self.made.clear()

    def tree(self) -> list[str]:
        """Every object and link that is there, sorted."""
        found = [*self.made, *self._links()]
        return sorted(str(path.relative_to(self.root)) for path in found)

    def _links(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if path.is_symlink()]

    def _is_open_device(self, device: Path) -> bool:
        is_device = device.parent.parent == self.root / "core"
        return is_device and (device / "enable").read_text() == "1"

    def _open(self, path: Path) -> None:
        if not path.exists():
            raise OSError(errno.ENOENT, "device")

    @staticmethod
    def _fill(path: Path, content: dict[str, str]) -> None:
        for name, value in content.items():
            if name.endswith("/"):
                (path / name).mkdir()
            else:
                (path / name).parent.mkdir(exist_ok=True)
                (path / name).write_text(value.format(name=path.name))


class Mortal(Configfs):
    """A configfs whose user dies after its n-th change.

    :param die: what happens then.
    :ivar changes: what was changed so far, such as ``make core/iblock_7``.
    """

    def __init__(self, fs: Configfs, fatal: int, die: Callable[[], Any]) -> None:
        self.fs = fs
        self.fatal = fatal
        self.die = die
        self.changes: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name not in ("make", "remove", "write", "link", "unlink", "read", "links", "objects",
                        "exists", "require"):  # fmt: skip
            return super().__getattribute__(name)
        found = getattr(self.fs, name)
        return self._counted(name, found) if name in _CHANGES else found

    def _counted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def change(*arguments: Any) -> None:
            path = arguments[-1] if name == "link" else arguments[0]
            before = os.path.lexists(path) if name != "write" else None
            method(*arguments)
            if before is not None and before == os.path.lexists(path):
                return  # nothing was to do
            self.changes.append(f"{name} {path}")
            if len(self.changes) - 1 == self.fatal:
                self.die()

        return change


_CHANGES = ("make", "remove", "write", "link", "unlink")


class Death(BaseException):
    """The process is killed."""


def let_die(target: Any, fatal: int) -> Mortal:
    """Let the process of a target die after its n-th change; returns the target's configfs."""

    def die() -> None:
        raise Death

    target.fs = Mortal(target.fs, fatal, die)
    found: Mortal = target.fs
    return found
