"""The crash matrix: a scenario, a death at each of its points, recovery, the invariants.

A "process" is a manager of its own on the same database and the same backend. Its death is a
:class:`~volflow.testing.Crash` at one of its fault points; the next process recovers, and then
database and backend have to agree. A double crash kills the recovery, too.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from sqlalchemy import event

from volflow.exceptions import VolflowError
from volflow.manager import VolumeManager
from volflow.models import RecoveryReport
from volflow.testing.faults import Crash, Fault, FaultyDriver
from volflow.testing.invariants import violations
from volflow.testing.points import PointedDriver, Points
from volflow.testing.scenarios import BACKEND, CONTEXT, Scenario

RECOVERIES = 4
"""Runs of recovery after which everything has to be settled, refused undos included."""


class Point(NamedTuple):
    """One death, or two: the number and the name of each point."""

    scenario: str
    first: tuple[int, str]
    second: tuple[int, str] | None = None

    def __str__(self) -> str:
        deaths = [f"{number} ({name})" for number, name in (self.first, self.second or (-1, ""))]
        return (
            f"{self.scenario}: death at {' and then at '.join(deaths[: 2 if self.second else 1])}"
        )


@dataclass
class Tally:
    """What was tried, and what was found.

    :ivar ends: the status that the volume ended in -> how often.
    :ivar broken: a point -> the guarantees that did not hold.
    """

    single: int = 0
    double: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    broken: dict[str, list[str]] = field(default_factory=dict)


class Place:
    """Where the processes of one scenario live: a database, a key file, locks.

    :param directory: holds key file and locks, and the SQLite file where ``url`` is None.
    :param url: a server's database; None: SQLite without syncing, since no machine dies here.
    """

    def __init__(self, directory: Path, url: str | None = None) -> None:
        self.directory = directory
        self.url = url or f"sqlite:///{directory / 'volflow.db'}"

    def open(self, driver: Any, lease_seconds: float = 60) -> VolumeManager:
        """Open a manager as a new process would; recovery runs when it is told to."""
        manager = VolumeManager(
            self.url,
            drivers={BACKEND: driver},
            recover=False,
            lease_seconds=lease_seconds,
            key_file=self.directory / "volflow.key",
        )
        if manager.database.is_sqlite:
            event.listen(manager.database.engine, "connect", _do_not_sync)
            manager.database.close()
        return manager


class Stage:
    """One volume in a scenario's first state, ready for the call that is to die."""

    def __init__(self, place: Place, backend: Any, scenario: Scenario) -> None:
        self.place = place
        self.backend = backend
        self.scenario = scenario
        self.faults: list[Fault] = []
        with self.process() as manager:
            volume = manager.create_volume(
                CONTEXT, size_gib=1, backend=BACKEND, multiattach=scenario.multiattach
            )
            self.volume_id = volume.id
            scenario.before(manager, volume.id)
        self.faults += [Fault(c, when, error("refused")) for c, when, error in scenario.faults]

    @contextmanager
    def process(self, points: Points | None = None) -> Iterator[VolumeManager]:
        """A process; its points are counted once it is open."""
        points = points or Points()
        faulty = FaultyDriver(self.backend)
        faulty.faults = self.faults
        driver = PointedDriver(faulty, Points())
        manager = self.place.open(driver)
        driver.points = points
        try:
            with points.watching(manager.database):
                yield manager
        finally:
            driver.points = Points()
            manager.close()

    def play(self, points: Points) -> None:
        """Let the caller do its call; what it raises is the caller's."""
        with self.process(points) as manager, suppress(VolflowError):
            self.scenario.call(manager, self.volume_id)

    def recover(self, points: Points) -> None:
        """Run recovery once, in a new process."""
        with self.process(points) as manager:
            manager.recover()

    def settle(self) -> tuple[list[str], str]:
        """Recover until nothing needs attention; return violations and the volume's status."""
        with self.process() as manager:
            for _ in range(RECOVERIES):
                if manager.recover() == RecoveryReport():
                    break
            found = violations(manager, self.backend, BACKEND)
            ended = "deleted"
            with suppress(VolflowError):
                ended = manager.get_volume(CONTEXT, self.volume_id).status
        if ended not in self.scenario.ends:
            found.append(f"G1: the volume ends {ended}, expected {self.scenario.ends}")
        return found, ended


class Matrix:
    """Goes through all points of a scenario.

    :param make_backend: makes a driver with an empty backend.
    :param make_url: makes an empty server database; None: SQLite.
    """

    def __init__(
        self,
        scenario: Scenario,
        make_backend: Callable[[], Any],
        make_url: Callable[[], str] | None = None,
    ) -> None:
        self.scenario = scenario
        self.tally = Tally()
        self._make_backend = make_backend
        self._make_url = make_url
        self._root = Path(tempfile.mkdtemp(prefix="volflow-crash-"))
        self._first: Stage | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._root)

    def single(self, step: int = 1, start: int = 0) -> None:
        """Die at each point of the call."""
        for number in range(start, self.points(), step):
            with self._stage() as stage:
                struck = self._die(stage.play, number)
                self.tally.single += 1
                self._judge(stage, Point(self.scenario.name, (number, struck)))

    def double(self, step: int = 1, start: int = 0) -> None:
        """Die at each point of the call, and at each point of the recovery that follows."""
        for number in range(self.points()):
            second, more = start, True
            while more:
                with self._stage() as stage:
                    struck = self._die(stage.play, number)
                    points = Points(second)
                    with suppress(Crash):
                        stage.recover(points)
                    more = points.struck is not None
                    if points.struck is not None:
                        self.tally.double += 1
                        death = (second, points.struck)
                        self._judge(stage, Point(self.scenario.name, (number, struck), death))
                second += step

    def points(self) -> int:
        """How many points the call has; without a death it has to end well, too."""
        with self._stage() as stage:
            points = Points()
            stage.play(points)
            self._judge(stage, Point(self.scenario.name, (-1, "no death")))
            return len(points.reached)

    def _die(self, what: Callable[[Points], None], number: int) -> str:
        points = Points(number)
        with suppress(Crash):
            what(points)
        assert points.struck is not None, f"point {number} was not reached"
        return points.struck

    def _judge(self, stage: Stage, point: Point) -> None:
        found, ended = stage.settle()
        self.tally.ends[ended] = self.tally.ends.get(ended, 0) + 1
        if found:
            self.tally.broken[str(point)] = found

    @contextmanager
    def _stage(self) -> Iterator[Stage]:
        """A stage; on SQLite with a backend that can be copied, a copy of the first one."""
        directory = Path(tempfile.mkdtemp(dir=self._root))
        if self._first is not None:
            shutil.copytree(self._first.place.directory, directory, dirs_exist_ok=True)
            yield self._copy(self._first, directory)
        elif self._make_url is None and hasattr(self._make_backend(), "__deepcopy__"):
            self._first = Stage(Place(directory), self._make_backend(), self.scenario)
            with self._stage() as copied:
                yield copied
            return
        else:
            url = None if self._make_url is None else self._make_url()
            yield Stage(Place(directory, url), self._make_backend(), self.scenario)
        shutil.rmtree(directory)

    def _copy(self, first: Stage, directory: Path) -> Stage:
        stage = Stage.__new__(Stage)
        stage.__dict__.update(first.__dict__)
        stage.place = Place(directory)
        stage.backend = deepcopy(first.backend)
        stage.faults = [Fault(f.call, f.when, f.error, f.left) for f in first.faults]
        return stage


def _do_not_sync(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")
