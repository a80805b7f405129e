"""A death at every point of a submission, and of a conductor's work on what was submitted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.faults.boards import MemoryBoard, PointedBoard, drain
from volflow import VolumeManager
from volflow.exceptions import ConnectionFailed, InvalidConnector, VolflowError
from volflow.models import SETTLED, RecoveryReport
from volflow.testing import Crash, Fault, FaultyDriver, MemoryDriver
from volflow.testing.crash import Place
from volflow.testing.invariants import violations
from volflow.testing.points import PointedDriver, Points
from volflow.testing.scenarios import CONTEXT, HOST_A, attached, nothing

LEASE_SECONDS = 60


class Play(NamedTuple):
    """What is submitted, to a volume in which state, and how the volume may end.

    :ivar faults: what the driver refuses while a conductor runs it.
    """

    name: str
    before: Callable[[VolumeManager, str], Any]
    submit: Callable[[VolumeManager, str], Any]
    ends: tuple[str, ...]
    faults: tuple[tuple[str, str, Exception], ...] = ()


def submit_attach(manager: VolumeManager, volume_id: str) -> None:
    manager.submit_attach(CONTEXT, volume_id, HOST_A, host_name="a")


def submit_detach(manager: VolumeManager, volume_id: str) -> None:
    manager.submit_detach(CONTEXT, volume_id)


def submit_forced(manager: VolumeManager, volume_id: str) -> None:
    manager.submit_detach(CONTEXT, volume_id, force=True)


def submit_and_cancel(manager: VolumeManager, volume_id: str) -> None:
    operation = manager.submit_attach(CONTEXT, volume_id, HOST_A, host_name="a")
    manager.cancel_operation(CONTEXT, operation.id)


REFUSED = ConnectionFailed("refused")
PLAYS = [
    Play("attach", nothing, submit_attach, ("in-use", "available")),
    Play("detach", attached, submit_detach, ("available", "in-use")),
    Play("forced", attached, submit_forced, ("available", "in-use")),
    Play("cancelled", nothing, submit_and_cancel, ("available", "in-use")),
    Play(
        "attach-refused",
        nothing,
        submit_attach,
        ("available", "in-use"),
        (("initialize_connection", "after", REFUSED),),
    ),
    Play(
        "attach-invalid",
        nothing,
        submit_attach,
        ("available", "in-use"),
        (("validate_connector", "before", InvalidConnector("no")),),
    ),
    Play(
        "detach-refused",
        attached,
        submit_detach,
        ("available", "in-use"),
        (("remove_export", "after", REFUSED),),
    ),
]


class BoardPlace(Place):
    """Where the processes live, with a board."""

    board: Any = None

    def _manager(
        self,
        cls: type[VolumeManager],
        driver: Any,
        lease_seconds: float = LEASE_SECONDS,
        host: Any = None,
    ) -> VolumeManager:
        board = self.board

        class WithBoard(cls):  # type: ignore[valid-type, misc]
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, board=board, **options)

        return super()._manager(WithBoard, driver, lease_seconds, host)


class Stage:
    """One volume, one database, one board, and processes that come and go."""

    def __init__(self, directory: Path, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = BoardPlace(directory)
        self.play = play
        self.board = MemoryBoard()
        self.backend = MemoryDriver()
        self.faults: list[Fault] = []
        self._points = Points()
        self.place.board = "memory:"
        monkeypatch.setattr("volflow.jobs.service.board_of", lambda url, database: self._view())
        with self.process() as manager:
            self.volume_id = manager.create_volume(CONTEXT, size_gib=1, backend="lab").id
            play.before(manager, self.volume_id)
        self._saved = (self.place.save(), MemoryDriver.__deepcopy__(self.backend, {}))

    def reset(self, submitted: bool) -> None:
        """Begin again, before the submission or after it."""
        database, backend = self._saved
        self.place.restore(database)
        self.backend = MemoryDriver.__deepcopy__(backend, {})
        self.board = MemoryBoard()
        self.faults = []
        if submitted:
            with self.process() as manager:
                self.play.submit(manager, self.volume_id)
            self.faults = [Fault(call, when, error) for call, when, error in self.play.faults]

    @contextmanager
    def process(self, points: Points | None = None) -> Iterator[VolumeManager]:
        """A process; its points are counted once it is open."""
        self._points = points or Points()
        faulty = FaultyDriver(self.backend)
        faulty.faults = self.faults
        driver = PointedDriver(faulty, Points())
        manager = self.place.reopen(driver)
        driver.points = self._points
        try:
            with self._points.watching(manager.database):
                yield manager
        finally:
            driver.points = Points()
            self._points.strike_at = None
            self.board.claims.clear()  # they end with their owner
            manager.close()

    def submit(self, points: Points) -> None:
        with self.process(points) as manager:
            self.play.submit(manager, self.volume_id)

    def conduct(self, points: Points) -> None:
        with self.process(points) as manager:
            drain(manager.conductor())

    def settle(self) -> list[str]:
        """Recover and conduct, as the next process does; return what does not hold."""
        with self.process() as manager:
            for _ in range(3):
                manager.recover()
                drain(manager.conductor())
            found = violations(manager, self.backend, "lab")
            if RecoveryReport() != manager.recover():
                found.append("G1: recovery still finds something")
            if self.board.jobs:
                found.append(f"the board still has {self.board.jobs}")
            status = manager.get_volume(CONTEXT, self.volume_id).status
            if status not in self.play.ends:
                found.append(f"G1: the volume ends {status}")
            for operation in manager.list_operations(CONTEXT, volume_id=self.volume_id):
                ends = [
                    event.what
                    for event in manager.operation_timeline(CONTEXT, operation.id)
                    if event.step == "operation" and event.what in SETTLED
                ]
                if len(ends) != 1:
                    found.append(f"operation {operation.kind} settled {len(ends)} times")
        return found

    def _view(self) -> PointedBoard:
        return PointedBoard(self.board, self._points)


@pytest.fixture(params=PLAYS, ids=lambda play: play.name)
def stage(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Stage:
    caplog.set_level(logging.CRITICAL)
    return Stage(tmp_path, request.param, monkeypatch)


def die_everywhere(
    stage: Stage, act: Callable[[Points], None], submitted: bool
) -> tuple[set[str], dict[str, list[str]]]:
    """Die at each point of an act, and settle.

    :returns: the names of the points, and what did not hold at which.
    """
    stage.reset(submitted)
    counted = Points()
    act(counted)
    broken = {"no death": stage.settle()}
    for number, name in enumerate(counted.reached):
        stage.reset(submitted)
        points = Points(number)
        with suppress(Crash, VolflowError):
            act(points)
        assert points.struck is not None, f"point {number} ({name}) was not reached"
        broken[f"{number} {name}"] = stage.settle()
    return set(counted.reached), {k: found for k, found in broken.items() if found}


def test_a_death_at_any_point_of_a_submission_loses_nothing(stage: Stage) -> None:
    """When the submitter dies before any statement, around the commit, or around the post."""
    passed, broken = die_everywhere(stage, stage.submit, submitted=False)
    assert {} == broken
    assert {"commit before", "commit after", "post before", "post after"} <= passed


def test_a_death_at_any_point_of_a_conductor_leaves_nothing_behind(stage: Stage) -> None:
    """When it dies around its claim, any commit, any driver call, or as it consumes the job."""
    passed, broken = die_everywhere(stage, stage.conduct, submitted=True)
    assert {} == broken
    assert {"claim before", "claim after", "consume before", "consume after"} <= passed


def test_a_job_that_comes_twice_is_done_once_wherever_its_conductor_dies(stage: Stage) -> None:
    """When each job is there three times."""

    def conduct(points: Points) -> None:
        for ticket in stage.board.listed():
            for _ in range(2):
                stage.board.post(ticket.operation_id)
        stage.conduct(points)

    _, broken = die_everywhere(stage, conduct, submitted=True)
    assert {} == broken
