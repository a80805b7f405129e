"""This host as os-brick sees it: who it is, and how it logs in to a target.

Needs the extra ``volflow[host]``, and root: logging in and removing disks is the kernel's.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from volflow.drivers.command import CommandMissing, run
from volflow.exceptions import ConnectionInUse, InvalidInput
from volflow.models import ConnectionInfo, Connector

LOCKS = Path("/run/lock/volflow-host")
ROOT_HELPER = "sudo"
NVME = "nvmeof"
NVME_SECONDS = 60
MOUNTS = Path("/proc/self/mountinfo")
BLOCK_DEVICES = Path("/sys/dev/block")


class BrickHost:
    """Logs in by os-brick's connectors.

    :param name: what attachments record; the host's own name if None.
    :param ip: the host's address, for connectors that want one.
    :param multipath: log in to all portals of a target, and use the multipath device.
    :param lock_directory: locks between the processes of the host that do so.
    :raises InvalidInput: os-brick is not installed.
    """

    def __init__(
        self,
        name: str | None = None,
        ip: str | None = None,
        multipath: bool = False,
        lock_directory: Path = LOCKS,
    ) -> None:
        self.name = name or socket.gethostname()
        self._ip = ip
        self._multipath = multipath
        self._factory, self._properties = _brick(lock_directory)
        lock_directory.mkdir(parents=True, exist_ok=True)

    def connector(self) -> Connector:
        """What the host is called on each kind of network that it has."""
        found = self._properties(ROOT_HELPER, self._ip, self._multipath, False, host=self.name)
        return {key: value for key, value in found.items() if value is not None}

    def connect_volume(self, connection_info: ConnectionInfo) -> Mapping[str, Any]:
        """Log in, unless it is, and wait for the disk.

        :returns: os-brick's device_info, such as ``{"type": "block", "path": "/dev/sda"}``.
        """
        found = self._connector_of(connection_info).connect_volume(dict(connection_info["data"]))
        return {key: _text(value) for key, value in found.items()}

    def disconnect_volume(self, connection_info: ConnectionInfo) -> None:
        """Flush and remove the disk, and log out; what is not there is no error.

        :raises ConnectionInUse: the disk is mounted, or another device is made of it.
        """
        connector, data = self._connector_of(connection_info), dict(connection_info["data"])
        for path in connector.get_volume_paths(dict(data)):
            if (user := used_by(Path(_text(path)))) is not None:
                raise ConnectionInUse(f"{_text(path)} is used by {user}")
        connector.disconnect_volume(data, None)
        if connection_info["driver_volume_type"] == NVME:
            _end_nvme(data)

    def _connector_of(self, connection_info: ConnectionInfo) -> Any:
        return self._factory(
            connection_info["driver_volume_type"],
            ROOT_HELPER,
            use_multipath=self._multipath,
            conn=connection_info["data"],
        )


def used_by(path: Path, mounts: Path = MOUNTS, devices: Path = BLOCK_DEVICES) -> str | None:
    """Who uses a block device: where it is mounted, or what is made of it; None: nobody."""
    try:
        number = path.stat().st_rdev
    except FileNotFoundError:
        return None
    key = f"{os.major(number)}:{os.minor(number)}"
    found = [*_mounted(key, mounts), *_holders(devices / key)]
    return ", ".join(found) or None


def _mounted(key: str, mounts: Path) -> Iterator[str]:
    for line in mounts.read_text().splitlines():
        fields = line.split()
        if fields[2] == key:
            yield f"a file system on {fields[4]}"


def _holders(device: Path) -> Iterator[str]:
    directory = device / "holders"
    if directory.is_dir():
        yield from sorted(f"device {holder.name}" for holder in directory.iterdir())


def _end_nvme(data: Mapping[str, Any]) -> None:
    """Log out of a subsystem: os-brick leaves that to the target."""
    nqn = data.get("target_nqn") or data.get("nqn")
    if nqn:
        with suppress(CommandMissing):
            run(["nvme", "disconnect", "-n", str(nqn)], timeout=NVME_SECONDS)


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _brick(lock_directory: Path) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """os-brick, told where its locks are, and that root needs no daemon.

    :raises InvalidInput: it is not installed.
    """
    try:
        from oslo_service import backend  # noqa: PLC0415 - an extra

        # Which os-brick waits with; the default is eventlet, and nobody here uses that.
        with suppress(backend.exceptions.BackendAlreadySelected):
            backend.init_backend(backend.BackendType.THREADING)
        import os_brick  # noqa: PLC0415
        from os_brick import privileged  # noqa: PLC0415
        from os_brick.initiator import connector  # noqa: PLC0415
        from oslo_concurrency import lockutils  # noqa: PLC0415
        from oslo_config import cfg  # noqa: PLC0415
    except ImportError as e:
        raise InvalidInput(f"install volflow[host]: {e}") from None
    lockutils.set_defaults(str(lock_directory))
    os_brick.setup(cfg.CONF)
    if os.geteuid() == 0:
        for part in (privileged.default, privileged.brick_privsep_hide_output):
            part.set_client_mode(False)
    return connector.InitiatorConnector.factory, connector.get_connector_properties
