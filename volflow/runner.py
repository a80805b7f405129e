"""Runs phases of operations: claims them, drives their flows, and says where they stand after.

Everything that changes a volume goes through here, for a caller and for recovery alike: a run
claims its operation with its first commit (or took it over before), drives one flow forward or
some flows back, and settles with its last commit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from oslo_context.context import RequestContext
from sqlalchemy.engine import Connection

from volflow.exceptions import (
    DatabaseError,
    Fenced,
    InvalidVolume,
    VolflowError,
    VolumeNotFound,
    from_record,
)
from volflow.flows.engine import drive, kept_flow
from volflow.flows.phases import PHASES, RESTORE, UNDOS, Phase, Undo
from volflow.models import Operation, OperationKind, OperationState
from volflow.persistence import operations, queue
from volflow.persistence.flows import StoredFlow, arrange_forward, arrange_undo
from volflow.persistence.operations import StoredOperation
from volflow.persistence.queue import Full
from volflow.persistence.records import Records
from volflow.persistence.signals import Signal
from volflow.persistence.snapshots import Snapshot
from volflow.persistence.work import Cancelled, Claim, FromNow, Stale, new_id
from volflow.runs import Runs
from volflow.settling import settle
from volflow.tasks.run import Run

LOG = logging.getLogger(__name__)
T = TypeVar("T")


class AlreadyRunning(Exception):
    """This process runs the operation in another thread."""

    def __init__(self, operation_id: str) -> None:
        super().__init__(operation_id)
        self.operation_id = operation_id


class Runner:
    """Runs operations in this process."""

    def __init__(self, runs: Runs, records: Records) -> None:
        self.runs = runs
        self.database = runs.database
        self.clock = runs.database.clock
        self.leases = runs.leases
        self.limits = runs.limits
        self._records = records

    def driver(self, backend: str) -> Any:
        """The driver of a backend.

        :raises BackendNotFound: this process has none.
        """
        return self.runs.driver(backend)

    def serves(self, backend: str) -> bool:
        """True where this process has the backend's driver."""
        return backend in self.runs.backends

    # Forward

    def start(
        self,
        context: RequestContext,
        phase: Phase,
        operation: Operation,
        snapshot: Snapshot,
        arguments: dict[str, Any],
        wait_for_lock: bool = True,
    ) -> Run:
        """Begin an operation with its first phase.

        :raises Stale: the volume changed since ``snapshot``; nothing was done.
        """
        new = Claim(new=True)

        def body() -> Run:
            run = self.runs.run(context, operation, arguments, snapshot, new, 1, 0, wait_for_lock)
            run.work.set_operation(**opening_values(phase, operation, arguments))
            flow = StoredFlow.new(phase.name, operation.kind, phase.tasks)
            return self._forward(run, phase, flow)

        return self._cancellable(operation.id, 1, body)

    def load_queued(self, operation_id: str) -> tuple[Snapshot, StoredFlow]:
        """Read an operation that is queued, and the flow that it is to run.

        :raises Stale: it is not queued any more.
        :raises DatabaseError: this release cannot run it, or the database cannot be read.
        """
        snapshot = self._records.find_run(operation_id)
        if snapshot is None:
            lost = self._records.operation(operation_id)
            raise VolumeNotFound(f"there is no volume {lost.record.volume_id}")
        stored = _operation(snapshot)
        if stored.record.state is not OperationState.QUEUED:
            raise Stale(f"operation {stored.id} is {stored.record.state}")
        flows = [f for f in _known_flows(stored) if f.phase == stored.record.phase]
        if not flows:
            raise DatabaseError(f"operation {stored.id} has lost its flow")
        return snapshot, flows[0]

    def run_queued(
        self,
        snapshot: Snapshot,
        flow: StoredFlow,
        suspends: Callable[[], bool] | None = None,
        wait_for_lock: bool = True,
    ) -> Run:
        """Run an operation that :meth:`load_queued` read; its first commit takes it.

        :param suspends: asked at each barrier whether to stop there.
        :raises Stale: somebody else took it meanwhile; nothing was done.
        :raises Full: its backend runs as many operations as it may; nothing was done.
        :raises Suspended: it stopped; others may go on with it.
        """
        stored = _operation(snapshot)
        record = stored.record
        context = RequestContext(request_id=record.request_id, overwrite=False)

        def body() -> Run:
            run = self.runs.claiming(context, snapshot, record, stored.arguments, wait_for_lock)
            run.suspends = suspends
            run.work.admit = lambda c: queue.admit(c, record.backend)
            run.work.set_operation(state=OperationState.RUNNING.value)
            arrange_forward(flow)
            return self._forward(run, PHASES[record.phase], flow)

        return self._cancellable(stored.id, record.epoch + 1, body)

    def advance(
        self,
        context: RequestContext,
        phase: Phase,
        snapshot: Snapshot,
        arguments: dict[str, Any],
        tasks: Sequence[str] | None = None,
    ) -> Run:
        """Run the next phase of an operation that waits.

        :raises Stale: somebody else claimed it since ``snapshot``; nothing was done.
        """
        stored = _turn(snapshot)

        def body() -> Run:
            run = self.runs.claiming(context, snapshot, stored.record, arguments)
            run.work.set_operation(
                state=OperationState.RUNNING.value,
                phase=phase.name,
                arguments=arguments,
                deadline=None,
                error=None,
            )
            names = phase.tasks if tasks is None else tasks
            flow = StoredFlow.new(phase.name, stored.record.kind, names)
            return self._forward(run, phase, flow)

        return self._cancellable(stored.id, stored.record.epoch + 1, body)

    # Back

    def undo(
        self,
        context: RequestContext,
        undo: Undo,
        snapshot: Snapshot,
        reason: Exception | None = None,
        force: bool = False,
        wait_for_lock: bool = True,
    ) -> Run:
        """Undo phases of an operation that waits, or all of one that is queued.

        One that is queued has changed the database alone, so that no driver is needed.

        :param reason: the error to keep on the operation.
        :param force: cut a session that is live.
        :raises Stale: somebody else claimed it since ``snapshot``; nothing was done.
        """
        queued = _operation(snapshot).record.state is OperationState.QUEUED
        stored = _operation(snapshot) if queued else _turn(snapshot)
        arguments = stored.arguments | ({"force": True} if force else {})

        def body() -> Run:
            run = self.runs.claiming(
                context, snapshot, stored.record, arguments, wait_for_lock, not queued
            )
            run.first_error = reason
            run.work.set_operation(arguments=arguments, deadline=None, error=None)
            return self._back(run, undo, _known_flows(stored))

        return self.owning(stored.id, stored.record.epoch + 1, body)

    # In between

    def restore(self, snapshot: Snapshot, cut: bool = False) -> Run:
        """Repair the backend of a volume whose operation rests, which then rests as before.

        :param cut: end a session that is live where nothing justifies its access.
        :raises Stale: somebody else claimed it since ``snapshot``; nothing was done.
        """
        stored = _operation(snapshot)
        record, phase = stored.record, PHASES[RESTORE]
        if record.state not in _AT_REST:
            raise Stale(f"operation {stored.id} is {record.state}")
        _known_flows(stored)
        context = RequestContext(request_id=record.request_id, overwrite=False)
        rests = {"state": record.state.value, "phase": record.phase, "cut": cut}

        def body() -> Run:
            arguments = stored.arguments | {"rests": rests}
            run = self.runs.claiming(context, snapshot, record, arguments, wait_for_lock=False)
            run.work.set_operation(
                state=OperationState.RUNNING.value, phase=phase.name, arguments=arguments
            )
            flow = StoredFlow.new(phase.name, phase.kind, phase.tasks)
            return self._forward(run, phase, flow)

        return self._cancellable(stored.id, record.epoch + 1, body)

    # After a death

    def resume(
        self,
        seen: StoredOperation,
        undo: Undo | None = None,
        reason: Exception | None = None,
        wait_for_lock: bool = False,
        force: bool = False,
    ) -> Run | None:
        """Take an operation over and bring it on: forward, or back where it was going back.

        :param undo: go back instead, whatever it was doing; so it does where it was cancelled.
        :param force: cut a session that is live.
        :returns: None where somebody else took it first.
        :raises DriverError: somebody holds the volume's lock, and it is not to be waited for.
        """
        if not wait_for_lock:
            self.runs.require_free_lock(seen.record)
        self._require_known(seen)
        if seen.cancel_requested and seen.record.state is OperationState.RUNNING:
            undo, reason = UNDOS["cancel_operation"], reason or cancelled(seen)
        if undo is None and _needs_its_caller(seen):
            undo, reason = UNDOS["abandon"], reason or abandoned(seen)
        unsure = self.limits.driver_call if seen.running else None
        epoch, run_id = seen.record.epoch + 1, new_id()
        state = OperationState.RUNNING if _goes_forward(seen) else OperationState.REVERTING

        def owns(connection: Any) -> bool:
            found = operations.run_of(connection, seen.id)
            return found == (run_id, epoch)

        def owns_now() -> bool:
            """Whether a takeover landed whose reply was lost, and that was tried again."""
            with self.database.read() as connection:
                return owns(connection)

        def body() -> Run | None:
            owner = self.leases.owner_of(seen.id)
            taken = self.database.write(
                lambda c: operations.take_over(
                    c, seen, owner, run_id, self.limits.lease, state, unsure
                ),
                landed=owns,
            )
            if not taken and not owns_now():
                return None
            snapshot = self._records.snapshot(seen.record.volume_id, seen.id)
            if _operation(snapshot).record.epoch != epoch:
                return None  # it stood still since it took the operation, and others did not
            return self._continue(snapshot, undo, reason, wait_for_lock, force)

        return self.owning(seen.id, epoch, body)

    def _continue(
        self,
        snapshot: Snapshot,
        undo: Undo | None,
        reason: Exception | None,
        wait: bool,
        force: bool,
    ) -> Run:
        stored = _operation(snapshot)
        operation = stored.record
        context = RequestContext(request_id=operation.request_id, overwrite=False)
        run = self.runs.run(
            context,
            operation,
            stored.arguments | ({"force": True} if force else {}),
            snapshot,
            None,
            operation.epoch,
            stored.revision,
            wait,
        )
        if operation.error is not None:
            run.first_error = from_record(operation.error)
        run.first_error = run.first_error or reason
        run.work.event("operation", "taken over")
        run.work.set_operation(attempts=stored.attempts + 1)
        flows = stored.flows
        undo = undo or UNDOS.get(operation.phase)
        if undo is not None:
            return self._back(run, undo, flows)
        phase = PHASES[operation.phase]
        flow = [f for f in flows if (f.phase == RESTORE) == (phase.name == RESTORE)][-1]
        if operation.state is OperationState.RUNNING:
            run.first_error = None
            arrange_forward(flow)
            return self._forward(run, phase, flow)
        run.work.cancellable = False
        self._drive_back(run, [flow])
        return self._settle(run, phase, succeeded=False)

    def touch(self, stored: StoredOperation) -> None:
        """Let an operation that waits wait for its deadline anew: its caller showed life.

        :raises Stale: it does not wait any more.
        """
        deadline = self.limits.deadline
        if deadline is not None:
            done = self.database.write(
                lambda c: operations.postpone(c, stored, deadline),
                landed=lambda c: self._has_revision(c, stored.id, stored.revision + 1),
            )
            if not done:
                raise Stale(f"operation {stored.id} was claimed meanwhile")

    # How a run goes

    def _forward(self, run: Run, phase: Phase, flow: StoredFlow) -> Run:
        run.work.event("operation", "begins", phase.name)
        run.enter([flow])
        succeeded = self._drive(run, flow)
        return self._settle(run, phase, succeeded)

    def _back(self, run: Run, undo: Undo, flows: Sequence[StoredFlow]) -> Run:
        run.work.event("operation", "begins", undo.name)
        run.work.cancellable = False
        run.work.set_operation(
            state=OperationState.REVERTING.value, phase=undo.name, **run.error_values()
        )
        run.set_argument("rests", None)
        chosen = [f for f in flows if _is_undone_by(undo, f)]
        self._drive_back(run, chosen)
        return self._settle(run, undo, succeeded=False)

    def _drive_back(self, run: Run, flows: Sequence[StoredFlow]) -> None:
        found = [flow for flow in reversed(flows) if flow.to_undo]
        for flow in found:
            arrange_undo(flow)
        run.enter(found)
        for flow in found:
            self._drive(run, flow)

    def _drive(self, run: Run, flow: StoredFlow) -> bool:
        try:
            return drive(run, flow)
        finally:
            run.release_lock()

    def _settle(self, run: Run, phase: Phase | Undo, succeeded: bool) -> Run:
        settle(run, phase, succeeded, self.limits.deadline)
        if run.operation.kind is OperationKind.DELETE and run.state is OperationState.SUCCEEDED:
            self.runs.locks.forget(run.volume.id)
        return run

    def _cancellable(self, operation_id: str, epoch: int, body: Callable[[], Run]) -> Run:
        """Run ``body``; where it is cancelled on the way, undo the operation.

        :raises Fenced: another process undoes it already.
        """
        try:
            run = self.owning(operation_id, epoch, body)
            if not self._was_cancelled(run):
                return run
        except Cancelled:
            LOG.info("operation %s is cancelled", operation_id)
        stored = self._records.operation(operation_id)
        undone = self.resume(stored, UNDOS["cancel_operation"], cancelled(stored), True)
        if undone is None:
            raise Fenced(f"operation {operation_id} was cancelled, and is undone by others")
        return undone

    def _was_cancelled(self, run: Run) -> bool:
        """True where a phase failed by itself while its operation was being cancelled."""
        if run.state is not OperationState.WAITING or run.first_error is None:
            return False
        return self._records.operation(run.operation.id).cancel_requested

    def owning(self, operation_id: str, epoch: int, body: Callable[[], T]) -> T:
        """Do something as a run of this process.

        :raises AlreadyRunning: another thread runs the operation.
        """
        if not self.leases.begin(operation_id, epoch):
            raise AlreadyRunning(operation_id)
        try:
            result = body()
        except (Stale, Cancelled, Fenced, Full) as e:
            if isinstance(e, Fenced):
                LOG.warning("%s", e)
            self.leases.end(operation_id)
            raise
        except Exception:
            try:
                self._give_up(operation_id, epoch)
            finally:
                self.leases.end(operation_id)
            raise
        except BaseException:
            # The death of the process, or a thread's: nothing is written, as nothing would be.
            self.leases.abandon(operation_id)
            raise
        self.leases.end(operation_id)
        return result

    def _give_up(self, operation_id: str, epoch: int) -> None:
        """Let others take an operation at once whose run failed; its lease would end anyway.

        A run that failed before its first commit has nothing to give up: the epoch that it
        would have had may be another one's by now, which the owner's name tells.
        """
        owner, released = self.leases.owner_of(operation_id), [Signal("released", operation_id)]

        def release(connection: Connection) -> None:
            if operations.release(connection, operation_id, epoch, owner):
                self.database.signals.send(connection, released)

        try:
            self.database.write(release, landed=lambda c: True)
        except VolflowError as e:
            LOG.warning("operation %s waits for the end of its lease: %s", operation_id, e)

    def _require_known(self, seen: StoredOperation) -> None:
        """Leave an operation alone that this release could not bring on, before it is taken.

        :raises DatabaseError: its phase, its flow, its volume or a secret cannot be read.
        """
        self._records.snapshot(seen.record.volume_id, seen.id)
        phase = seen.record.phase
        if phase not in PHASES and phase not in UNDOS:
            raise DatabaseError(f"operation {seen.id}: this release knows no phase {phase!r}")
        _known_flows(seen)

    def _has_revision(self, connection: Any, operation_id: str, revision: int) -> bool:
        found = operations.get(connection, operation_id)
        return found is not None and found.revision == revision


