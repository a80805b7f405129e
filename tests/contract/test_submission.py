"""Operations that are submitted: accepted in one commit, waited for, cancelled, run once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from socket import gethostname

import pytest
from sqlalchemy import text

from tests.contract.conftest import OpenManager
from tests.contract.lab import (
    HOST_A,
    HOST_B,
    KEY_A,
    UNKNOWN,
    Call,
    Gate,
    is_clean,
    new_id,
    nothing_changes,
    refused,
    until,
)
from volflow import RequestContext, Volume, VolumeManager
from volflow.exceptions import (
    AttachmentNotFound,
    BackendNotFound,
    ConnectionFailed,
    DatabaseError,
    InvalidConnector,
    InvalidInput,
    InvalidVolume,
    InvalidVolumeAttachMode,
    OperationConflict,
    RollbackIncomplete,
    VolumeLocked,
    VolumeNotFound,
)
from volflow.jobs.conductor import Conductor
from volflow.models import AttachStatus, OperationState, RecoveryReport
from volflow.persistence import conductors, queue
from volflow.testing import Fault
from volflow.testing.invariants import violations
from volflow.testing.points import Points

Conduct = Callable[..., Conductor]


@pytest.fixture
def manager(open_manager: OpenManager) -> VolumeManager:
    """A process that has the driver, and no conductor."""
    return open_manager(board="sql:")


@pytest.fixture
def submitter(open_manager: OpenManager) -> VolumeManager:
    """A process without drivers."""
    return open_manager(board="sql:", drivers={})


@pytest.fixture
def conduct() -> Iterator[Conduct]:
    """Let a manager conduct until the test ends."""
    with ExitStack() as stack:

        def start(manager: VolumeManager, **options: object) -> Conductor:
            conductor = manager.conductor(**options)  # type: ignore[arg-type]
            conductor.start()
            stack.callback(end, conductor)
            until(lambda: conductor.id in _listed(manager), "it is listed")
            return conductor

        def end(conductor: Conductor) -> None:
            conductor.stop()
            assert conductor.wait(30)
            assert conductor.error is None

        yield start


def _listed(manager: VolumeManager) -> set[str]:
    return {found.id for found in manager.list_conductors(RequestContext(overwrite=False))}


class AllPoints(Points):
    """Counts what any thread passes."""

    def reach(self, name: str) -> None:
        self.reached.append(name)


# What is accepted


def test_a_submitted_attach_owns_its_volume_at_once(submitter, context, volume, backend) -> None:
    operation = submitter.submit_attach(context, volume.id, HOST_A, mountpoint="/dev/vdb")
    assert ("attach", "queued", None, 0) == (
        operation.kind,
        operation.state,
        operation.owner,
        operation.priority,
    )
    found = submitter.get_volume(context, volume.id)
    assert ("attaching", operation.id) == (found.status, found.operation_id)
    (attachment,) = submitter.list_attachments(context, volume.id)
    assert (operation.attachment_id, "reserved") == (attachment.id, attachment.attach_status)
    assert is_clean(backend, volume.id)
    events = submitter.operation_timeline(context, operation.id)
    assert ["begins", "running", "success", "queued"] == [event.what for event in events]


def test_a_submitted_detach_owns_its_volume_at_once(submitter, context, attached, backend) -> None:
    operation = submitter.submit_detach(context, attached.id, priority=3)
    assert ("detach", "queued", 3) == (operation.kind, operation.state, operation.priority)
    found = submitter.get_volume(context, attached.id)
    assert ("detaching", operation.id) == (found.status, found.operation_id)
    assert {KEY_A} == backend.acls[attached.id]


def test_submitting_costs_one_commit_and_running_it_three(
    manager, submitter, context, volume, conduct
) -> None:
    points = AllPoints()
    with points.watching(submitter.database):
        operation = submitter.submit_attach(context, volume.id, HOST_A)
    assert 1 == points.reached.count("commit after")
    assert _cost(manager, operation.id, conduct) == 3
    operation = submitter.submit_detach(context, volume.id)
    assert _cost(manager, operation.id, conduct) == 3


def _cost(manager: VolumeManager, operation_id: str, conduct: Conduct) -> int:
    """The commits of a conductor between its beginning and its end."""
    conductor = manager.conductor()
    points = AllPoints()
    with points.watching(manager.database):
        conductor.start()
        manager.wait(operation_id, 30)
        conductor.stop()
        conductor.wait(30)
    listed_and_unlisted = 2
    return points.reached.count("commit after") - listed_and_unlisted


def test_submitting_checks_what_the_call_checks(submitter, manager, context, volume, backend):
    """And needs no driver for it; what only the driver knows is found by the conductor."""
    readonly = manager.create_volume(context, size_gib=1, backend="lab", readonly=True)
    with refused(manager, backend, InvalidVolumeAttachMode):
        submitter.submit_attach(context, readonly.id, HOST_A)
    with refused(manager, backend, VolumeNotFound):
        submitter.submit_attach(context, UNKNOWN, HOST_A)
    with refused(manager, backend, InvalidConnector):
        submitter.submit_attach(context, volume.id, "no connector")
    with refused(manager, backend, InvalidVolume):
        submitter.submit_detach(context, volume.id)
    with refused(manager, backend, AttachmentNotFound):
        submitter.submit_detach(context, volume.id, UNKNOWN)
    for priority in ("high", 1.5, True, 10**9, None):
        with refused(manager, backend, InvalidInput):
            submitter.submit_attach(context, volume.id, HOST_A, priority=priority)
    submitter.submit_attach(context, volume.id, HOST_A)
    with refused(manager, backend, InvalidVolume):
        submitter.submit_attach(context, volume.id, HOST_B)


def test_other_calls_name_the_operation_that_is_queued(
    submitter, manager, context, volume, backend
) -> None:
    operation = submitter.submit_attach(context, volume.id, HOST_A)
    calls: list[Callable[[], object]] = [
        lambda: manager.unreserve_volume(context, volume.id),
        lambda: manager.initialize_connection(context, volume.id, HOST_A),
        lambda: manager.attach(context, volume.id, None, "a", None),
        lambda: manager.terminate_connection(context, volume.id, HOST_A),
        lambda: manager.reserve_volume(context, volume.id),
        lambda: manager.delete_volume(context, volume.id),
        lambda: manager.attach_volume(context, volume.id, HOST_A),
    ]
    for call in calls:
        with refused(manager, backend, InvalidVolume) as caught:
            call()
        assert operation.id in str(caught.value)


def test_without_a_board_there_are_no_conductors(open_manager, context) -> None:
    with pytest.raises(InvalidInput, match="board"):
        open_manager().conductor()


def test_a_conductor_serves_whom_its_process_can(manager, submitter) -> None:
    with pytest.raises(BackendNotFound):
        manager.conductor(backends=["shed"])
    with pytest.raises(InvalidInput):
        submitter.conductor()
    for workers in (0, -1, "many", None):
        with pytest.raises(InvalidInput):
            manager.conductor(workers=workers)


# Once


def test_who_has_a_loop_of_its_own_conducts_turn_by_turn(
    manager, submitter, context, volume, backend
) -> None:
    """When each turn is asked for, each runs one operation, and others see who lives."""
    conductor = manager.conductor("by hand")
    assert not conductor.turn()
    conductor.tend()
    assert {conductor.id} == _listed(submitter)
    operation = submitter.submit_attach(context, volume.id, HOST_A)

    assert conductor.turn()
    assert not conductor.turn()

    assert OperationState.SUCCEEDED == manager.get_operation(context, operation.id).state
    assert {KEY_A} == backend.acls[volume.id]


def test_a_turn_that_fails_leaves_the_operation_to_the_next(
    manager, submitter, context, volume, monkeypatch, caplog
) -> None:
    """When running it raises what nobody expects, the claim is given back, and another runs it."""
    operation = submitter.submit_attach(context, volume.id, HOST_A)
    broken, other = manager.conductor("broken"), manager.conductor("other")
    for each in (broken, other):
        each.tend()
    with monkeypatch.context() as patch:
        patch.setattr(broken, "_dispatch_job", lambda job: 1 / 0)
        assert broken.turn()
    assert OperationState.QUEUED == manager.get_operation(context, operation.id).state
    assert not broken.turn()  # it leaves it alone for a while
    assert "could not be run" in caplog.text

    assert other.turn()
    assert OperationState.SUCCEEDED == manager.get_operation(context, operation.id).state


def test_the_same_operation_id_gets_the_same_operation(
    submitter, context, volume, manager, conduct
) -> None:
    key = new_id()
    first = submitter.submit_attach(context, volume.id, HOST_A, operation_id=key)
    assert first == submitter.submit_attach(context, volume.id, HOST_A, operation_id=key)
    assert key == first.id
    with nothing_changes(manager, manager.drivers["lab"].driver.driver):
        for arguments, options in (
            ((volume.id, HOST_B), {}),
            ((volume.id, HOST_A), {"mountpoint": "/dev/vdz"}),
        ):
            with pytest.raises(OperationConflict):
                submitter.submit_attach(context, *arguments, operation_id=key, **options)
        with pytest.raises(OperationConflict):
            submitter.submit_detach(context, volume.id, operation_id=key)
    conduct(manager)
    assert "succeeded" == submitter.wait(key, 30).state
    again = submitter.submit_attach(context, volume.id, HOST_A, operation_id=key)
    assert (key, "succeeded") == (again.id, again.state)


def test_of_many_who_submit_with_one_id_one_does(open_manager, context, volume) -> None:
    managers = [open_manager(board="sql:") for _ in range(4)]
    key = new_id()
    calls = [Call(m.submit_attach, context, volume.id, HOST_A, operation_id=key) for m in managers]
    assert {key} == {call.value().id for call in calls}
    assert 1 == len(managers[0].list_operations(context, state="queued"))


def test_the_call_with_the_id_of_a_queued_operation_waits_for_it(
    submitter, manager, open_manager, context, volume, driver, conduct
) -> None:
    """When a conductor serves its backend; the call itself then runs nothing."""
    gate = Gate()
    driver.on["create_export"] = gate.stop
    conduct(open_manager(board="sql:"))
    key = submitter.submit_attach(context, volume.id, HOST_A, host_name="a").id
    call = Call(manager.attach_volume, context, volume.id, HOST_A, host_name="a", operation_id=key)
    gate.wait()
    gate.opened.set()
    attachment = call.value()
    assert ("attached", "a") == (attachment.attach_status, attachment.attached_host)
    assert attachment.connection_info is not None
    assert 1 == Counter(driver.names)["create_export"]


def test_the_call_runs_a_queued_operation_itself_where_nobody_lives_who_would(
    submitter, manager, context, volume, driver
) -> None:
    key = submitter.submit_attach(context, volume.id, HOST_A).id
    attachment = manager.attach_volume(context, volume.id, HOST_A, operation_id=key)
    assert AttachStatus.ATTACHED is attachment.attach_status
    assert "succeeded" == manager.get_operation(context, key).state
    key = submitter.submit_detach(context, volume.id).id
    assert "available" == manager.detach_volume(context, volume.id, operation_id=key).status
    assert 1 == Counter(driver.names)["create_export"]


def test_the_call_that_waited_for_the_lock_in_vain_finds_what_a_conductor_did(
    open_manager, submitter, context, volume, monkeypatch
) -> None:
    """When whoever had the volume's lock has run the operation, its answer is the call's."""
    key, caller, other = new_id(), open_manager(board="sql:"), open_manager(board="sql:")
    submitter.submit_attach(context, volume.id, HOST_A, operation_id=key)

    def run_queued(*given: object, **options: object) -> None:
        assert other.conductor().turn()
        raise VolumeLocked("the volume cannot be changed now")

    monkeypatch.setattr(caller._joiner._runner, "run_queued", run_queued)
    found = caller.attach_volume(context, volume.id, HOST_A, operation_id=key)

    assert AttachStatus.ATTACHED == found.attach_status


def test_the_call_says_so_where_nobody_can_run_a_queued_operation(
    submitter, context, volume
) -> None:
    key = submitter.submit_attach(context, volume.id, HOST_A).id
    with pytest.raises(BackendNotFound):
        submitter.attach_volume(context, volume.id, HOST_A, operation_id=key)
    assert "queued" == submitter.get_operation(context, key).state


# How it ends


def test_what_fails_is_undone_wholly_and_says_why(
    submitter, manager, context, volume, backend, faulty, conduct
) -> None:
    faulty.faults.append(Fault("initialize_connection", "after", ConnectionFailed("no port")))
    conduct(manager)
    operation = submitter.submit_attach(context, volume.id, HOST_A)
    found = submitter.wait(operation.id, 30)
    assert ("rolled_back", ("ConnectionFailed", "no port")) == (found.state, found.error)
    assert "available" == submitter.get_volume(context, volume.id).status
    assert is_clean(backend, volume.id)
    again = submitter.submit_attach(context, volume.id, HOST_A, operation_id=operation.id)
    assert "rolled_back" == again.state
    with pytest.raises(ConnectionFailed, match="no port"):
        manager.attach_volume(context, volume.id, HOST_A, operation_id=operation.id)


def test_a_connector_that_the_driver_refuses_costs_one_commit(
    submitter, manager, context, volume, faulty, conduct
) -> None:
    """It is found before anything was done, and the operation that was accepted says so."""
    faulty.faults.append(Fault("validate_connector", "before", InvalidConnector("no initiator")))
    operation = submitter.submit_attach(context, volume.id, HOST_A)
    assert 1 == _cost(manager, operation.id, conduct)
    found = submitter.get_operation(context, operation.id)
    assert ("rolled_back", "InvalidConnector") == (found.state, found.error.class_name)
    assert "available" == submitter.get_volume(context, volume.id).status


def test_a_detach_that_fails_brings_the_connection_back(
    submitter, manager, context, attached, backend, faulty, conduct
) -> None:
    faulty.faults.append(Fault("remove_export", "after", ConnectionFailed("busy")))
    conduct(manager)
    operation = submitter.submit_detach(context, attached.id)
    assert "rolled_back" == submitter.wait(operation.id, 30).state
    assert "in-use" == submitter.get_volume(context, attached.id).status
    assert [] == violations(manager, backend, "lab")


def test_waiting_ends_where_an_operation_needs_attention(
    submitter, manager, context, attached, faulty, conduct
) -> None:
    faulty.faults.append(Fault("remove_export", "before", ConnectionFailed("no"), times=None))
    conduct(manager)
    operation = submitter.submit_detach(context, attached.id, force=True)
    assert "needs_attention" == submitter.wait(operation.id, 30).state
    faulty.faults.clear()
    assert (operation.id,) == manager.recover().cleaned
    assert "succeeded" == submitter.get_operation(context, operation.id).state


def test_waiting_gives_up_in_time(submitter, context, volume) -> None:
    operation = submitter.submit_attach(context, volume.id, HOST_A)
    for timeout in (0, 0.05):
        with pytest.raises(TimeoutError, match="queued"):
            submitter.wait(operation.id, timeout)


def test_who_waits_in_the_process_that_runs_it_is_woken(
    manager, context, volume, conduct, monkeypatch
) -> None:
    """When looking by itself would take for ever."""
    monkeypatch.setattr("volflow.oneshots.POLL_SECONDS", 1e6)
    monkeypatch.setattr("volflow.oneshots.POLL_SECONDS_MAX", 1e6)
    operation = manager.submit_attach(context, volume.id, HOST_A)
    call = Call(manager.wait, operation.id)
    conduct(manager)
    assert "succeeded" == call.value().state


# Cancelled


def test_a_queued_attach_is_cancelled_where_there_is_no_driver(
    submitter, manager, context, volume, driver, conduct
) -> None:
    operation = submitter.submit_attach(context, volume.id, HOST_A)
    found = submitter.cancel_operation(context, operation.id)
    assert ("rolled_back", "InvalidVolume") == (found.state, found.error.class_name)
    assert ("available", None) == _owner(submitter, context, volume)
    assert [] == submitter.list_attachments(context, volume.id)
    conduct(manager)
    other = submitter.submit_attach(context, volume.id, HOST_B)
    assert "succeeded" == submitter.wait(other.id, 30).state
    assert 1 == Counter(driver.names)["create_export"]


def test_a_queued_detach_is_cancelled_where_there_is_no_driver(
    submitter, manager, context, attached, backend
) -> None:
    operation = submitter.submit_detach(context, attached.id)
    assert "rolled_back" == submitter.cancel_operation(context, operation.id).state
    assert ("in-use", None) == _owner(submitter, context, attached)
    assert [] == violations(manager, backend, "lab")


def test_a_queued_forced_detach_only_goes_forward(submitter, context, attached) -> None:
    operation = submitter.submit_detach(context, attached.id, force=True)
    with pytest.raises(InvalidInput, match="forced"):
        submitter.cancel_operation(context, operation.id)


def test_one_that_a_conductor_runs_is_cancelled_at_its_next_step(
    submitter, manager, context, volume, backend, driver, conduct
) -> None:
    gate = Gate()
    driver.on["create_export"] = gate.stop
    conduct(manager)
    operation = submitter.submit_attach(context, volume.id, HOST_A)
    gate.wait()
    assert "running" == submitter.cancel_operation(context, operation.id).state
    gate.opened.set()
    assert "rolled_back" == submitter.wait(operation.id, 30).state
    assert is_clean(backend, volume.id)


def _owner(manager: VolumeManager, context: RequestContext, volume: Volume) -> tuple[object, ...]:
    found = manager.get_volume(context, volume.id)
    return found.status, found.operation_id


# While it is queued


def test_a_volume_whose_detach_is_queued_gets_its_export_back(
    submitter, manager, context, attached, backend, conduct
) -> None:
    """When the target restarts, the host goes on using the volume, and the detach is still due."""
    operation = submitter.submit_detach(context, attached.id)
    backend.restart_target()
    assert (operation.id,) == manager.recover().cleaned
    assert {KEY_A} == backend.acls[attached.id]
    assert "queued" == submitter.get_operation(context, operation.id).state
    assert RecoveryReport() == manager.recover()
    conduct(manager)
    assert "succeeded" == submitter.wait(operation.id, 30).state
    assert is_clean(backend, attached.id)


def test_an_attach_that_is_queued_justifies_no_export(
    submitter, manager, context, volume, backend
) -> None:
    submitter.submit_attach(context, volume.id, HOST_A)
    assert [] == manager.reconcile(context)
    backend.exports[volume.id], backend.acls[volume.id] = "CHAP user secret", {KEY_A}
    assert ["export-unjustified", "access-unjustified"] == [
        found.kind for found in manager.reconcile(context)
    ]


def test_recovery_leaves_alone_what_is_queued(submitter, manager, context, volume, driver) -> None:
    operation = submitter.submit_attach(context, volume.id, HOST_A)
    assert RecoveryReport() == manager.recover()
    assert "queued" == manager.get_operation(context, operation.id).state
    assert [] == driver.names


# What cannot be read


def test_an_operation_that_cannot_be_read_needs_attention_at_last(
    submitter, manager, context, volume, shared, conduct, monkeypatch
) -> None:
    """When its flow has a step that this release does not know; others are run meanwhile."""
    monkeypatch.setattr("volflow.queueing.backoff", lambda attempts: 0.0)
    operation = submitter.submit_attach(context, volume.id, HOST_A)
    _rewrite(manager, operation.id, '"create-export"', '"a-step-of-tomorrow"')
    conduct(manager)
    other = submitter.submit_attach(context, shared.id, HOST_A)
    assert "succeeded" == submitter.wait(other.id, 30).state
    found = submitter.wait(operation.id, 30)
    assert "needs_attention" == found.state
    assert "a-step-of-tomorrow" in found.error.message
    assert (operation.id,) == manager.recover().needs_attention
    with pytest.raises(RollbackIncomplete):
        manager.attach_volume(context, volume.id, HOST_A, operation_id=operation.id)
    _rewrite(manager, operation.id, '"a-step-of-tomorrow"', '"create-export"')
    assert (operation.id,) == manager.recover().cleaned
    assert ("available", None) == _owner(manager, context, volume)


def _rewrite(manager: VolumeManager, operation_id: str, old: str, new: str) -> None:
    statement = text(
        "UPDATE operations SET flows = replace(flows, :old, :new) WHERE id = :operation"
    )
    values = {"old": old, "new": new, "operation": operation_id}
    manager.database.write(lambda c: c.execute(statement, values))


# How many at a time


def test_the_limit_of_a_backend_is_kept_until_it_is_changed(open_manager, url) -> None:
    assert [] == _limits(open_manager())
    open_manager(max_running={"lab": 3, "shed": 1})
    assert [("lab", 3), ("shed", 1)] == _limits(open_manager())
    open_manager(max_running={"lab": None})
    assert [("lab", None), ("shed", 1)] == _limits(open_manager())


def _limits(manager: VolumeManager) -> list[tuple[str, int | None]]:
    query = text("SELECT name, max_running FROM backends ORDER BY name")
    with manager.database.read() as connection:
        return [tuple(row) for row in connection.execute(query)]


@pytest.mark.parametrize("wrong", [{"lab": 0}, {"lab": "two"}, {"lab": -1}, {1: 1}, "lab", ["a"]])
def test_a_limit_that_is_none_is_refused(open_manager, wrong) -> None:
    with pytest.raises(InvalidInput):
        open_manager(max_running=wrong)


def test_a_full_backend_lets_nothing_in_whoever_asks(open_manager, context, driver) -> None:
    """When the one who asks has read that there was room; and then lets in what waited."""
    manager = open_manager(board="sql:", max_running={"lab": 1})
    one, two = (manager.create_volume(context, size_gib=1, backend="lab") for _ in range(2))
    gate = Gate()
    driver.on["create_export"] = gate.stop
    running = Call(manager.attach_volume, context, one.id, HOST_A)
    gate.wait()
    waiting = manager.submit_attach(context, two.id, HOST_A)
    with pytest.raises(queue.Full):
        manager.database.write(lambda c: queue.admit(c, "lab"))
    call = Call(manager.attach_volume, context, two.id, HOST_A, operation_id=waiting.id)
    gate.opened.set()
    assert "attached" == running.value().attach_status
    assert "attached" == call.value().attach_status


# Who lives


def test_conductors_are_listed_with_what_they_run(
    manager, context, volume, driver, conduct
) -> None:
    gate = Gate()
    driver.on["create_export"] = gate.stop
    conductor = conduct(manager, name="night shift", workers=3)
    operation = manager.submit_attach(context, volume.id, HOST_A)
    gate.wait()
    (found,) = manager.list_conductors(context)
    assert ("night shift", ("lab",), 3, True, (operation.id,)) == (
        found.name,
        found.backends,
        found.workers,
        found.alive,
        found.running,
    )
    gate.opened.set()
    manager.wait(operation.id, 30)
    conductor.stop()
    assert conductor.wait(30)
    assert [] == manager.list_conductors(context)


def test_a_conductor_that_died_is_marked_until_another_takes_its_name(
    manager, open_manager, context, conduct
) -> None:
    _bury(open_manager(), "day shift")
    (found,) = manager.list_conductors(context)
    assert ("day shift", False) == (found.name, found.alive)
    follower = conduct(manager, name="day shift")
    until(lambda: _listed(manager) == {follower.id}, "the dead one is forgotten")


def _bury(manager: VolumeManager, name: str) -> None:
    """Leave the row of a conductor whose process is dead."""
    row = conductors.Row(new_id(), name, manager.leases.owner, gethostname(), 1, ("lab",), 1)
    manager.database.write(lambda c: conductors.register(c, row, 60))
    manager.leases.close()


def test_a_database_that_is_away_is_no_fault_of_the_operation(
    submitter, manager, context, volume, monkeypatch
) -> None:
    """When it cannot be read because nothing can: it is not counted."""
    operation = submitter.submit_attach(context, volume.id, HOST_A)

    def away(*_: object, **__: object) -> None:
        raise DatabaseError("the database is away")

    monkeypatch.setattr(manager._records, "operation", away)
    monkeypatch.setattr(manager.database, "write", away)
    with pytest.raises(DatabaseError, match="away"):
        manager._jobs.queue.run(operation.id, lambda: False)
    monkeypatch.undo()
    assert OperationState.QUEUED is manager.get_operation(context, operation.id).state
    with manager.database.read() as connection:
        query = text("SELECT attempts FROM operations WHERE id = :key")
        assert 0 == connection.execute(query, {"key": operation.id}).scalar_one()


def test_what_a_conductor_fails_at_unforeseen_is_tried_again(
    submitter, manager, context, volume, conduct, monkeypatch
) -> None:
    operation = submitter.submit_attach(context, volume.id, HOST_A)
    tried = []

    def run(operation_id: str, suspends: Callable[[], bool]) -> bool:
        tried.append(operation_id)
        raise RuntimeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(manager._jobs.queue, "run", run)
        conduct(manager)
        until(lambda: len(tried) > 1, "it was tried again")
    assert "succeeded" == submitter.wait(operation.id, 30).state
