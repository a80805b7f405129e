"""SIGSTOP of a worker past its lease, at each point of an attach and of a detach, and SIGCONT."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.crash import processes
from tests.crash.conftest import MakeUrl
from tests.crash.processes import Stops, Worker, until
from volflow.exceptions import DatabaseError
from volflow.models import RecoveryReport
from volflow.testing.crash import Place
from volflow.testing.invariants import violations
from volflow.testing.scenarios import BACKEND, CONTEXT, HOST_B

LEASE_SECONDS = 0.3
PATIENCE_SECONDS = 0.3
"""How long the survivor waits for SQLite's write lock, which a stopped worker may hold."""


class Scene:
    """One database and one backend, a worker that stops, and a survivor.

    :ivar survivor: the manager of the other process.
    """

    def __init__(self, directory: Path, url: str | None) -> None:
        self._directory = directory
        self._url = url
        self._driver = processes.backend(directory)
        self.survivor = Place(directory, url).open(self._driver, LEASE_SECONDS)
        if self.survivor.database.is_sqlite:
            self.survivor.database.patience = PATIENCE_SECONDS
            self.survivor.database.close()

    @contextmanager
    def worker(self, name: str, stops: Stops) -> Iterator[tuple[Worker, str]]:
        """A worker that runs the scenario's call on a new volume: (worker, volume id)."""
        volume = self.survivor.create_volume(CONTEXT, size_gib=1, backend=BACKEND)
        processes.find(name).before(self.survivor, volume.id)
        call = processes.worker(self._directory, self._url, name, volume.id, stops, LEASE_SECONDS)
        with call as found:
            yield found, volume.id

    @contextmanager
    def stopped(self, name: str, point: int) -> Iterator[tuple[Worker, str | None] | None]:
        """A worker that is stopped at this point, and past its lease: (worker, operation id).

        None where there is no such point; the operation id is None where none is in the
        database yet. At the end everything has to be in order.
        """
        with self.worker(name, Stops(point)) as (worker, volume_id):
            if not worker.wait_until_stopped():
                assert worker.outcome().error is None
                yield None
                return
            until(self._lease_has_ended, "the lease is over")
            if self._url is not None:
                until(self._nobody_holds_rows, "the server ends what a stopped worker began")
            yield worker, self.survivor.get_volume(CONTEXT, volume_id).operation_id
            until(lambda: RecoveryReport() == self.survivor.recover(), "recovery is done")
            assert [] == violations(self.survivor, self._driver, BACKEND)
            status = self.survivor.get_volume(CONTEXT, volume_id).status
            assert status in processes.find(name).ends

    def points(self, name: str) -> list[str]:
        """The names of a scenario's points."""
        with self.worker(name, Stops()) as (worker, _):
            return worker.outcome().points

    def others_go_on(self) -> None:
        """Another volume is attached and detached."""
        manager = self.survivor
        other = manager.create_volume(CONTEXT, size_gib=1, backend=BACKEND)
        manager.attach_volume(CONTEXT, other.id, HOST_B)
        assert "available" == manager.detach_volume(CONTEXT, other.id).status

    def _lease_has_ended(self) -> bool:
        return all(stored.lease_expired for stored in self.survivor._records.unsettled()[0])

    def _nobody_holds_rows(self) -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        with self.survivor.database.read() as connection:
            return connection.execute(text(query)).scalar() == 0


OpenScene = Callable[[str | None], Scene]


@pytest.fixture
def open_scene(tmp_path: Path) -> Iterator[OpenScene]:
    opened: list[Scene] = []

    def make(url: str | None) -> Scene:
        opened.append(Scene(tmp_path, url))
        return opened[-1]

    yield make
    for scene in opened:
        scene.survivor.close()


@pytest.fixture
def scene(open_scene: OpenScene, make_url: MakeUrl) -> Scene:
    return open_scene(make_url())


@pytest.mark.parametrize("name", ["attach", "detach"])
def test_a_worker_that_is_stopped_anywhere_finishes_or_is_fenced(name: str, scene: Scene) -> None:
    """When it goes on after others looked at its operation, the volume settles all the same."""
    ends: list[str | None] = []
    for point in itertools.count():
        with scene.stopped(name, point) as found:
            if found is None:
                break
            worker, _ = found
            scene.survivor.recover()
            worker.go_on()
            ends.append(worker.outcome().error)
    assert len(ends) >= 12
    assert {None, "Fenced"} == set(ends)


@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("attach", "create_export after"),
        ("attach", "initialize_connection before"),
        ("detach", "terminate_connection after"),
        ("detach", "remove_export before"),
    ],
)
def test_a_worker_stopped_in_a_driver_call_keeps_its_volume_and_is_named(
    name: str, point: str, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody works beside the call; other volumes go on; and the worker finishes what it began."""
    with scene.stopped(name, scene.points(name).index(point)) as found:
        assert found is not None
        worker, operation_id = found
        assert operation_id is not None
        with caplog.at_level(logging.WARNING):
            report = scene.survivor.recover()
        assert report == RecoveryReport(needs_attention=(operation_id,))
        assert f"is held by process {worker.pid}, {operation_id}" in caplog.text
        scene.others_go_on()
        worker.go_on()
        assert worker.outcome().error is None


@pytest.mark.parametrize("name", ["attach", "detach"])
def test_a_worker_stopped_between_barriers_is_taken_over_and_fenced(
    name: str, scene: Scene
) -> None:
    """Where it holds nothing, its operation does not wait for it."""
    point = scene.points(name).index(f"{name}_volume before")
    with scene.stopped(name, point) as found:
        assert found is not None
        worker, operation_id = found
        assert operation_id is not None
        assert scene.survivor.recover() == RecoveryReport(resumed=(operation_id,))
        assert "succeeded" == scene.survivor.get_operation(CONTEXT, operation_id).state
        worker.go_on()
        assert "Fenced" == worker.outcome().error


@pytest.mark.parametrize("name", ["attach", "detach"])
def test_a_worker_stopped_inside_a_write_of_sqlite_is_named_to_all_who_wait(
    name: str, open_scene: OpenScene, caplog: pytest.LogCaptureFixture
) -> None:
    """When it holds the write lock, each error names it, recovery's too; then it goes on and ends.

    Only it can let the lock go, so that nobody takes its operation over.
    """
    scene = open_scene(None)
    points = scene.points(name)
    commits = [number for number, point in enumerate(points) if point == "commit before"]
    assert len(commits) >= 3
    for number in commits:
        caplog.clear()
        with scene.stopped(name, number) as found:
            assert found is not None
            worker, operation_id = found
            named = rf"database is locked; process {worker.pid} \(.*stopped\) is writing"
            with pytest.raises(DatabaseError, match=named):
                scene.others_go_on()
            if operation_id is not None:
                with caplog.at_level(logging.WARNING):
                    report = scene.survivor.recover()
                assert report == RecoveryReport(needs_attention=(operation_id,))
                assert f"process {worker.pid} (" in caplog.text
            worker.go_on()
            assert worker.outcome().error is None
            scene.others_go_on()