def _known_flows(stored: StoredOperation) -> list[StoredFlow]:
    """The flows of an operation, where this release has all their tasks.

    :raises DatabaseError: it has not, they are another kind's, or they are lost.
    """
    if not stored.flows:
        raise DatabaseError(f"operation {stored.id} has lost its flows")
    for flow in stored.flows:
        kind = OperationKind.REPAIR if flow.phase == RESTORE else stored.record.kind
        try:
            if OperationKind(flow.name) is not kind:
                raise ValueError(f"a flow of it is a {flow.name}")
            kept_flow(kind, tuple(flow.atoms))
        except (LookupError, ValueError) as e:
            raise DatabaseError(f"operation {stored.id}: {e}") from None
    return stored.flows


_AT_REST = (OperationState.WAITING, OperationState.QUEUED, OperationState.NEEDS_ATTENTION)


def opening_values(
    phase: Phase, operation: Operation, arguments: dict[str, Any]
) -> dict[str, Any]:
    """The columns of an operation that begins with a phase."""
    return {
        "kind": operation.kind.value,
        "state": operation.state.value,
        "phase": phase.name,
        "volume_id": operation.volume_id,
        "attachment_id": operation.attachment_id,
        "backend": operation.backend,
        "request_id": operation.request_id,
        "arguments": arguments,
        "attempts": 0,
        "cancel_requested": False,
        "created_at": FromNow(),
    }


