"""Where a scenario is played: the place that its processes share, and one volume on it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from copy import copy, deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import event

from volflow.drivers.base import Export
from volflow.exceptions import VolflowError
from volflow.manager import VolumeManager
from volflow.models import AttachStatus, RecoveryReport, Volume, VolumeStatus
from volflow.opening import Store, open_store
from volflow.persistence import migrate
from volflow.persistence.engine import Database
from volflow.testing.faults import Fault, FaultyDriver
from volflow.testing.invariants import violations
from volflow.testing.memory import MemoryHost
from volflow.testing.points import PointedDriver, Points
from volflow.testing.scenarios import BACKEND, CONTEXT, Scenario

RECOVERIES = 4
"""Runs of recovery after which everything has to be settled, refused undos included."""


class Place:
    """Where the processes of one scenario live: a database, a key file, locks.

    :param directory: holds key file and locks, and the SQLite file where ``url`` is None.
    :param url: a server's database; None: SQLite without syncing, since no machine dies here.
    """

    def __init__(self, directory: Path, url: str | None = None) -> None:
        self.directory = directory
        self._own_url = f"sqlite:///{self._file()}"
        self.url = url or self._own_url
        self._store: Store | None = None

    def open(self, driver: Any, lease_seconds: float = 60) -> VolumeManager:
        """Open a manager as a new process would; recovery runs when it is told to."""
        self._begin()
        manager = self._manager(VolumeManager, driver, lease_seconds)
        _do_not_sync(manager)
        return manager

    def reopen(self, driver: Any, host: Any = None) -> VolumeManager:
        """Open the next process, and skip what opening only checks: schema and key file.

        That and the compilation of each statement anew cost more than all that a process does
        here. Connections, locks, the owner's identity and everything above are new; one manager
        at a time.
        """
        self._begin()
        is_first = self._store is None
        manager = self._manager(self._next_process(), driver, host=host)
        if is_first:
            _do_not_sync(manager)
        return manager

    def save(self) -> bytes:
        """Return SQLite's database as the processes left it."""
        assert not self._file("-wal").exists(), "a dead process still has a connection"
        return self._file().read_bytes()

    def restore(self, saved: bytes) -> None:
        """Put a database back that :meth:`save` returned."""
        for suffix in ("-wal", "-shm"):
            self._file(suffix).unlink(missing_ok=True)
        self._file().write_bytes(saved)

    def _begin(self) -> None:
        """Make SQLite's file where it is missing; its migration alone would take 0.2 s."""
        if self.url == self._own_url and not self._file().exists():
            self._file().write_bytes(_empty_database())

    def _next_process(self) -> type[VolumeManager]:
        place = self

        class NextProcess(VolumeManager):
            @staticmethod
            def _open_store(*arguments: Any) -> Store:
                place._store = place._store or open_store(*arguments)
                return place._store

        return NextProcess

    def _manager(
        self,
        cls: type[VolumeManager],
        driver: Any,
        lease_seconds: float = 60,
        host: Any = None,
    ) -> VolumeManager:
        return cls(
            self.url,
            drivers={BACKEND: driver},
            recover=False,
            lease_seconds=lease_seconds,
            key_file=self.directory / "volflow.key",
            host=host,
        )

    def _file(self, suffix: str = "") -> Path:
        return self.directory / f"volflow.db{suffix}"


@dataclass(frozen=True)
class Snapshot:
    """What outlives a process: the database, the backend, and which refusals are still to come."""

    database: bytes
    backend: Any
    faults: tuple[Fault, ...]


