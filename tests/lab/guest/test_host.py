"""``volflow host``: this machine's own disks, by os-brick and the kernel's initiator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.guest import kernel
from tests.lab.guest.backends import Lab
from tests.lab.guest.hosts import Refused, run
from tests.lab.guest.test_deaths import dies
from volflow import RequestContext, VolumeManager
from volflow.brick import BrickHost
from volflow.exceptions import ConnectionFailed, ConnectionInUse
from volflow.testing.invariants import violations
from volflow.testing.points import PointedDriver, Points

CONTEXT = RequestContext(overwrite=False)
BACKEND = "lab"

on_lvm = pytest.mark.parametrize("lab", ["lvm-lio"], indirect=True)


def sessions() -> list[str]:
    """The targets that this machine is logged in to."""
    found = Path("/sys/class/iscsi_session").glob("session*/targetname")
    return [path.read_text().strip() for path in found]


class Host:
    """This machine with volflow's command, and a configuration of its own."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.url = f"sqlite:///{lab.directory / 'volflow.db'}"
        self.config = lab.directory / "volflow.conf"
        options = {**lab.backend.options, "driver": lab.backend.driver, "target": "lio"}
        lines = [f"[{BACKEND}]", *(f"{key} = {value}" for key, value in options.items()), ""]
        general = ["[volflow]", f"database = {self.url}", f"backends = {BACKEND}"]
        self.config.write_text("\n".join([*general, *lines]))

    def volflow(self, *words: str) -> Any:
        """Run the command; return its JSON.

        :raises Refused: it failed.
        """
        argv = [sys.executable, "-m", "volflow.cli", "--config", str(self.config), "--json"]
        done = subprocess.run([*argv, *words], capture_output=True, text=True, check=False)
        assert "Eventlet" not in done.stderr
        if done.returncode:
            raise Refused(done.stderr)
        return json.loads(done.stdout)

    def opened(self, points: Points | None = None, name: str | None = None) -> VolumeManager:
        """A manager of this host whose calls of driver and host are points."""
        points = points or Points()
        driver = PointedDriver(self.lab.again(), points)
        side = PointedDriver(BrickHost(name), points)
        return VolumeManager(self.url, {BACKEND: driver}, recover=False, host=side)

    def connect(self, volume_id: str) -> str:
        """Attach a volume, and return the path of its disk."""
        with self.opened() as manager:
            return str(manager.connect_volume(CONTEXT, volume_id).mountpoint)

    def disconnect(self, volume_id: str) -> None:
        with self.opened() as manager:
            manager.disconnect_volume(CONTEXT, volume_id)

    def recover(self, volume_id: str) -> tuple[str, list[str]]:
        """Recover as the host does at its boot; the volume's status, and what breaks a promise."""
        with self.opened() as manager:
            manager.recover()
            status = manager.get_volume(CONTEXT, volume_id).status
            return str(status), violations(manager, self.lab.real, BACKEND)


@pytest.fixture
def host(lab: Lab) -> Host:
    return Host(lab)


@pytest.fixture
def volume_id(host: Host) -> Iterator[str]:
    with VolumeManager(host.url, {BACKEND: host.lab.real}, recover=False) as manager:
        volume = manager.create_volume(CONTEXT, 1, BACKEND)
    yield volume.id
    assert sessions() == []
    with VolumeManager(host.url, {BACKEND: host.lab.real}, recover=False) as manager:
        manager.delete_volume(CONTEXT, volume.id)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """Where a test mounts its disk."""
    place = tmp_path / "mnt"
    place.mkdir()
    yield place
    if place.is_mount():
        run("umount", place)


@on_lvm
def test_a_file_system_survives_detach_and_attach(host: Host, volume_id: str, mount: Path) -> None:
    """And a disk that is mounted is not taken away."""
    path = str(host.volflow("host", "attach", volume_id)["mountpoint"])
    run("mkfs.ext4", "-q", path)
    run("mount", path, mount)
    (mount / "kept").write_text("what was written")
    with pytest.raises(ConnectionInUse, match="is used by a file system on"):
        host.disconnect(volume_id)
    assert (mount / "kept").read_text() == "what was written"
    run("umount", mount)
    host.volflow("host", "detach", volume_id)
    assert sessions() == []
    assert kernel.tree() == []

    path = host.connect(volume_id)

    run("mount", path, mount)
    assert (mount / "kept").read_text() == "what was written"
    run("umount", mount)
    host.disconnect(volume_id)
    assert kernel.tree() == []


def kill(name: str) -> BaseException:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it is dead")


def outside(host: Host, play: Callable[[VolumeManager], Any]) -> list[int]:
    """The points of what goes on outside the database, where nobody dies."""
    points = Points()
    with host.opened(points) as manager:
        play(manager)
    return list(range(len(points.reached)))


def dying(host: Host, fatal: int, play: Callable[[VolumeManager], Any]) -> None:
    """Play it in a process that is killed at a point."""

    def body() -> None:
        points = Points(fatal)
        points.error = kill
        with host.opened(points) as manager:
            play(manager)

    dies(body)


@on_lvm
@pytest.mark.slow
def test_an_attach_that_is_killed_leaves_neither_session_nor_reservation(
    host: Host, volume_id: str
) -> None:
    """At each call of driver and host, before it and after."""

    def attach(manager: VolumeManager) -> None:
        manager.connect_volume(CONTEXT, volume_id)

    fatal = outside(host, attach)
    host.disconnect(volume_id)
    assert len(fatal) >= 8
    for number in fatal:
        dying(host, number, attach)
        assert host.recover(volume_id) == ("available", [])
        assert sessions() == kernel.tree() == []


@on_lvm
@pytest.mark.slow
def test_a_detach_that_is_killed_ends_detached(host: Host, volume_id: str) -> None:
    """At each call of driver and host, before it and after."""

    def detach(manager: VolumeManager) -> None:
        manager.disconnect_volume(CONTEXT, volume_id)

    host.connect(volume_id)
    fatal = outside(host, detach)
    assert len(fatal) >= 6
    for number in fatal:
        host.connect(volume_id)
        dying(host, number, detach)
        assert host.recover(volume_id) == ("available", [])
        assert sessions() == kernel.tree() == []


@on_lvm
def test_a_host_that_is_refused_leaves_nothing(host: Host, volume_id: str) -> None:
    """When the target does not take its secret."""

    class Lying(BrickHost):
        def connect_volume(self, connection_info: Any) -> Any:
            data = {**connection_info["data"], "auth_password": "another.secret.1"}
            return super().connect_volume({**connection_info, "data": data})

    driver = {BACKEND: host.lab.real}
    with VolumeManager(host.url, driver, recover=False, host=Lying()) as manager:
        with pytest.raises(ConnectionFailed, match="connect_volume on host lab failed"):
            manager.connect_volume(CONTEXT, volume_id)
        assert manager.get_volume(CONTEXT, volume_id).status == "available"
    assert sessions() == kernel.tree() == []
