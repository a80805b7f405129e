"""Recovery: what is past its deadline, what a dead process left, what the backend refused."""

from __future__ import annotations

import threading
from contextlib import suppress
from unittest.mock import patch

import pytest

from tests.contract.lab import (
    HOST_A,
    HOST_B,
    INSTANCE_1,
    KEY_A,
    Call,
    Gate,
    is_clean,
    is_settled,
    nothing_changes,
    refused,
    until,
)
from volflow import RecoveryReport, exceptions
from volflow.exceptions import ConnectionFailed, ExportFailed
from volflow.rounds import WORKERS
from volflow.testing import Crash, Fault, MemoryDriver, pause_heartbeat
from volflow.testing.invariants import violations

SOON_SECONDS = 0.01


@pytest.fixture
def short(open_manager):
    """A manager whose operations wait for their caller only a moment."""
    return open_manager(reservation_deadline_seconds=SOON_SECONDS)


def past_deadline(manager, context, owner):
    """Poll the database's clock, by the times of new rows, until the deadline is past."""
    deadline = manager.get_operation(context, owner).deadline

    def is_past():
        probe = manager.create_volume(context, 1, "lab")
        manager.delete_volume(context, probe.id)
        return probe.created_at > deadline

    until(is_past, "the deadline is past")


def test_with_nothing_to_do_the_report_is_empty(manager, context, attached, driver):
    """When everything is settled, recover() does nothing and says so."""
    report = manager.recover()

    assert isinstance(report, RecoveryReport)
    assert ((), (), (), (), ()) == (
        report.resumed,
        report.rolled_back,
        report.cleaned,
        report.reposted,
        report.needs_attention,
    )
    assert driver.names == []


@pytest.mark.parametrize("connected", [False, True])
def test_a_reservation_past_its_deadline_is_rolled_back(
    short, context, volume, backend, connected
):
    """When the caller does not come back, export, ACL and reservation go."""
    owner = short.reserve_volume(context, volume.id).operation_id
    if connected:
        short.initialize_connection(context, volume.id, HOST_A)
    past_deadline(short, context, owner)

    report = short.recover()

    assert report.rolled_back == (owner,)
    free = short.get_volume(context, volume.id)
    assert (free.status, free.operation_id) == ("available", None)
    assert is_clean(backend, volume.id)
    assert short.get_operation(context, owner).state == "rolled_back"


@pytest.mark.parametrize("terminated", [False, True])
def test_a_detach_past_its_deadline_gives_the_connection_back(
    short, context, attached, backend, terminated
):
    """When the caller of a detach does not come back, the host works on as before."""
    (attachment,) = short.list_attachments(context, attached.id)
    owner = short.begin_detaching(context, attached.id).operation_id
    if terminated:
        short.terminate_connection(context, attached.id, HOST_A)
    past_deadline(short, context, owner)

    report = short.recover()

    assert report.rolled_back == (owner,)
    assert short.get_volume(context, attached.id).status == "in-use"
    backend.login(attachment.connection_info, KEY_A)


def test_a_late_call_still_wins(short, context, volume):
    """When the deadline is past and recovery has not come yet, the caller goes on."""
    owner = short.reserve_volume(context, volume.id).operation_id
    past_deadline(short, context, owner)
    short.initialize_connection(context, volume.id, HOST_A)
    past_deadline(short, context, owner)

    assert short.attach(context, volume.id, INSTANCE_1, None, None).attach_status == "attached"


def test_a_call_after_recovery_is_too_late(short, context, volume, backend):
    """When recovery has rolled the operation back, its caller hears InvalidVolume."""
    owner = short.reserve_volume(context, volume.id).operation_id
    short.initialize_connection(context, volume.id, HOST_A)
    past_deadline(short, context, owner)
    short.recover()

    with refused(short, backend, exceptions.InvalidVolume):
        short.attach(context, volume.id, INSTANCE_1, None, None)
    with refused(short, backend, exceptions.InvalidVolume):
        short.initialize_connection(context, volume.id, HOST_A)


def test_recovery_does_not_cut_a_live_session(short, context, volume, backend):
    """When a host is logged in past the deadline, it is held and reported, and undone later."""
    owner = short.reserve_volume(context, volume.id).operation_id
    backend.login(short.initialize_connection(context, volume.id, HOST_A), KEY_A)
    past_deadline(short, context, owner)

    assert owner in short.recover().needs_attention
    assert owner in short.recover().needs_attention
    assert [KEY_A] == backend.sessions[volume.id]
    assert {KEY_A} == backend.acls[volume.id]
    assert short.get_volume(context, volume.id).status == "attaching"

    backend.logout(volume.id, KEY_A)
    report = short.recover()

    assert owner in report.cleaned + report.rolled_back
    assert short.get_volume(context, volume.id).status == "available"
    assert is_clean(backend, volume.id)


