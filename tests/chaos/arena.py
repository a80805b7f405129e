"""Clients and conductors as processes, trouble for them, and what has to hold afterwards."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select

from tests.contract.lab import until
from tests.crash.conductors import CONTEXT, ROOT, Installation
from volflow import VolumeManager
from volflow.models import SETTLED, OperationState
from volflow.persistence import schema
from volflow.testing.invariants import violations

CLIENTS = 4
CONDUCTORS = 3
END_SECONDS = 900


def patiently(holds: Callable[[], Any], what: str) -> Any:
    """Poll until something holds, where many processes begin on a machine that has other work."""
    return until(holds, what, END_SECONDS)


class Clients:
    """Some clients that share the volumes among them."""

    def __init__(self, place: Installation, volumes: list[str]) -> None:
        words = [place.url, place.board, str(place.directory / "volflow.key")]
        self._processes = []
        for number in range(CLIENTS):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.client", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            assert process.stdin is not None
            process.stdin.write("\n".join(volumes[number::CLIENTS]))
            process.stdin.close()
            process.stdin = None
            self._processes.append(process)

    @property
    def at_work(self) -> bool:
        """True until all have ended."""
        return any(process.poll() is None for process in self._processes)

    def answers(self) -> dict[str, str]:
        """What each operation came to that was accepted.

        :raises AssertionError: a client failed.
        """
        found: dict[str, str] = {}
        for process in self._processes:
            said, _ = process.communicate(timeout=END_SECONDS)
            assert process.returncode == 0, "a client failed"
            found |= json.loads(said)
        return found

    def end(self) -> None:
        """Kill those that still work."""
        for process in self._processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


class Crew:
    """Conductors that replace each other, each in the seat of the one before.

    :param begin: starts one, by the number of its seat and its name.
    """

    def __init__(self, begin: Callable[[int, str], subprocess.Popen[str]]) -> None:
        self._begin = begin
        self._count = 0
        self._crew: list[tuple[int, subprocess.Popen[str]]] = []
        self._stopped: subprocess.Popen[str] | None = None
        self.killed = 0

    def begin(self) -> None:
        """Start all."""
        for seat in range(CONDUCTORS):
            self._add(seat)

    def kill(self, process: subprocess.Popen[str] | None = None) -> None:
        """Kill one, the oldest where none is named, and start another."""
        seat, victim = next(one for one in self._crew if process in (None, one[1]))
        victim.kill()
        victim.wait()
        self._crew.remove((seat, victim))
        self.killed += 1
        self._add(seat)

    def stop_or_go_on(self) -> None:
        """Let the youngest stand still, as its host would; the next time it goes on."""
        if self._stopped is None:
            self._stopped = self._crew[-1][1]
            self._stopped.send_signal(signal.SIGSTOP)
        else:
            self._stopped.send_signal(signal.SIGCONT)
            self._stopped = None

    def at_work(self, manager: VolumeManager) -> subprocess.Popen[str]:
        """Wait until one of them runs an operation, and return it."""

        def found() -> list[subprocess.Popen[str]]:
            busy = {c.pid for c in manager.list_conductors(CONTEXT) if c.running}
            return [process for _, process in self._crew if process.pid in busy]

        busy: list[subprocess.Popen[str]] = patiently(found, "a conductor runs an operation")
        return busy[0]

    def end(self) -> None:
        """Kill all."""
        for _, process in self._crew:
            process.kill()
            process.wait()

    def _add(self, seat: int) -> None:
        self._count += 1
        self._crew.append((seat, self._begin(seat, f"conductor-{self._count}")))


@dataclass
class Figures:
    """What a run came to.

    :ivar troubles: trouble -> how often it was made.
    """

    board: str
    operations: int = 0
    seconds: float = 0.0
    taken_over: int = 0
    slowest: float = 0.0
    median: float = 0.0
    troubles: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        made = ", ".join(f"{count} times {what}" for what, count in self.troubles.items())
        return (
            f"{self.board}: {self.operations} operations of {CLIENTS} clients in "
            f"{self.seconds:.1f} s by {CONDUCTORS} conductors, {made}; {self.taken_over} taken "
            f"over; from submit to end {self.median:.2f} s (median), {self.slowest:.2f} s (most)"
        )


@dataclass
class Trouble:
    """Something that is done again and again while clients wait.

    :ivar what: in the figures: "so many times a conductor killed".
    """

    what: str
    seconds: float
    make: Callable[[], None]
    count: int = 0


def play(
    place: Installation,
    board: str,
    operations: int,
    troubles: Callable[[Crew], list[Trouble]],
    begin: Callable[[int, str], subprocess.Popen[str]] | None = None,
) -> Figures:
    """Let clients have their operations run amid troubles, and see that nothing was harmed.

    :param operations: attaches and detaches together.
    :param begin: starts a conductor, by the number of its seat and its name; None: on this host.
    """
    figures = Figures(board)
    with place.open() as manager:
        names = [manager.create_volume(CONTEXT, 1, "lab").id for _ in range(operations // 2)]
        crew = Crew(begin or (lambda seat, name: place.start(name, workers=4)))
        crew.begin()
        made = troubles(crew)
        began = time.monotonic()
        clients = Clients(place, names)
        try:
            # One dies for sure in the middle of an operation, however fast they are.
            crew.kill(crew.at_work(manager))
            _trouble(clients, made)
            answers = clients.answers()
            figures.seconds = time.monotonic() - began
            with place.open() as other:  # whose connections are not those of a dead server
                _see_that_all_is_well(place, other, answers, names)
                _count(other, list(answers), figures)
        finally:
            clients.end()
            crew.end()
        figures.troubles = {trouble.what: trouble.count for trouble in made}
        figures.troubles["a conductor killed"] = crew.killed
    return figures


def _trouble(clients: Clients, troubles: list[Trouble]) -> None:
    due = {id(trouble): time.monotonic() + trouble.seconds for trouble in troubles}
    end = time.monotonic() + END_SECONDS
    while clients.at_work:
        assert time.monotonic() < end, "the clients wait for ever"
        for trouble in troubles:
            if time.monotonic() >= due[id(trouble)]:
                trouble.make()
                trouble.count += 1
                due[id(trouble)] = time.monotonic() + trouble.seconds
        threading.Event().wait(0.05)


def _see_that_all_is_well(
    place: Installation, manager: VolumeManager, answers: dict[str, str], volumes: list[str]
) -> None:
    assert 2 * len(volumes) == len(answers)
    assert {"succeeded"} == set(answers.values())
    settled = settlements(manager)
    assert dict.fromkeys(answers, 1) == {key: settled.get(key, 0) for key in answers}
    left = [o.id for o in manager.list_operations(CONTEXT) if o.state not in SETTLED]
    assert [] == left
    patiently(lambda: not leftovers(manager), "the board is empty")
    assert {"available"} == {manager.get_volume(CONTEXT, key).status for key in volumes}
    assert [] == violations(manager, place.driver, "lab")
    assert [] == list(place.driver.list_exports())


def detach_and_see(manager: VolumeManager, place: Installation, attach_id: str) -> None:
    """Have detached what an operation attached: each was settled once, and nothing is left."""
    volume_id = manager.get_operation(CONTEXT, attach_id).volume_id
    detach = manager.submit_detach(CONTEXT, volume_id)
    assert "succeeded" == manager.wait(detach.id, 300).state
    assert {attach_id: 1, detach.id: 1}.items() <= settlements(manager).items()
    assert "available" == manager.get_volume(CONTEXT, volume_id).status
    patiently(lambda: not leftovers(manager), "the board is empty")
    assert [] == violations(manager, place.driver, "lab")


def conducting(manager: VolumeManager, operation_id: str) -> str:
    """Wait until a conductor runs an operation, and return its name."""

    def found() -> list[str]:
        everybody = manager.list_conductors(CONTEXT)
        return [c.name for c in everybody if operation_id in c.running]

    name: str = patiently(found, "a conductor runs the operation")[0]
    return name


def leftovers(manager: VolumeManager) -> list[str]:
    """Operations that still have a job."""
    jobs = manager._jobs
    assert jobs is not None
    return [ticket.operation_id for ticket in jobs._board.listed()]


def settlements(manager: VolumeManager) -> dict[str, int]:
    """How often each operation was settled."""
    events = schema.events.c
    states = [state.value for state in SETTLED]
    query = (
        select(events.operation_id, func.count())
        .where(events.step == "operation", events.what.in_(states))
        .group_by(events.operation_id)
    )
    with manager.database.read() as connection:
        return {key: int(count) for key, count in connection.execute(query)}


def _count(manager: VolumeManager, keys: list[str], figures: Figures) -> None:
    found = [manager.get_operation(CONTEXT, key) for key in keys]
    took = [(o.finished_at - o.created_at).total_seconds() for o in found if o.finished_at]
    assert {OperationState.SUCCEEDED} == {operation.state for operation in found}
    figures.operations = len(found)
    # It is queued in its first epoch, and run in its second.
    figures.taken_over = sum(operation.epoch > 2 for operation in found)
    figures.slowest, figures.median = max(took), statistics.median(took)
