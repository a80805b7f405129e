"""The backends that are tested, and one of them at work."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.lab.guest import kernel
from tests.lab.guest.kernel import DISK
from tests.lab.guest.times import Timed, Times
from tests.unit.drivers.volumes import driver_volume
from volflow.drivers.chap import Credentials
from volflow.drivers.registry import load_driver
from volflow.models import DriverVolume

GROUP = "lab"
POOL = "pool"
IMAGES = Path("/var/lib/volflow")


@dataclass(frozen=True)
class Backend:
    """A driver with a target.

    :ivar options: what a configuration file would say.
    """

    name: str
    driver: str
    target: str
    options: dict[str, str]

    def make(self, directory: Path) -> Any:
        """Build the driver as a manager does, and set it up."""
        options = {**self.options, "target": self.target}
        if self.driver == "file":
            # Not below /tmp: nvmet opens files for direct I/O, which a tmpfs has not.
            options["directory"] = str(IMAGES / directory.name)
        if self.target == "tgt":
            options |= {"portal": "127.0.0.1:3261", "control_port": "1", "socket": "/run/tgtd"}
        driver = load_driver(self.driver, options)
        driver.do_setup(None)
        driver.check_for_setup_error()
        return driver

    def require(self) -> None:
        """Skip the test where the kernel lacks the target."""
        if self.target == "nvmet" and not kernel.NVMET.exists():
            pytest.skip("this kernel has no nvmet")

    def host(self, iscsi: Any, nvme: Any, name: str) -> Any:
        """Make a host of the right kind."""
        if self.target == "nvmet":
            return nvme(f"nqn.2014-08.org.example:{name}")
        return iscsi(f"iqn.1994-05.com.example:{name}")


_LVM = {"volume_group": GROUP, "devices": DISK}
_THIN = {**_LVM, "thin_pool": POOL}

BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("lvm-lio", "lvm", "lio", _LVM),
        Backend("thin-lio", "lvm", "lio", _THIN),
        Backend("lvm-tgt", "lvm", "tgt", _LVM),
        Backend("file-lio", "file", "lio", {}),
        Backend("lvm-nvmet", "lvm", "nvmet", _LVM),
        Backend("file-nvmet", "file", "nvmet", {}),
    )
}


class Lab:
    """A backend at work, with two hosts.

    :ivar driver: times its calls.
    """

    def __init__(self, backend: Backend, directory: Path, hosts: list[Any], times: Times) -> None:
        self.backend = backend
        self.directory = directory
        self.alice, self.bob = hosts
        self.real = backend.make(directory)
        self.driver: Any = Timed(self.real, times.found[backend.name])
        self.made: list[DriverVolume] = []

    def again(self) -> Any:
        """Build the same driver as another process would."""
        return self.backend.make(self.directory)

    def volume(self, **changes: Any) -> DriverVolume:
        """Create a volume of 1 GiB with recorded credentials."""
        volume = driver_volume(provider_auth=Credentials.generate().provider_auth, **changes)
        self.made.append(volume)
        self.driver.create_volume(None, volume)
        return volume

    def exported(self, **changes: Any) -> DriverVolume:
        """Create and export a volume, and record what the driver says."""
        volume = self.volume(**changes)
        update = self.driver.create_export(None, volume, self.alice.connector)
        return replace(volume, **(update or {}))

    def connected(self, volume: DriverVolume, host: Any) -> dict[str, Any]:
        """Give a host access."""
        return self.driver.initialize_connection(volume, host.connector)

    def removed(self, volume: DriverVolume) -> None:
        """Take away export and volume."""
        self.driver.remove_export(None, volume)
        self.driver.delete_volume(None, volume)

    def acl(self, volume: DriverVolume) -> set[str]:
        """Who has access to the volume."""
        return self.acl_of(volume.id)

    def acl_of(self, volume_id: str) -> set[str]:
        """Who has access to the volume of this id."""
        (export,) = [e for e in self.driver.list_exports() if e.volume_id == volume_id]
        return set(export.initiators)

    def name_of(self, info: dict[str, Any]) -> str:
        """The target's name in a connection_info."""
        return str(info["data"].get("target_iqn") or info["data"]["target_nqn"])

    def clean(self) -> None:
        """Leave nothing in the way of the next test."""
        for volume in self.made:
            try:
                self.real.remove_export(None, volume)
            except Exception as error:  # noqa: BLE001 - what is left is what fails the test
                print(f"cannot clean: {error}")
        kernel.wipe()
        for name in kernel.volumes():
            subprocess.run(
                ["lvremove", "--devices", DISK, "--yes", f"{GROUP}/{name}"], check=False
            )