def _is_undone_by(undo: Undo, flow: StoredFlow) -> bool:
    """True where a flow is part of what is undone; a repair in between has nothing to undo."""
    return flow.phase != RESTORE and (undo.phases is None or flow.phase in undo.phases)


def cancelled(stored: StoredOperation) -> InvalidVolume:
    """The error that a cancelled operation ends with."""
    return InvalidVolume(f"operation {stored.id} was cancelled")


def abandoned(stored: StoredOperation) -> InvalidVolume:
    """The error of an operation that was of use to a caller only that is dead."""
    return InvalidVolume(f"operation {stored.id} was given up: the process that began it has died")


def _needs_its_caller(stored: StoredOperation) -> bool:
    phase = PHASES.get(stored.record.phase)
    forward = stored.record.state is OperationState.RUNNING
    return forward and phase is not None and phase.caller_needed


def _turn(snapshot: Snapshot) -> StoredOperation:
    """The operation, where it is its caller's turn.

    :raises Stale: a run has it, or it is settled.
    """
    stored = _operation(snapshot)
    state = stored.record.state
    if state is OperationState.WAITING or (
        state is OperationState.NEEDS_ATTENTION and stored.arguments.get("force")
    ):
        return stored
    raise Stale(f"operation {stored.id} is {state}")


def _goes_forward(stored: StoredOperation) -> bool:
    """True where a run that takes the operation over goes on, and does not go back."""
    record = stored.record
    if record.phase in UNDOS:
        return False
    if record.state is OperationState.NEEDS_ATTENTION:
        return record.kind is OperationKind.DETACH and bool(stored.arguments.get("force"))
    return record.state is not OperationState.REVERTING


def _operation(snapshot: Snapshot) -> StoredOperation:
    if snapshot.operation is None:
        raise InvalidVolume(f"volume {snapshot.volume.volume.id} has no operation")
    return snapshot.operation
