"""The parts of an nvmet export, made and taken away one by one: subsystems, hosts, ports.

What each has to do with the others is told in :mod:`volflow.drivers.targets.nvmet`.
"""

from __future__ import annotations

import hashlib
import ipaddress
from pathlib import Path

from volflow.drivers.targets.configfs import Configfs, KernelRefused, Reason, tolerate
from volflow.exceptions import TransientDriverError

NAMESPACE = 1
"""The volume's namespace id."""

_SERIAL_LENGTH = 20
_ATTEMPTS = 8


class Subsystem:
    """One subsystem with the volume as its namespace, and at most one host.

    :param root: ``/sys/kernel/config/nvmet``.
    :param nqn: its name.
    :param volume_id: the volume's id, which is the namespace's UUID.
    """

    def __init__(self, fs: Configfs, root: Path, nqn: str, volume_id: str) -> None:
        self.fs = fs
        self.root = root
        self.nqn = nqn
        self.volume_id = volume_id
        self.path = root / "subsystems" / nqn
        self.namespace = self.path / "namespaces" / str(NAMESPACE)

    def is_there(self) -> bool:
        """True where the subsystem is there and shows the volume."""
        try:
            return self.fs.read(self.namespace / "enable") == "1"
        except KernelRefused as refused:
            if refused.reason is not Reason.MISSING:
                raise
            return False

    def backing(self) -> Path | None:
        """What is behind the namespace; None: nothing that is open."""
        if not self.is_there():
            return None
        return Path(self.fs.read(self.namespace / "device_path"))

    def ensure(self, path: Path) -> None:
        """Make the subsystem, closed to all hosts, with the path as its namespace."""
        self.fs.make(self.path)
        self.fs.put(self.path / "attr_allow_any_host", 0)
        self.fs.make(self.namespace)
        if self.fs.read(self.namespace / "enable") == "1":
            return
        self.fs.write(self.path / "attr_serial", self.volume_id.replace("-", "")[:_SERIAL_LENGTH])
        self.fs.write(self.namespace / "device_path", path)
        self.fs.write(self.namespace / "device_uuid", self.volume_id)
        self.fs.write(self.namespace / "enable", 1)

    def hosts(self) -> list[str]:
        """Read which hosts may connect."""
        return [link.name for link in self.fs.links(self.path / "allowed_hosts")]

    def allow(self, host: str) -> None:
        """Let a host connect."""
        known = self.root / "hosts" / host
        for _ in range(_ATTEMPTS):
            self.fs.make(known)
            # Another volume's last disconnect may have removed the host meanwhile.
            with tolerate(Reason.MISSING):
                self.fs.link(known, self.path / "allowed_hosts" / host)
                return
        raise TransientDriverError(f"the host {host} is removed as soon as it is made")

    def remove(self) -> None:
        """End all connections, then take the subsystem away, or what there is of it."""
        for port in self.fs.objects(self.root / "ports"):
            self.fs.unlink(self.root / "ports" / port / "subsystems" / self.nqn)
        with tolerate(Reason.MISSING):
            self.fs.put(self.namespace / "enable", 0)
        self.fs.remove(self.namespace)
        for host in self.hosts():
            self.fs.unlink(self.path / "allowed_hosts" / host)
        # Before the subsystem, by whose name a host is found that a death left without a link.
        for host in self.fs.objects(self.root / "hosts"):
            if self.nqn.endswith(f":{host_mark(host)}"):
                with tolerate(Reason.BUSY):  # another subsystem allows it
                    self.fs.remove(self.root / "hosts" / host)
        self.fs.remove(self.path)


class Ports:
    """Where the kernel listens, shared by all subsystems.

    A port's number is derived from its address, so that volflow's processes find each other's.
    One that somebody else made for the same address is used, and never removed.

    :param portals: ``ip:port``, IPv6 in brackets.
    """

    def __init__(self, fs: Configfs, root: Path, portals: tuple[str, ...]) -> None:
        self.fs = fs
        self.ports = root / "ports"
        self.portals = portals

    def open(self, subsystem: Subsystem) -> None:
        """Show a subsystem at all portals."""
        for portal in self.portals:
            for _ in range(_ATTEMPTS):
                # The last subsystem may leave the port, and another process remove it, meanwhile.
                with tolerate(Reason.MISSING, Reason.NO_BACKING, Reason.LOCKED):
                    port = self._ensure(portal)
                    self.fs.link(subsystem.path, port / "subsystems" / subsystem.nqn)
                    break
            else:
                raise TransientDriverError(f"the port of {portal} changes all the time")

    def clean(self) -> None:
        """Remove the ports that volflow made and that show nothing any more."""
        for portal in self.portals:
            port = self.ports / str(port_number(portal))
            if self.fs.exists(port) and not self.fs.links(port / "subsystems"):
                with tolerate(Reason.BUSY):
                    self.fs.remove(port)

    def _ensure(self, portal: str) -> Path:
        wanted = _address(portal)
        own = self.ports / str(port_number(portal))
        for number in self.fs.objects(self.ports):
            port = self.ports / number
            with tolerate(Reason.MISSING):
                if port != own and self._attributes(port, wanted) == wanted:
                    return port
        self.fs.make(own)
        for name, value in wanted.items():
            self.fs.put(own / name, value)
        return own

    def _attributes(self, port: Path, wanted: dict[str, str]) -> dict[str, str]:
        return {name: self.fs.read(port / name) for name in wanted}


def port_number(portal: str) -> int:
    """Derive a port's number, 2**15 to 2**16 - 1, from its address."""
    digest = hashlib.sha256(portal.encode()).digest()
    return 2**15 + int.from_bytes(digest[:8]) % 2**15


def host_mark(host: str) -> str:
    """Derive the part of a subsystem's name that stands for its host: 16 hexadecimal digits."""
    return hashlib.sha256(host.encode()).hexdigest()[:16]


def _address(portal: str) -> dict[str, str]:
    host, _, service = portal.rpartition(":")
    host = host.strip("[]")
    family = "ipv6" if ipaddress.ip_address(host).version == 6 else "ipv4"
    return {
        "addr_trtype": "tcp",
        "addr_adrfam": family,
        "addr_traddr": host,
        "addr_trsvcid": service,
    }
