"""Hosts, as many as a test needs: the guest's own kernel, under names of its own choice."""

from __future__ import annotations

import re
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 90.0
"""An emulated machine takes its time."""


class Refused(Exception):
    """A command of a host failed; its message is what it said."""


def run(*argv: object, stdin: bytes | None = None) -> str:
    """Run a command, and return what it wrote.

    :raises Refused: it failed.
    """
    done = subprocess.run(
        [str(word) for word in argv], input=stdin, capture_output=True, check=False,
        timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    if done.returncode:
        raise Refused((done.stderr + done.stdout).decode(errors="replace").strip())
    return done.stdout.decode(errors="replace")


def wait_for(what: str, found: Callable[[], T | None]) -> T:
    """Poll until there is something, and return it.

    :raises AssertionError: there was nothing in time.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while not (result := found()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)
    return result


class Disk:
    """One block device of a host."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, pattern: bytes, offset: int = 0) -> None:
        """Write past all caches.

        :raises Refused: the disk does not take it.
        """
        run("dd", f"of={self.path}", "oflag=direct,seek_bytes", f"seek={offset}", "bs=64k",
            "conv=notrunc", "status=none", stdin=pattern)  # fmt: skip

    def read(self, length: int, offset: int = 0) -> bytes:
        """Read past all caches."""
        done = subprocess.run(
            ["dd", f"if={self.path}", "iflag=direct,skip_bytes,count_bytes", f"skip={offset}",
             f"count={length}", "bs=64k", "status=none"],
            capture_output=True, check=False, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        if done.returncode:
            raise Refused(done.stderr.decode().strip())
        return done.stdout

    @property
    def size(self) -> int:
        """In bytes."""
        return int(run("blockdev", "--getsize64", self.path))

    @property
    def readonly(self) -> bool:
        """Whether the host may not write."""
        return run("blockdev", "--getro", self.path).strip() == "1"


class IscsiHost:
    """An initiator: open-iscsi under a name of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.iface = name.rpartition(":")[2]
        self.targets: set[str] = set()
        run("iscsiadm", "-m", "iface", "-I", self.iface, "--op", "new")
        self._iface("initiatorname", name)

    @property
    def connector(self) -> dict[str, Any]:
        """What the host tells volflow of itself."""
        return {"initiator": self.name, "host": self.iface, "ip": "127.0.0.1"}

    def log_in(self, info: dict[str, Any], **changes: str) -> Disk:
        """Log in with CHAP, and wait for the disk.

        :param changes: of ``auth_username`` and ``auth_password``.
        :raises Refused: the target does not let it in.
        """
        data = {**info["data"], **changes}
        iqn, portal = data["target_iqn"], data["target_portal"]
        self.targets.add(iqn)
        self._node(data, "-o", "new")
        values = {
            "auth.authmethod": "CHAP",
            "auth.username": data["auth_username"],
            "auth.password": data["auth_password"],
            "initial_login_retry_max": "1",
        }
        words = [w for n, v in values.items() for w in ("-n", f"node.session.{n}", "-v", v)]
        self._node(data, "-o", "update", *words)
        self._node(data, "--login")
        return wait_for(f"the disk of {iqn} at {portal}", lambda: self.disk(data))

    def disk(self, data: dict[str, Any]) -> Disk | None:
        """Find the disk of a target; None: there is none."""
        for session in Path("/sys/class/iscsi_session").glob("session*"):
            named = (session / "targetname").read_text().strip() == data["target_iqn"]
            mine = (session / "initiatorname").read_text().strip() == self.name
            if named and mine:
                lun = f"*:*:*:{data['target_lun']}"
                for block in session.glob(f"device/target*/{lun}/block/*"):
                    return Disk(Path("/dev") / block.name)
        return None

    def sessions(self, iqn: str) -> list[str]:
        """The states of the host's sessions with a target, such as ``LOGGED_IN``."""
        found = []
        for session in Path("/sys/class/iscsi_session").glob("session*"):
            try:
                named = (session / "targetname").read_text().strip() == iqn
                if named and (session / "initiatorname").read_text().strip() == self.name:
                    found.append((session / "state").read_text().strip())
            except OSError:
                continue  # it ended meanwhile
        return found

    def log_out(self, iqn: str) -> None:
        """End all sessions with a target, dead ones too, and forget it."""
        for command in (["--logout"], ["-o", "delete"]):
            try:
                run("iscsiadm", "-m", "node", "-T", iqn, "-I", self.iface, *command)
            except Refused:
                continue
        self.targets.discard(iqn)

    def close(self) -> None:
        """Leave nothing of the host behind."""
        for iqn in list(self.targets):
            self.log_out(iqn)
        run("iscsiadm", "-m", "iface", "-I", self.iface, "--op", "delete")

    def _iface(self, name: str, value: str) -> None:
        run("iscsiadm", "-m", "iface", "-I", self.iface, "--op", "update",
            "-n", f"iface.{name}", "-v", value)  # fmt: skip

    def _node(self, data: dict[str, Any], *words: str) -> None:
        run("iscsiadm", "-m", "node", "-T", data["target_iqn"], "-p", data["target_portal"],
            "-I", self.iface, *words)  # fmt: skip


class NvmeHost:
    """An NVMe host: nvme-cli under a name of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.id = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        self.subsystems: set[str] = set()

    @property
    def connector(self) -> dict[str, Any]:
        """What the host tells volflow of itself."""
        return {"nqn": self.name, "nvme_hostid": self.id, "host": self.name, "ip": "127.0.0.1"}

    def log_in(self, info: dict[str, Any]) -> Disk:
        """Connect, and wait for the disk.

        :raises Refused: the target does not let it in.
        """
        self.connect(info)
        nqn = info["data"]["target_nqn"]
        return wait_for(f"the disk of {nqn}", lambda: self.disk(nqn))

    def connect(self, info: dict[str, Any]) -> None:
        """Connect without waiting for the disk.

        The kernel shows one disk of a UUID: none to a second host that is the same machine.

        :raises Refused: the target does not let it in.
        """
        data = info["data"]
        address, port, _ = data["portals"][0]
        self.subsystems.add(data["target_nqn"])
        run("nvme", "connect", "-t", "tcp", "-a", address, "-s", port, "-n", data["target_nqn"],
            "--hostnqn", self.name, "--hostid", self.id, "--reconnect-delay", 1,
            "--ctrl-loss-tmo", 20)  # fmt: skip

    def disk(self, nqn: str) -> Disk | None:
        """Find the disk of a subsystem; None: there is none."""
        for controller in self._controllers(nqn):
            for path in controller.glob("nvme*n*"):
                # nvme0c1n1 is one path, by controller 1, to the disk nvme0n1.
                device = Path("/dev") / re.sub(r"c\d+n", "n", path.name)
                if device.exists():
                    return Disk(device)
        return None

    def sessions(self, nqn: str) -> list[str]:
        """The states of the host's controllers of a subsystem, such as ``live``."""
        found = []
        for controller in self._controllers(nqn):
            try:
                found.append((controller / "state").read_text().strip())
            except OSError:
                continue
        return found

    def log_out(self, nqn: str) -> None:
        """End all connections with a subsystem."""
        for controller in self._controllers(nqn):
            try:
                run("nvme", "disconnect", "-d", controller.name)
            except Refused:
                continue
        self.subsystems.discard(nqn)

    def close(self) -> None:
        """Leave nothing of the host behind."""
        for nqn in list(self.subsystems):
            self.log_out(nqn)

    def _controllers(self, nqn: str) -> list[Path]:
        found = []
        for controller in Path("/sys/class/nvme").glob("nvme*"):
            try:
                same = (controller / "subsysnqn").read_text().strip() == nqn
                if same and (controller / "hostnqn").read_text().strip() == self.name:
                    found.append(controller)
            except OSError:
                continue
        return found
