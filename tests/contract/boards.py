"""The contract of every job board, as submitters and conductors rely on it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import text

from tests.contract.lab import HOST_A, Gate, Telling, scene, until
from volflow import RequestContext, Volume, VolumeManager
from volflow.jobs.boards import board_of
from volflow.jobs.conductor import Conductor
from volflow.jobs.port import Board
from volflow.models import OperationState, RecoveryReport
from volflow.persistence import operations
from volflow.persistence.engine import Database
from volflow.testing import FaultyDriver, MemoryDriver, pause_heartbeat
from volflow.testing.invariants import violations

CONTEXT = RequestContext(overwrite=False)
LONG = 60.0


@dataclass
class Place:
    """One database with its board.

    :ivar lose: the board loses all its jobs.
    :ivar content: everything that the board's server holds.
    """

    database: str
    board: str
    key_file: str
    lose: Callable[[], None] = NotImplemented
    content: Callable[[], bytes] = NotImplemented


@dataclass
class Cast:
    """Processes on one place, as many as a test wants, and the backend that they share."""

    place: Place
    backend: MemoryDriver = field(default_factory=MemoryDriver)
    stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.faulty = FaultyDriver(self.backend)
        self.driver = Telling(self.faulty)

    def open(self, **options: Any) -> VolumeManager:
        """A process that has the backend's driver."""
        given = {"drivers": {"lab": self.driver}, "recover": False} | options
        manager = VolumeManager(
            self.place.database,
            board=self.place.board,
            key_file=self.place.key_file,
            **given,
        )
        return self.stack.enter_context(manager)

    def conduct(self, manager: VolumeManager, *arguments: Any, **options: Any) -> Conductor:
        """A conductor that runs until the test ends."""
        conductor = manager.conductor(*arguments, **options)
        conductor.start()
        self.stack.callback(self.end, conductor)
        until(lambda: conductor.dispatching and _is_listed(manager, conductor), "it is listed")
        return conductor

    def end(self, conductor: Conductor) -> None:
        """Stop a conductor in order."""
        conductor.stop()
        assert conductor.wait(30), "the conductor did not stop"
        assert conductor.error is None

    def board(self) -> Board:
        """The board as another process sees it."""
        database = Database(self.place.database)
        self.stack.callback(database.close)
        board = board_of(self.place.board, database)
        self.stack.callback(board.close)
        return board

    def volumes(self, manager: VolumeManager, count: int) -> list[Volume]:
        """Available volumes."""
        return [manager.create_volume(CONTEXT, size_gib=1, backend="lab") for _ in range(count)]

    def settled(self, manager: VolumeManager, operation_id: str) -> OperationState:
        """How an operation ended."""
        return manager.wait(operation_id, timeout=30).state


def _is_listed(manager: VolumeManager, conductor: Conductor) -> bool:
    return any(found.id == conductor.id for found in manager.list_conductors(CONTEXT))


