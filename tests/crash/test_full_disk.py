"""Disks that fill up: under SQLite at each commit, and under a driver's files."""

from __future__ import annotations

import itertools
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from volflow import VolumeManager
from volflow.drivers.local import LocalDriver
from volflow.exceptions import DatabaseError, DriverError
from volflow.models import OperationState, RecoveryReport
from volflow.testing import MemoryDriver, pause_heartbeat
from volflow.testing.crash import Place
from volflow.testing.invariants import violations
from volflow.testing.points import PointedDriver, Points
from volflow.testing.scenarios import BACKEND, CONTEXT, HOST_A

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount small filesystems of their own: ``mount("size=8M")``."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small filesystem")
    mounted: list[Path] = []

    def make(options: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path) -> None:
    """Leave no space for a byte."""
    try:
        with (disk / "filler").open("ab", buffering=0) as filler:
            while filler.write(b"\0" * 4096):
                continue
    except OSError:
        return


def fill_names(disk: Path) -> None:
    """Leave no space for another file."""
    try:
        for number in itertools.count():
            (disk / f"filler-{number}").touch(exist_ok=False)
    except OSError:
        return


def empty(disk: Path) -> None:
    """Take away what was filled in."""
    for path in disk.glob("filler*"):
        path.unlink()


class Fills(Points):
    """Fills the disk at a point, and lets the call go on."""

    def __init__(self, disk: Path, strike_at: int | None) -> None:
        super().__init__(strike_at)
        self.error = lambda name: _Here()
        self._disk = disk

    def reach(self, name: str) -> None:
        try:
            super().reach(name)
        except _Here:
            fill(self._disk)


class _Here(BaseException):
    """The point was reached."""


class Lab:
    """A database on a small disk, and a backend elsewhere.

    :ivar operation_id: the key of the next call.
    """

    def __init__(self, disk: Path) -> None:
        self.disk = disk
        self.backend = MemoryDriver()
        self.driver = PointedDriver(self.backend, Points())
        self.manager = Place(disk).open(self.driver)
        pause_heartbeat(self.manager)

    def volume(self, attached: bool) -> str:
        found = self.manager.create_volume(CONTEXT, size_gib=1, backend=BACKEND)
        if attached:
            self.manager.attach_volume(CONTEXT, found.id, HOST_A)
        return found.id

    def call(self, name: str, volume_id: str, key: str) -> str:
        """Attach or detach under this operation id; return the volume's status."""
        if name == "attach":
            self.manager.attach_volume(CONTEXT, volume_id, HOST_A, operation_id=key)
        else:
            self.manager.detach_volume(CONTEXT, volume_id, operation_id=key)
        return self.manager.get_volume(CONTEXT, volume_id).status

    def settles(self) -> None:
        self.manager.recover()
        assert RecoveryReport() == self.manager.recover()
        assert [] == violations(self.manager, self.backend, BACKEND)


@pytest.fixture
def lab(mount: Mount) -> Iterator[Lab]:
    found = Lab(mount("size=8M"))
    yield found
    found.manager.close()


def outcome(call: Callable[[], object]) -> DatabaseError | None:
    """What the database said, where it failed."""
    try:
        call()
    except DatabaseError as e:
        return e
    return None


def points_of(lab: Lab, name: str) -> list[str]:
    volume_id = lab.volume(attached=name == "detach")
    points = Points()
    lab.driver.points = points
    with points.watching(lab.manager.database):
        lab.call(name, volume_id, str(uuid.uuid4()))
    lab.driver.points = Points()
    return points.reached


@contextmanager
def filling(lab: Lab, point: int) -> Iterator[Fills]:
    """The disk is full from this point of the block's on, and has space again after it."""
    # A log that begins anew has no space to write to but what the disk gives.
    lab.manager.database.close()
    lab.manager.list_volumes(CONTEXT)
    points = Fills(lab.disk, point)
    lab.driver.points = points
    try:
        with points.watching(lab.manager.database):
            yield points
    finally:
        lab.driver.points = Points()
        empty(lab.disk)


