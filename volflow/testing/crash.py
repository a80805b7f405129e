"""The crash matrix: a scenario, a death at each of its points, recovery, the invariants.

A "process" is a manager of its own on the same database and the same backend. Its death is a
:class:`~volflow.testing.Crash` at one of its fault points; the next process recovers, and then
database and backend have to agree. A double crash kills the recovery, too.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from copy import copy, deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from sqlalchemy import event

from volflow.exceptions import VolflowError
from volflow.manager import VolumeManager
from volflow.models import RecoveryReport
from volflow.opening import Store, open_store
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
        self._store: Store | None = None

    def open(self, driver: Any, lease_seconds: float = 60) -> VolumeManager:
        """Open a manager as a new process would; recovery runs when it is told to."""
        return self._opened(VolumeManager, driver, lease_seconds)

    def reopen(self, driver: Any) -> VolumeManager:
        """Open the next process, and skip what opening only checks: schema and key file.

        That and the compilation of each statement anew cost more than all that a process does
        here. Connections, locks, the owner's identity and everything above are new; one manager
        at a time.
        """
        place = self

        class NextProcess(VolumeManager):
            @staticmethod
            def _open_store(*arguments: Any) -> Store:
                place._store = place._store or open_store(*arguments)
                return place._store

        return self._opened(NextProcess, driver, 60)

    def save(self) -> bytes:
        """Return SQLite's database as the processes left it."""
        assert not self._file("-wal").exists(), "a dead process still has a connection"
        return self._file().read_bytes()

    def restore(self, saved: bytes) -> None:
        """Put a database back that :meth:`save` returned."""
        for suffix in ("-wal", "-shm"):
            self._file(suffix).unlink(missing_ok=True)
        self._file().write_bytes(saved)

    def _opened(
        self, cls: type[VolumeManager], driver: Any, lease_seconds: float
    ) -> VolumeManager:
        known = self._store
        manager = cls(
            self.url,
            drivers={BACKEND: driver},
            recover=False,
            lease_seconds=lease_seconds,
            key_file=self.directory / "volflow.key",
        )
        if manager.database.is_sqlite and (known is None or cls is VolumeManager):
            event.listen(manager.database.engine, "connect", _do_not_sync)
            manager.database.close()
        return manager

    def _file(self, suffix: str = "") -> Path:
        return self.directory / f"volflow.db{suffix}"


@dataclass(frozen=True)
class Snapshot:
    """What outlives a process: the database, the backend, and which refusals are still to come."""

    database: bytes
    backend: Any
    faults: tuple[Fault, ...]


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
        manager = self.place.reopen(driver)
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

    def settle(self, at_once: bool = False) -> tuple[list[str], str]:
        """Recover until nothing is left to do; return violations and the volume's status.

        :param at_once: one recovery has to be enough where it names nothing for attention.
        """
        with self.process() as manager:
            for _ in range(RECOVERIES):
                report = manager.recover()
                if report == RecoveryReport() or (at_once and not report.needs_attention):
                    break
            if self.scenario.by_hand:
                manager.reconcile(CONTEXT, repair=True)
            found = violations(manager, self.backend, BACKEND)
            ended = "deleted"
            with suppress(VolflowError):
                ended = manager.get_volume(CONTEXT, self.volume_id).status
        if ended not in self.scenario.ends:
            found.append(f"G1: the volume ends {ended}, expected {self.scenario.ends}")
        return found, ended

    def save(self) -> Snapshot:
        """Keep everything as it is now; on SQLite, with a backend that can be copied."""
        return Snapshot(self.place.save(), deepcopy(self.backend), _copied(self.faults))

    def restore(self, saved: Snapshot) -> None:
        """Go back to what :meth:`save` kept."""
        self.place.restore(saved.database)
        self.backend = deepcopy(saved.backend)
        self.faults = list(_copied(saved.faults))


class Matrix:
    """Goes through all points of a scenario.

    On SQLite with a backend that can be copied, each point starts from a copy of one stage, and
    the second deaths from a copy of what the first one left.

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
        self._first: tuple[Stage, Snapshot] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._root)

    def single(self, step: int = 1, start: int = 0) -> None:
        """Die at each point of the call."""
        for number in range(start, self.points(), step):
            stage = self._stage()
            struck = self._die(stage, number)
            self.tally.single += 1
            self._judge(stage, Point(self.scenario.name, (number, struck)))

    def double(self, step: int = 1, start: int = 0) -> None:
        """Die at each point of the call, and at each point of the recovery that follows."""
        for number in range(self.points()):
            for second, stage, struck in self._recoveries(number, step, start):
                points = Points(second)
                with suppress(Crash):
                    stage.recover(points)
                if points.struck is None:
                    break
                self.tally.double += 1
                death = (second, points.struck)
                self._judge(stage, Point(self.scenario.name, (number, struck), death))

    def points(self) -> int:
        """How many points the call has; without a death it has to end well, too."""
        stage, points = self._stage(), Points()
        stage.play(points)
        self._judge(stage, Point(self.scenario.name, (-1, "no death")))
        return len(points.reached)

    def _recoveries(self, number: int, step: int, start: int) -> Iterator[tuple[int, Stage, str]]:
        """Stage after stage on which the call died at this point: (second point, stage, name)."""
        stage = self._stage()
        struck = self._die(stage, number)
        dead = stage.save() if self._copies else None
        second = start
        while True:
            yield second, stage, struck
            second += step
            if dead is not None:
                stage.restore(dead)
            else:
                stage = self._stage()
                self._die(stage, number)

    def _die(self, stage: Stage, number: int) -> str:
        points = Points(number)
        with suppress(Crash):
            stage.play(points)
        assert points.struck is not None, f"point {number} was not reached"
        return points.struck

    def _judge(self, stage: Stage, point: Point) -> None:
        found, ended = stage.settle(at_once=point.second is not None)
        self.tally.ends[ended] = self.tally.ends.get(ended, 0) + 1
        if found:
            self.tally.broken[str(point)] = found

    @property
    def _copies(self) -> bool:
        return self._first is not None

    def _stage(self) -> Stage:
        """A stage; where it can be copied, the first one as it was."""
        if self._first is not None:
            stage, saved = self._first
            stage.restore(saved)
            return stage
        directory = Path(tempfile.mkdtemp(dir=self._root))
        url = None if self._make_url is None else self._make_url()
        stage = Stage(Place(directory, url), self._make_backend(), self.scenario)
        if url is None and hasattr(stage.backend, "__deepcopy__"):
            self._first = (stage, stage.save())
        return stage


def _copied(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    # The errors, too: one that is raised again and again grows a traceback that is printed.
    return tuple(Fault(f.call, f.when, copy(f.error), f.left) for f in faults)


def _do_not_sync(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")
