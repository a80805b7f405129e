"""A process that is killed after any change of the kernel's state, and what comes after it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.lab.guest import kernel
from tests.lab.guest.backends import Lab
from tests.unit.drivers.targets.kernel import Mortal
from volflow import RequestContext, VolumeManager
from volflow.drivers import Export
from volflow.models import DriverVolume, RecoveryReport
from volflow.testing.invariants import violations

CONTEXT = RequestContext(overwrite=False)
BACKEND = "lab"

on_files = pytest.mark.parametrize("lab", ["file-lio", "file-nvmet"], indirect=True)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def mortal(lab: Lab, fatal: int, die: Callable[[], Any]) -> tuple[Any, Mortal]:
    """The driver of a process that dies after its n-th change."""
    driver = lab.again()
    driver.target.fs = Mortal(driver.target.fs, fatal, die)
    return driver, driver.target.fs


def changes(lab: Lab, play: Callable[[Any], object]) -> list[str]:
    """What is changed where nobody dies."""
    driver, fs = mortal(lab, -1, kill)
    play(driver)
    return fs.changes


def dies(play: Callable[[], object]) -> None:
    """Run something in a process of its own, which is killed in it."""
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            play()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "the process was not killed"
    assert os.WTERMSIG(status) == signal.SIGKILL


class TestDriver:
    """Export, access and their end, without a core that remembers."""

    def exported(self, driver: Any, volume: DriverVolume, lab: Lab) -> None:
        update = driver.create_export(None, volume, lab.alice.connector)
        driver.initialize_connection(replace(volume, **update), lab.alice.connector)

    def removed(self, driver: Any, volume: DriverVolume, lab: Lab) -> None:
        driver.terminate_connection(volume, lab.alice.connector)
        driver.remove_export(None, volume)

    @on_files
    def test_whatever_was_left_is_finished_or_removed(self, lab: Lab) -> None:
        """When another process makes the calls again, nothing is missing and nothing more."""
        volume = lab.volume()
        there = changes(lab, lambda d: self.exported(d, volume, lab))
        whole = kernel.tree()
        back = changes(lab, lambda d: self.removed(d, volume, lab))
        assert kernel.tree() == []
        assert len(there) > 12
        assert len(back) >= 10
        key = lab.driver.initiator_of(lab.alice.connector)
        driver = lab.again()
        for fatal in range(len(there)):
            for finish in (True, False):
                mine, _ = mortal(lab, fatal, kill)
                dies(lambda: self.exported(mine, volume, lab))  # noqa: B023
                if finish:
                    self.exported(driver, volume, lab)
                    assert kernel.tree() == whole, there[fatal]
                    (export,) = driver.list_exports()
                    assert export.initiators == (key,)
                self.removed(driver, volume, lab)
                assert kernel.tree() == [], there[fatal]
        for fatal in range(len(back)):
            for finish in (True, False):
                self.exported(driver, volume, lab)
                mine, _ = mortal(lab, fatal, kill)
                dies(lambda: self.removed(mine, volume, lab))  # noqa: B023
                if not finish:
                    self.exported(driver, volume, lab)
                    assert kernel.tree() == whole, back[fatal]
                self.removed(driver, volume, lab)
                assert kernel.tree() == [], back[fatal]
        assert driver.list_exports() == []
        driver.delete_volume(None, volume)

    @on_files
    def test_a_half_made_export_is_listed(self, lab: Lab) -> None:
        """When anything of an export that has its name is there, recovery can see it."""
        volume = lab.volume()
        there = changes(lab, lambda d: self.exported(d, volume, lab))
        self.removed(lab.driver, volume, lab)
        for fatal in range(len(there)):
            mine, _ = mortal(lab, fatal, kill)
            dies(lambda: self.exported(mine, volume, lab))  # noqa: B023
            named = any(volume.id in path for path in kernel.tree())
            assert named == bool(lab.driver.list_exports()), there[fatal]
            self.removed(lab.driver, volume, lab)
        lab.driver.delete_volume(None, volume)


class Place:
    """A database, and managers on it as processes of their own."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.url = f"sqlite:///{lab.directory / 'volflow.db'}"

    def open(self, driver: Any) -> VolumeManager:
        return VolumeManager(self.url, {BACKEND: driver}, recover=False)

    def settle(self) -> tuple[list[str], str]:
        """Recover until nothing is due; return what breaks a guarantee, and the status."""
        driver = self.lab.again()
        with self.open(driver) as manager:
            for _ in range(4):
                if manager.recover() == RecoveryReport():
                    break
            (volume,) = manager.list_volumes(CONTEXT)
            return violations(manager, driver, BACKEND), str(volume.status)


@pytest.fixture
def place(lab: Lab) -> Iterator[Place]:
    place = Place(lab)
    with place.open(lab.real) as manager:
        volume = manager.create_volume(CONTEXT, 1, BACKEND)
    yield place
    with place.open(lab.real) as manager:
        manager.delete_volume(CONTEXT, volume.id)


@pytest.mark.slow
class TestManager:
    """Attach and detach with their database, killed at every step of the target."""

    @on_files
    def test_an_attach_that_was_killed_ends_attached_or_leaves_nothing(
        self, lab: Lab, place: Place
    ) -> None:
        """When recovery has run, the kernel holds exactly what the database justifies."""

        def attach(driver: Any) -> None:
            with place.open(driver) as manager:
                (volume,) = manager.list_volumes(CONTEXT)
                manager.attach_volume(CONTEXT, volume.id, lab.alice.connector, host_name="a")

        def detach() -> None:
            with place.open(lab.again()) as manager:
                (volume,) = manager.list_volumes(CONTEXT)
                manager.detach_volume(CONTEXT, volume.id)

        there = changes(lab, attach)
        whole = kernel.tree()
        detach()
        assert kernel.tree() == []
        ends = set()
        for fatal in range(len(there)):
            mine, _ = mortal(lab, fatal, kill)
            dies(lambda: attach(mine))  # noqa: B023
            found, status = place.settle()
            assert found == [], there[fatal]
            assert kernel.tree() == {"in-use": whole, "available": []}[status], there[fatal]
            ends.add(status)
            if status == "in-use":
                detach()
            assert kernel.tree() == [], there[fatal]
        assert ends

    @on_files
    def test_a_detach_that_was_killed_ends_detached(self, lab: Lab, place: Place) -> None:
        """When recovery has run, the volume is available and the kernel holds nothing of it."""

        def attach() -> None:
            with place.open(lab.again()) as manager:
                (volume,) = manager.list_volumes(CONTEXT)
                manager.attach_volume(CONTEXT, volume.id, lab.alice.connector, host_name="a")

        def detach(driver: Any) -> None:
            with place.open(driver) as manager:
                (volume,) = manager.list_volumes(CONTEXT)
                manager.detach_volume(CONTEXT, volume.id)

        attach()
        back = changes(lab, detach)
        for fatal in range(len(back)):
            attach()
            mine, _ = mortal(lab, fatal, kill)
            dies(lambda: detach(mine))  # noqa: B023
            assert place.settle() == ([], "available"), back[fatal]
            assert kernel.tree() == [], back[fatal]


def test_the_driver_tells_nothing_of_volumes_it_never_had(tmp_path: Path) -> None:
    """When nothing is exported, there is nothing to list."""
    from volflow.drivers.registry import load_driver

    for target in ("lio", "nvmet"):
        driver = load_driver("file", {"directory": str(tmp_path), "target": target})
        assert list[Export](driver.list_exports()) == []