def test_a_session_that_nobody_can_tell_counts_as_live(short, context, volume, backend, driver):
    """When the backend cannot tell its sessions, an undo is held back."""
    listed = backend.list_exports
    driver.list_exports = lambda: [type(e)(e.volume_id, e.initiators, None) for e in listed()]
    owner = short.reserve_volume(context, volume.id).operation_id
    short.initialize_connection(context, volume.id, HOST_A)
    past_deadline(short, context, owner)

    assert owner in short.recover().needs_attention
    assert {KEY_A} == backend.acls[volume.id]

    del driver.list_exports
    short.recover()
    assert short.get_volume(context, volume.id).status == "available"
    assert is_clean(backend, volume.id)


def test_a_refused_undo_is_retried_at_every_call(manager, context, volume, backend, faulty):
    """When the backend goes on refusing, each recover() asks again, whatever the backoff."""
    faulty.faults = [
        Fault("initialize_connection", "after", ConnectionFailed("first")),
        Fault("terminate_connection", "before", ConnectionFailed("second"), times=4),
    ]
    with pytest.raises(exceptions.RollbackIncomplete):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    owner = manager.get_volume(context, volume.id).operation_id

    for _ in range(3):
        faulty.calls.clear()
        assert manager.recover().needs_attention == (owner,)
        assert "terminate_connection" in faulty.calls
    report = manager.recover()

    assert report.cleaned == (owner,)
    assert report.needs_attention == ()
    done = manager.get_operation(context, owner)
    assert (done.state, tuple(done.error)) == ("rolled_back", ("ConnectionFailed", "first"))
    assert manager.get_volume(context, volume.id).status == "available"
    assert is_clean(backend, volume.id)


def test_behind_a_refused_undo_the_backend_is_left_alone(
    manager, context, volume, backend, faulty
):
    """When taking the ACL away is refused, the export is not removed under it."""
    faulty.faults = [
        Fault("initialize_connection", "after", ConnectionFailed("first")),
        Fault("terminate_connection", "before", ConnectionFailed("second"), times=None),
    ]
    with pytest.raises(exceptions.RollbackIncomplete):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    assert "remove_export" not in faulty.calls
    assert volume.id in backend.exports


def test_leftovers_are_cleaned_by_themselves(open_manager, manager, context, volume, faulty):
    """When a manager recovers in the background, a refused undo is repeated until it goes."""
    faulty.faults = [
        Fault("initialize_connection", "after", ConnectionFailed("first")),
        Fault("terminate_connection", "before", ConnectionFailed("second"), times=2),
    ]
    live = open_manager(recover=True)
    with suppress(exceptions.RollbackIncomplete):
        live.attach_volume(context, volume.id, HOST_A, host_name="a")

    until(
        lambda: manager.get_volume(context, volume.id).status == "available",
        "the volume is available",
    )


STEPS = {
    "attach": ["create_export", "initialize_connection", "attach_volume"],
    "detach": ["terminate_connection", "remove_export", "detach_volume"],
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("kind", "step"), [(kind, step) for kind, steps in STEPS.items() for step in steps]
)
def test_what_a_dead_process_left_is_settled(
    open_manager, context, volume, backend, faulty, kind, step, when
):
    """When a one-shot's process dies in any driver call, the next one settles it, once."""
    first = open_manager()
    if kind == "detach":
        first.attach_volume(context, volume.id, HOST_A, host_name="a")
    faulty.faults = [Fault(step, when, Crash)]
    calls = {
        "attach": lambda: first.attach_volume(context, volume.id, HOST_A, host_name="a"),
        "detach": lambda: first.detach_volume(context, volume.id),
    }
    with pytest.raises(Crash):
        calls[kind]()
    owner = first.get_volume(context, volume.id).operation_id
    assert owner is not None
    first.close()

    second = open_manager()
    report = second.recover()

    assert owner in report.resumed + report.rolled_back
    assert second.get_volume(context, volume.id).operation_id is None
    if kind == "detach":
        assert second.get_volume(context, volume.id).status == "available"
    assert violations(second, backend, "lab") == []
    with nothing_changes(second, backend):
        again = second.recover()
    assert owner not in again.resumed + again.rolled_back


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["create_export", "initialize_connection"])
def test_a_call_whose_process_died_can_be_repeated(
    open_manager, context, volume, backend, faulty, step, when
):
    """When initialize_connection's process dies, the caller's next process gets its answer."""
    first = open_manager()
    first.reserve_volume(context, volume.id)
    faulty.faults = [Fault(step, when, Crash)]
    with pytest.raises(Crash):
        first.initialize_connection(context, volume.id, HOST_A)
    first.close()

    info = open_manager().initialize_connection(context, volume.id, HOST_A)

    backend.login(info, KEY_A)


def test_recovery_does_not_wait_for_a_lock(open_manager, manager, context, volume, driver):
    """When a hung call holds one volume, recover() returns, and settles the others."""
    slow = open_manager(lease_seconds=0.2)
    gate = Gate()
    driver.on["create_export"] = gate.stop
    call = Call(slow.attach_volume, context, volume.id, HOST_A, host_name="a")
    gate.wait()
    pause_heartbeat(slow)
    hung = manager.get_operation(context, manager.get_volume(context, volume.id).operation_id)
    short = open_manager(reservation_deadline_seconds=SOON_SECONDS, lease_seconds=0.2)
    other = short.create_volume(context, 1, "lab")
    owner = short.reserve_volume(context, other.id).operation_id
    past_deadline(short, context, owner)
    past_lease(short, context, hung)

    report = Call(short.recover).value()

    assert owner in report.rolled_back
    assert short.get_volume(context, other.id).status == "available"
    gate.opened.set()
    call.outcome()
    until(lambda: manager.recover() and is_settled(manager, hung.id), "it settles")