class BoardContract:
    """Subclass it, and give it a ``place``."""

    @pytest.fixture
    def cast(self, place: Place) -> Iterator[Cast]:
        cast = Cast(place)
        with cast.stack:
            yield cast

    # The port

    def test_a_queued_operation_has_one_job_that_names_it(self, cast: Cast) -> None:
        manager = cast.open()
        (volume,) = cast.volumes(manager, 1)
        operation = manager.submit_attach(CONTEXT, volume.id, HOST_A)
        (ticket,) = cast.board().listed()
        assert operation.id == ticket.operation_id == ticket.job.name
        assert {} == ticket.job.details
        other = cast.board()
        until(lambda: [operation.id] == list(other.tickets([operation.id])), "it is found")

    def test_a_job_is_claimed_by_one_at_a_time(self, cast: Cast) -> None:
        one, two, ticket = self._posted(cast)
        assert one.claim(ticket, "one", LONG)
        other = self._ticket(two, ticket.operation_id)
        assert not two.claim(other, "two", LONG)
        assert one.abandon(ticket, "one")
        until(lambda: two.claim(other, "two", LONG), "an abandoned job is claimed")
        assert not one.claim(ticket, "one", LONG)

    def test_a_job_that_is_ones_own_is_claimed_again(self, cast: Cast) -> None:
        """When it could not be consumed, or abandoned, while the board was away."""
        one, two, ticket = self._posted(cast)
        assert one.claim(ticket, "one", LONG)
        assert one.claim(self._ticket(one, ticket.operation_id), "one", LONG)
        assert not two.claim(self._ticket(two, ticket.operation_id), "two", LONG)

    def test_a_claim_ends_with_its_owner(self, cast: Cast) -> None:
        """When the owner's process is gone, at the latest when its claim expires."""
        one, two, ticket = self._posted(cast)
        assert one.claim(ticket, "one", 1.0)
        one.close()
        other = self._ticket(two, ticket.operation_id)
        until(lambda: two.claim(other, "two", LONG), "the job of the dead is claimed")

    def test_a_claim_that_is_renewed_does_not_end(self, cast: Cast) -> None:
        one, two, ticket = self._posted(cast)
        assert one.claim(ticket, "one", 3.0)
        other = self._ticket(two, ticket.operation_id)
        end = time.monotonic() + 4.0
        while time.monotonic() < end:
            assert one.renew(self._ticket(one, ticket.operation_id), "one", 3.0)
            assert not two.claim(other, "two", LONG)
            threading.Event().wait(0.2)

    def test_a_claim_that_is_anothers_is_not_renewed(self, cast: Cast) -> None:
        one, two, ticket = self._posted(cast)
        assert one.claim(ticket, "one", LONG)
        assert one.abandon(ticket, "one")
        other = self._ticket(two, ticket.operation_id)
        until(lambda: two.claim(other, "two", LONG), "an abandoned job is claimed")
        assert not one.renew(self._ticket(one, ticket.operation_id), "one", LONG)
        assert not one.abandon(self._ticket(one, ticket.operation_id), "one")

    # Conductors

    def test_what_is_submitted_is_run_once_and_its_job_is_gone(self, cast: Cast) -> None:
        submitter, manager = cast.open(drivers={}), cast.open()
        volumes = cast.volumes(manager, 6)
        cast.conduct(manager, workers=2)
        attaches = [submitter.submit_attach(CONTEXT, v.id, HOST_A) for v in volumes]
        assert {"succeeded"} == {cast.settled(submitter, o.id) for o in attaches}
        detaches = [submitter.submit_detach(CONTEXT, v.id) for v in volumes]
        assert {"succeeded"} == {cast.settled(submitter, o.id) for o in detaches}
        calls = Counter(cast.driver.names)
        assert 6 == calls["create_export"] == calls["initialize_connection"]
        assert 6 == calls["terminate_connection"] == calls["remove_export"]
        assert [] == violations(manager, cast.backend, "lab")
        board = cast.board()
        until(lambda: not board.listed(), "the board is empty")

    def test_of_two_conductors_each_runs_what_the_other_does_not(self, cast: Cast) -> None:
        managers = [cast.open() for _ in range(3)]
        volumes = cast.volumes(managers[0], 20)
        for number, manager in enumerate(managers[1:]):
            cast.conduct(manager, f"number {number}", workers=2)
        found = [managers[0].submit_attach(CONTEXT, v.id, HOST_A) for v in volumes]
        assert {"succeeded"} == {cast.settled(managers[0], o.id) for o in found}
        assert 20 == Counter(cast.driver.names)["create_export"]
        assert [] == violations(managers[0], cast.backend, "lab")

    def test_a_job_that_is_posted_twice_does_nothing_twice(self, cast: Cast) -> None:
        manager = cast.open()
        (volume,) = cast.volumes(manager, 1)
        operation = manager.submit_attach(CONTEXT, volume.id, HOST_A)
        board = cast.board()
        for _ in range(3):
            board.post(operation.id)
        cast.conduct(manager)
        assert "succeeded" == cast.settled(manager, operation.id)
        until(lambda: not board.listed(), "the board is empty")
        assert 1 == Counter(cast.driver.names)["create_export"]

    def test_a_job_of_an_operation_that_is_settled_is_only_acknowledged(self, cast: Cast) -> None:
        manager = cast.open()
        (volume,) = cast.volumes(manager, 1)
        operation = manager.submit_attach(CONTEXT, volume.id, HOST_A)
        manager.cancel_operation(CONTEXT, operation.id)
        cast.conduct(manager)
        board = cast.board()
        until(lambda: not board.listed(), "the board is empty")
        assert [] == [name for name in cast.driver.names if name != "create_volume"]

    def test_urgent_operations_come_first_and_then_old_ones(self, cast: Cast) -> None:
        manager = cast.open()
        volumes = cast.volumes(manager, 6)
        priorities = [0, -5, 7, 0, 100, 7]
        for volume, priority in zip(volumes, priorities, strict=True):
            manager.submit_attach(CONTEXT, volume.id, HOST_A, priority=priority)
        cast.conduct(manager, workers=1)
        until(lambda: Counter(cast.driver.names)["attach_volume"] == 6, "all are attached")
        order = [
            volumes.index(next(v for v in volumes if v.id == arguments[1].id))
            for name, arguments, _ in cast.driver.heard
            if name == "create_export"
        ]
        assert [4, 2, 5, 0, 3, 1] == order

    def test_a_backend_never_runs_more_than_it_may(self, cast: Cast) -> None:
        """When three conductors of four workers each have more than enough to do."""
        manager = cast.open(max_running={"lab": 2})
        volumes = cast.volumes(manager, 16)
        most = Watcher()
        for method in ("create_export", "initialize_connection"):
            cast.driver.on[method] = lambda *_: most.look(manager)
        found = [manager.submit_attach(CONTEXT, v.id, HOST_A).id for v in volumes]
        for number in range(3):
            cast.conduct(cast.open(), f"number {number}", workers=4)
        assert {"succeeded"} == {cast.settled(manager, key) for key in found}
        assert 2 == most.seen

    def test_a_conductor_leaves_alone_whom_it_does_not_serve(self, cast: Cast) -> None:
        both = {"lab": cast.driver, "shed": MemoryDriver()}
        manager = cast.open(drivers=both)
        ours = manager.create_volume(CONTEXT, size_gib=1, backend="lab")
        others = manager.create_volume(CONTEXT, size_gib=1, backend="shed")
        cast.conduct(cast.open(drivers=both), "shed's", backends=["shed"])
        mine = manager.submit_attach(CONTEXT, ours.id, HOST_A).id
        theirs = manager.submit_attach(CONTEXT, others.id, HOST_A).id
        assert "succeeded" == cast.settled(manager, theirs)
        assert "queued" == manager.get_operation(CONTEXT, mine).state
        cast.conduct(cast.open(), "lab's")
        assert "succeeded" == cast.settled(manager, mine)

    def test_a_run_waits_for_who_has_its_lock_in_passing(self, cast: Cast) -> None:
        """When another conductor looks between two steps whether the volume is free."""
        manager = cast.open()
        (volume,) = cast.volumes(manager, 1)
        operation = manager.submit_attach(CONTEXT, volume.id, HOST_A)
        barriers, taken = list[threading.Thread](), threading.Event()

        def pass_by() -> None:
            lock = manager._locks.of(volume.id)
            lock.acquire(30)
            taken.set()
            threading.Event().wait(0.3)
            lock.release()

        def at_a_barrier() -> bool:
            barriers.append(threading.Thread(target=pass_by))
            if len(barriers) == 2:
                barriers[-1].start()
                taken.wait()
            return False

        assert manager._jobs.queue.run(operation.id, at_a_barrier)
        assert "succeeded" == manager.get_operation(CONTEXT, operation.id).state
        assert ["create_export"] == [n for n in cast.driver.names if n == "create_export"]
        barriers[1].join()

    def test_what_a_conductor_claimed_that_died_is_run_by_another_one(self, cast: Cast) -> None:
        """When its claim would last for another minute."""
        manager, board = cast.open(), cast.board()
        (volume,) = cast.volumes(manager, 1)
        operation = manager.submit_attach(CONTEXT, volume.id, HOST_A)
        (ticket,) = board.listed()
        assert board.claim(ticket, "late:1", LONG)
        conductor = manager.conductor("heir")
        assert not conductor.turn()
        conductor._offers.bury(["late:1"])
        until(conductor.turn, "it runs the operation")
        assert "succeeded" == manager.get_operation(CONTEXT, operation.id).state
        assert [] == board.listed()

    def test_who_waits_for_a_conductor_waits_for_one_that_runs(
        self, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When it was never started, nobody waits; when it cannot begin, its error is kept."""
        manager = cast.open()
        idle, broken = manager.conductor("idle"), manager.conductor("broken")
        assert idle.wait(0)
        monkeypatch.setattr(broken, "_register", lambda: 1 / 0)
        broken.start()
        assert broken.wait(30)
        assert isinstance(broken.error, ZeroDivisionError)

    def test_a_conductor_that_is_alone_does_not_wait_for_its_job(
        self, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When an operation's job is not on the board yet: it runs, and its job is swept later."""
        manager = cast.open()
        volumes = cast.volumes(manager, 2)
        posted, post = list[str](), manager._jobs.outbox.post
        monkeypatch.setattr(manager._jobs.outbox, "post", posted.append)
        conductor = cast.conduct(cast.open())
        found = [manager.submit_attach(CONTEXT, volume.id, HOST_A).id for volume in volumes]
        assert {"succeeded"} == {cast.settled(manager, key) for key in found}
        assert found == posted
        post(found[0])
        conductor.tend()
        assert [] == cast.board().listed()

    def test_a_conductor_that_is_stopped_hands_back_what_it_runs(self, cast: Cast) -> None:
        """When it is stopped in a driver's call: that ends, and the next one goes on elsewhere."""
        manager, gate = cast.open(), Gate()
        (volume,) = cast.volumes(manager, 1)
        cast.driver.on["create_export"] = gate.stop
        first = cast.conduct(cast.open())
        operation = manager.submit_attach(CONTEXT, volume.id, HOST_A)
        gate.wait()
        first.stop()
        gate.opened.set()
        assert first.wait(30)
        found = manager.get_operation(CONTEXT, operation.id)
        assert (OperationState.RUNNING, None) == (found.state, found.owner)
        assert "initialize_connection" not in cast.driver.names
        cast.conduct(cast.open(recover=True))
        assert "succeeded" == cast.settled(manager, operation.id)
        assert [] == violations(manager, cast.backend, "lab")

    def test_a_conductor_that_wakes_too_late_changes_nothing(self, cast: Cast) -> None:
        """When it stands still for longer than its lease, and another ends what it ran."""
        manager, gate = cast.open(), Gate()
        (volume,) = cast.volumes(manager, 1)
        cast.driver.on["attach_volume"] = gate.stop
        stalled = cast.open(lease_seconds=1)
        pause_heartbeat(stalled)
        first = cast.conduct(stalled, "stalled")
        operation = manager.submit_attach(CONTEXT, volume.id, HOST_A)
        gate.wait()
        until(lambda: _is_expired(manager, operation.id), "its lease expires")
        assert (operation.id,) == cast.open().recover().resumed
        before = scene(manager, cast.backend)
        gate.opened.set()
        cast.end(first)
        assert before == scene(manager, cast.backend)
        assert "succeeded" == cast.settled(manager, operation.id)
        assert 2 == Counter(cast.driver.names)["attach_volume"]
        assert [] == violations(manager, cast.backend, "lab")

    def test_a_conductor_that_dies_is_followed_by_another(self, cast: Cast) -> None:
        """When it died in a driver's call, and showed no life since: nothing is done twice."""
        manager = cast.open()
        (volume,) = cast.volumes(manager, 1)
        operation = manager.submit_attach(CONTEXT, volume.id, HOST_A)
        dead = cast.open()
        board, who = cast.board(), "a dead conductor"
        assert board.claim(self._ticket(board, operation.id), who, 1.0)
        board.close()
        dead.close()
        cast.conduct(manager)
        assert "succeeded" == cast.settled(manager, operation.id)

    # What they share

    def _posted(self, cast: Cast) -> tuple[Board, Board, Any]:
        """A job, and two processes' boards."""
        manager = cast.open()
        (volume,) = cast.volumes(manager, 1)
        operation = manager.submit_attach(CONTEXT, volume.id, HOST_A)
        one, two = cast.board(), cast.board()
        return one, two, self._ticket(one, operation.id)

    def _ticket(self, board: Board, operation_id: str) -> Any:
        found = until(lambda: board.tickets([operation_id]), "the job is there")
        return found[operation_id]


class PostedBoardContract(BoardContract):
    """The contract of boards with a server of their own."""

    def test_a_conductor_hears_of_a_job(self, cast: Cast) -> None:
        """When another process posts one, without having to look."""
        manager = cast.open()
        board, woken = cast.board(), threading.Event()
        board.watch(woken.set, lambda: True)
        board.listed()
        until(lambda: board.wakes, "it listens")
        until_quiet(woken)
        (volume,) = cast.volumes(manager, 1)
        manager.submit_attach(CONTEXT, volume.id, HOST_A)
        assert woken.wait(30)

    def test_what_a_board_has_lost_is_posted_again_and_settles(self, cast: Cast) -> None:
        manager = cast.open()
        volumes = cast.volumes(manager, 4)
        found = [manager.submit_attach(CONTEXT, v.id, HOST_A).id for v in volumes]
        cast.place.lose()
        assert set(found) == set(manager.recover().reposted)
        assert RecoveryReport() == manager.recover()
        cast.conduct(manager)
        assert {"succeeded"} == {cast.settled(manager, key) for key in found}
        assert 4 == Counter(cast.driver.names)["create_export"]

    def test_no_secret_is_on_the_board(self, cast: Cast) -> None:
        manager = cast.open()
        (volume,) = cast.volumes(manager, 1)
        operation = manager.submit_attach(CONTEXT, volume.id, {**HOST_A, "password": "hush-hush"})
        content = cast.place.content()
        assert operation.id.encode() in content
        for secret in (b"hush-hush", HOST_A["initiator"].encode(), volume.id.encode()):
            assert secret not in content


class Watcher:
    """Sees how many operations run at a time, and remembers the most."""

    def __init__(self) -> None:
        self.seen = 0
        self._lock = threading.Lock()

    def look(self, manager: VolumeManager) -> None:
        query = text("SELECT count(*) FROM operations WHERE state IN ('running', 'reverting')")
        with manager.database.read() as connection:
            count = connection.execute(query).scalar_one()
        with self._lock:
            self.seen = max(self.seen, count)


def _is_expired(manager: VolumeManager, operation_id: str) -> bool:
    with manager.database.read() as connection:
        found = operations.get(connection, operation_id)
    assert found is not None
    return found.lease_expired


def until_quiet(event: threading.Event, seconds: float = 0.3) -> None:
    """Wait until nothing sets the event any more."""
    while event.wait(seconds):
        event.clear()