class Stage:
    """One volume in a scenario's first state, ready for the call that is to die.

    :param backend: a driver that is its own backend and outlives the processes.
    """

    def __init__(self, place: Place, backend: Any, scenario: Scenario) -> None:
        self.place = place
        self.backend = backend
        self.scenario = scenario
        self.faults: list[Fault] = []
        self._strangers = frozenset(e.volume_id for e in self.driver().list_exports())
        with self.process() as manager:
            volume = manager.create_volume(
                CONTEXT, size_gib=1, backend=BACKEND, multiattach=scenario.multiattach
            )
            self.volume_id = volume.id
            scenario.before(manager, volume.id)
        self.faults += [Fault(c, when, error("refused")) for c, when, error in scenario.faults]

    def driver(self) -> Any:
        """The driver of one process."""
        return self.backend

    @contextmanager
    def process(self, points: Points | None = None) -> Iterator[VolumeManager]:
        """A process; its points are counted once it is open."""
        points = points or Points()
        faulty = FaultyDriver(self.driver())
        faulty.faults = self.faults
        driver = PointedDriver(faulty, Points())
        host = self._host()
        manager = self.place.reopen(driver, host)
        called = [driver] if host is None else [driver, host]
        for side in called:
            side.points = points
        try:
            with points.watching(manager.database):
                yield manager
        finally:
            for side in called:
                side.points = Points()
            manager.close()

    def _host(self) -> PointedDriver | None:
        """The side of the host that the process runs on, which outlives it as its backend does."""
        if not self.scenario.on_host:
            return None
        faulty = FaultyDriver(MemoryHost(self.driver()))
        faulty.faults = self.faults
        return PointedDriver(faulty, Points())

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
            found = self.violations(manager)
            ended = "deleted"
            with suppress(VolflowError):
                ended = manager.get_volume(CONTEXT, self.volume_id).status
        if self.scenario.on_host:
            found += [
                f"G2: {e.sessions} are logged in to a volume that is {ended}"
                for e in self.driver().list_exports()
                if bool(e.sessions) != (ended == "in-use")
            ]
        if ended not in self.scenario.ends:
            found.append(f"G1: the volume ends {ended}, expected {self.scenario.ends}")
        return found, ended

    def look(self) -> list[str]:
        """Compare database and backend as they are, before any recovery."""
        with self.process() as manager:
            return self.violations(manager)

    def violations(self, manager: VolumeManager) -> list[str]:
        """Compare database and backend, without what was exported before the stage was made."""
        return violations(manager, _Without(self.driver(), self._strangers), BACKEND)

    def clear(self) -> list[str]:
        """Detach and delete whatever the scenario left; return what resists, as violations."""
        self.faults = []
        found = []
        with self.process() as manager:
            for volume in manager.list_volumes(CONTEXT, backend=BACKEND):
                try:
                    _use_up(manager, volume)
                except VolflowError as e:
                    found.append(
                        f"G1: volume {volume.id} ended {volume.status}, and then it could not be "
                        f"detached and deleted: {type(e).__name__}: {e}"
                    )
        left = _Without(self.driver(), self._strangers).list_exports()
        return found + [f"G2: volume {e.volume_id} is deleted, and exported" for e in left]

    def save(self) -> Snapshot:
        """Keep everything as it is now; on SQLite, with a backend that can be copied."""
        return Snapshot(self.place.save(), deepcopy(self.backend), _copied(self.faults))

    def restore(self, saved: Snapshot) -> None:
        """Go back to what :meth:`save` kept."""
        self.place.restore(saved.database)
        self.backend = deepcopy(saved.backend)
        self.faults = list(_copied(saved.faults))


class _Without:
    """A driver that does not show some volumes' exports."""

    def __init__(self, driver: Any, hidden: frozenset[str]) -> None:
        self._driver = driver
        self._hidden = hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def list_exports(self) -> list[Export]:
        return [e for e in self._driver.list_exports() if e.volume_id not in self._hidden]


@cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory(prefix="volflow-empty-") as directory:
        path = Path(directory) / "volflow.db"
        database = Database(f"sqlite:///{path}")
        migrate.prepare(database)
        database.close()
        return path.read_bytes()


def _use_up(manager: VolumeManager, volume: Volume) -> None:
    if volume.status is VolumeStatus.ATTACHING:
        manager.unreserve_volume(CONTEXT, volume.id)
    for attachment in manager.list_attachments(CONTEXT, volume.id):
        if attachment.attach_status is AttachStatus.DETACHING:
            manager.detach(CONTEXT, volume.id, attachment.id)
        else:
            manager.detach_volume(CONTEXT, volume.id, attachment.id)
    manager.delete_volume(CONTEXT, volume.id)


def _copied(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    # The errors, too: one that is raised again and again grows a traceback that is printed.
    return tuple(Fault(f.call, f.when, copy(f.error), f.left) for f in faults)


def _do_not_sync(manager: VolumeManager) -> None:
    if manager.database.is_sqlite:
        event.listen(manager.database.engine, "connect", _without_sync)
        manager.database.close()


def _without_sync(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA synchronous=OFF")