@pytest.mark.parametrize(("name", "end"), [("attach", "in-use"), ("detach", "available")])
def test_a_disk_that_fills_up_anywhere_costs_nothing_but_time(
    name: str, end: str, lab: Lab
) -> None:
    """From each statement, commit and driver call on: the error says so, and the call ends later.

    Once there is space again, recovery settles what had begun, and the same operation id has its
    answer.
    """
    points = points_of(lab, name)
    last_commit = len(points) - 1 - points[::-1].index("commit before")
    for number, point in enumerate(points):
        volume_id, key = lab.volume(attached=name == "detach"), str(uuid.uuid4())
        with filling(lab, number):
            error = outcome(lambda: lab.call(name, volume_id, key))  # noqa: B023
        assert (error is not None) == (number <= last_commit), point
        assert error is None or "disk is full" in str(error), point
        lab.settles()
        assert end == lab.call(name, volume_id, key), point
        state = lab.manager.get_operation(CONTEXT, key).state
        assert OperationState.SUCCEEDED == state, point
        lab.settles()


def test_a_process_finds_its_database_after_a_full_disk(lab: Lab) -> None:
    """When the process dies while there is no space, another one opens the database then."""
    volume_id, key = lab.volume(attached=False), str(uuid.uuid4())
    points = points_of(lab, "attach")
    second = points.index("commit before", points.index("commit before") + 1)
    with filling(lab, second), pytest.raises(DatabaseError, match="full"):
        lab.call("attach", volume_id, key)
    with Place(lab.disk).open(lab.backend) as other:
        other.recover()
        assert "running" == other.get_operation(CONTEXT, key).state  # its owner lives
        lab.manager.close()
        other.recover()
        assert "succeeded" == other.get_operation(CONTEXT, key).state
        assert [] == violations(other, lab.backend, BACKEND)


def test_a_volume_that_finds_no_space_leaves_nothing(mount: Mount, tmp_path: Path) -> None:
    """When the directory of the images is full, the error says so, and nothing is left."""
    disk = mount("nr_inodes=16")
    driver = LocalDriver(disk / "backend")
    with Place(tmp_path).open(driver) as manager:
        fill_names(disk)
        with pytest.raises(DriverError, match="its filesystem is full"):
            manager.create_volume(CONTEXT, size_gib=1, backend=BACKEND)
        assert [] == manager.list_volumes(CONTEXT)
        assert not list(disk.rglob("*.raw"))
        empty(disk)
        volume = manager.create_volume(CONTEXT, size_gib=1, backend=BACKEND)
        assert "available" == volume.status


def test_an_export_that_finds_no_space_is_undone(mount: Mount, tmp_path: Path) -> None:
    """When the driver cannot write down what it exports, the attach is taken back."""
    disk = mount("size=1M")
    driver = LocalDriver(disk / "backend")
    with Place(tmp_path).open(driver) as manager:
        volume = manager.create_volume(CONTEXT, size_gib=1, backend=BACKEND)
        fill(disk)
        with pytest.raises(DriverError, match="its filesystem is full"):
            manager.attach_volume(CONTEXT, volume.id, HOST_A)
        is_clean(manager, driver)
        assert "available" == manager.get_volume(CONTEXT, volume.id).status
        empty(disk)
        manager.attach_volume(CONTEXT, volume.id, HOST_A)
        fill(disk)
        with pytest.raises(DriverError, match="its filesystem is full"):
            manager.detach_volume(CONTEXT, volume.id)
        empty(disk)
        is_clean(manager, driver)
        assert "in-use" == manager.get_volume(CONTEXT, volume.id).status
        manager.detach_volume(CONTEXT, volume.id)
        is_clean(manager, driver)


def is_clean(manager: VolumeManager, driver: LocalDriver) -> None:
    manager.recover()
    assert RecoveryReport() == manager.recover()
    assert [] == violations(manager, driver, BACKEND)
