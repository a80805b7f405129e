"""Processes that are killed for real: each is forked from a server that has volflow loaded."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

from volflow.drivers.local import LocalDriver
from volflow.testing.crash import Place
from volflow.testing.points import PointedDriver, Points
from volflow.testing.scenarios import CONTEXT, SCENARIOS, Scenario

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["volflow", "tests.crash.processes"])
KILLED = -signal.SIGKILL


class Deaths(Points):
    """Counts commits and driver calls, and kills the process at one of them."""

    def reach(self, name: str) -> None:
        """Pass a point; a statement is none here."""
        if not name.startswith("statement"):
            super().reach(name)


def find(name: str) -> Scenario:
    """The scenario of this name."""
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def backend(directory: Path) -> LocalDriver:
    """A backend that outlives processes: its exports and ACLs are files."""
    return LocalDriver(directory / "backend")


def prepare(directory: Path, url: str | None, name: str) -> str:
    """Bring a new volume into the scenario's first state; return its id."""
    scenario = find(name)
    with Place(directory, url).open(backend(directory)) as manager:
        volume = manager.create_volume(
            CONTEXT, size_gib=1, backend="lab", multiattach=scenario.multiattach
        )
        scenario.before(manager, volume.id)
    return volume.id


def run(directory: Path, url: str | None, name: str, volume_id: str, strike_at: int | None) -> int:
    """Run the scenario's call in a process of its own, killed at a point; return its exit code.

    Without a point the process ends by itself, and its exit code is the number of points.
    """
    arguments = (directory, url, name, volume_id, strike_at)
    process = SERVER.Process(target=_child, args=arguments)
    process.start()
    process.join(60)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"the process of {name} hangs at point {strike_at}")
    assert process.exitcode is not None
    return process.exitcode


def _child(
    directory: Path, url: str | None, name: str, volume_id: str, strike_at: int | None
) -> None:
    points = Deaths(strike_at)
    points.error = _kill
    driver = PointedDriver(backend(directory), Points())
    manager = Place(directory, url).open(driver)
    driver.points = points
    with points.watching(manager.database):
        find(name).call(manager, volume_id)
    manager.close()
    os._exit(len(points.reached))


def _kill(name: str) -> BaseException:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it survived SIGKILL")