def past_lease(manager, context, operation):
    def is_past():
        probe = manager.create_volume(context, 1, "lab")
        manager.delete_volume(context, probe.id)
        return probe.created_at > operation.lease_expires_at

    until(is_past, "the lease is past")


def test_recovery_goes_on_with_backends_it_serves(open_manager, context, volume, short, backend):
    """When a process lacks a backend's driver, it leaves that one's operations alone."""
    owner = short.reserve_volume(context, volume.id).operation_id
    short.initialize_connection(context, volume.id, HOST_A)
    past_deadline(short, context, owner)
    blind = open_manager(drivers={})

    with nothing_changes(short, backend):
        report = blind.recover()

    assert owner not in report.rolled_back
    assert owner in short.recover().rolled_back


def test_one_failing_volume_does_not_keep_recovery_from_the_others(
    short, context, volume, faulty, backend
):
    """When the backend refuses one undo, the other volumes are still settled."""
    owners = []
    for made in (volume, short.create_volume(context, 1, "lab")):
        owners.append(short.reserve_volume(context, made.id).operation_id)
        short.initialize_connection(context, made.id, HOST_A)
    for owner in owners:
        past_deadline(short, context, owner)
    faulty.faults = [Fault("remove_export", "before", ExportFailed("no"))]

    report = short.recover()

    assert len(report.needs_attention) == 1
    assert set(owners) == set(report.rolled_back + report.needs_attention)
    assert set(short.recover().cleaned) == set(report.needs_attention)
    assert all(is_clean(backend, v.id) for v in short.list_volumes(context))


def test_a_backend_that_hangs_keeps_recovery_from_no_other(open_manager, context, driver):
    """When as many undos hang as one backend has threads, another backend's volume is undone."""
    begun, go_on = threading.Semaphore(0), threading.Event()

    def hang(context, volume):
        begun.release()
        go_on.wait()

    drivers = {"lab": driver, "other": MemoryDriver()}
    short = open_manager(drivers=drivers, reservation_deadline_seconds=SOON_SECONDS)

    def left_behind(backend):
        made = short.create_volume(context, 1, backend)
        short.reserve_volume(context, made.id)
        short.initialize_connection(context, made.id, HOST_A)
        return made.id

    hung = [left_behind("lab") for _ in range(WORKERS + 1)]
    free = left_behind("other")
    with patch.object(driver, "remove_export", hang, create=True):
        recovering = open_manager(drivers=drivers, recover=True, lease_seconds=1)
        try:
            assert all(begun.acquire(timeout=30) for _ in range(WORKERS))
            until(lambda: short.get_volume(context, free).status == "available", "it is undone")
            assert {"attaching"} == {short.get_volume(context, key).status for key in hung}
        finally:
            go_on.set()
            recovering.close()


def test_a_forced_detach_cuts_a_session(manager, context, attached, backend):
    """When force is given, a session is no reason to stop."""
    (attachment,) = manager.list_attachments(context, attached.id)
    backend.login(attachment.connection_info, KEY_A)

    assert manager.detach_volume(context, attached.id, force=True).status == "available"
    assert is_clean(backend, attached.id)


def test_recovery_of_one_attach_leaves_another_attachment_alone(short, context, shared, backend):
    """When a second host's reservation expires, the first host never notices."""
    one = short.attach_volume(context, shared.id, HOST_A, INSTANCE_1)
    backend.login(one.connection_info, KEY_A)
    owner = short.reserve_volume(context, shared.id).operation_id
    short.initialize_connection(context, shared.id, HOST_B)
    past_deadline(short, context, owner)

    assert owner in short.recover().rolled_back
    assert [KEY_A] == backend.sessions[shared.id]
    assert {KEY_A} == backend.acls[shared.id]
    assert short.get_volume(context, shared.id).status == "in-use"


def test_an_interrupted_creation_is_settled(open_manager, context, faulty, backend):
    """When the process dies while a volume is made, it is made or gone afterwards."""
    first = open_manager()
    faulty.faults = [Fault("create_volume", "after", Crash)]
    with pytest.raises(Crash):
        first.create_volume(context, 1, "lab")
    first.close()

    second = open_manager()
    second.recover()

    assert set(backend.volumes) == {v.id for v in second.list_volumes(context)}
    assert {"available"} >= {v.status for v in second.list_volumes(context)}


def test_an_interrupted_deletion_is_settled(open_manager, context, volume, faulty, backend):
    """When the process dies while a volume is deleted, it is gone afterwards."""
    first = open_manager()
    faulty.faults = [Fault("delete_volume", "before", Crash)]
    with pytest.raises(Crash):
        first.delete_volume(context, volume.id)
    first.close()

    second = open_manager()
    second.recover()

    assert second.list_volumes(context) == []
    assert backend.volumes == {}
