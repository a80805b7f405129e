"""Processes that are killed or stopped for real: each is forked from a server that has volflow."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from volflow.drivers.local import LocalDriver
from volflow.exceptions import VolflowError
from volflow.testing import pause_heartbeat
from volflow.testing.crash import Place
from volflow.testing.points import PointedDriver, Points
from volflow.testing.scenarios import CONTEXT, SCENARIOS, Scenario

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["volflow", "tests.crash.processes"])
KILLED = -signal.SIGKILL
SECONDS = 60
"""How long a process may take to a point, or to its end."""


class Deaths(Points):
    """Counts commits and driver calls, and kills the process at one of them."""

    def __init__(self, strike_at: int | None = None) -> None:
        super().__init__(strike_at)
        self.error = _kill

    def reach(self, name: str) -> None:
        """Pass a point; a statement is none here."""
        if not name.startswith("statement"):
            super().reach(name)


class Stops(Deaths):
    """Counts the same points, and stops the process at one of them, until it is continued."""

    def __init__(self, strike_at: int | None = None) -> None:
        super().__init__(strike_at)
        self.error = _Here

    def reach(self, name: str) -> None:
        try:
            super().reach(name)
        except _Here:
            os.kill(os.getpid(), signal.SIGSTOP)


class _Here(BaseException):
    """The point was reached."""


class Outcome(NamedTuple):
    """What a process's call came to.

    :ivar points: the points that it passed.
    :ivar error: the class name of what it raised; None: it returned.
    """

    points: list[str]
    error: str | None
    message: str


class Worker:
    """A process of its own that runs a scenario's call.

    :ivar pid: its process id.
    """

    def __init__(self, process: Any, answers: Connection) -> None:
        self._process = process
        self._answers = answers
        self.pid: int = process.pid

    def wait_until_stopped(self) -> bool:
        """Wait until it stops at its point; False where it ended without."""
        until(lambda: _state(self.pid) in ("T", ""), f"process {self.pid} stops or ends")
        return _state(self.pid) == "T"

    def go_on(self) -> None:
        """Let it go on after a stop."""
        os.kill(self.pid, signal.SIGCONT)

    def outcome(self) -> Outcome:
        """Wait for its end, and hear what its call came to."""
        assert self._answers.poll(SECONDS), f"process {self.pid} hangs"
        found = Outcome(*self._answers.recv())
        self._process.join(SECONDS)
        return found

    def end(self) -> int:
        """Wait for its end, or end it; return its exit code."""
        self._process.join(SECONDS)
        alive = self._process.is_alive()
        if alive:
            self._process.kill()
            self._process.join()
        assert not alive, f"process {self.pid} hangs"
        code: int = self._process.exitcode
        return code


def _state(pid: int) -> str:
    """``T``: stopped; empty: it ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if state == "Z" else state


def until(holds: Callable[[], bool], promise: str) -> None:
    """Poll until it holds."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, f"waited {SECONDS} seconds for: {promise}"
        time.sleep(0.01)


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


@contextmanager
def worker(
    directory: Path,
    url: str | None,
    name: str,
    volume_id: str,
    points: Points,
    lease_seconds: float = 60,
) -> Iterator[Worker]:
    """Run the scenario's call in a process of its own, with its points; it ends with the block."""
    ours, theirs = SERVER.Pipe(duplex=False)
    process = SERVER.Process(
        target=_child,
        args=(directory, url, name, volume_id, type(points), points.strike_at, lease_seconds),
        kwargs={"answers": theirs},
    )
    process.start()
    theirs.close()
    try:
        yield Worker(process, ours)
    finally:
        if process.is_alive():
            process.kill()
        process.join()
        ours.close()


def run(directory: Path, url: str | None, name: str, volume_id: str, strike_at: int | None) -> int:
    """Run the scenario's call in a process of its own, killed at a point; return its exit code.

    Without a point the process ends by itself, and its exit code is the number of points.
    """
    with worker(directory, url, name, volume_id, Deaths(strike_at)) as found:
        return found.end()


def _child(
    directory: Path,
    url: str | None,
    name: str,
    volume_id: str,
    kind: type[Points],
    strike_at: int | None,
    lease_seconds: float,
    answers: Connection,
) -> None:
    points = kind(strike_at)
    driver = PointedDriver(backend(directory), Points())
    manager = Place(directory, url).open(driver, lease_seconds)
    # The points are those of the call: what stops or dies there is in no other transaction.
    pause_heartbeat(manager)
    driver.points = points
    error: VolflowError | None = None
    with points.watching(manager.database):
        try:
            find(name).call(manager, volume_id)
        except VolflowError as e:
            error = e
    manager.close()
    answers.send((points.reached, error and type(error).__name__, str(error)))
    os._exit(len(points.reached))


def _kill(name: str) -> BaseException:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it survived SIGKILL")
