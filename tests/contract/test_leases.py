"""Who owns an operation: leases, their renewal and their end, takeover, the fence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import volflow
from tests.contract.lab import (
    HOST_A,
    KEY_A,
    Call,
    Gate,
    is_clean,
    is_settled,
    new_id,
    nothing_changes,
    until,
)
from volflow import exceptions
from volflow.testing import Crash, Fault, pause_heartbeat

NEVER_SECONDS = 3600


def lease_of(manager, context, owner):
    return manager.get_operation(context, owner).lease_expires_at


def past(manager, context, moment):
    """Poll the database's clock, by the times of new rows, until it is past a moment."""

    def is_past():
        probe = manager.create_volume(context, 1, "lab")
        manager.delete_volume(context, probe.id)
        return probe.created_at > moment

    until(is_past, f"it is later than {moment}")


@pytest.fixture
def key():
    return new_id()


@pytest.fixture
def stalled(open_manager, context, volume, driver, key):
    """A run that stands still in the driver's notification, its heartbeat paused.

    (its manager, the gate, the call)
    """
    owner = open_manager(lease_seconds=0.2)
    gate = Gate()
    driver.on["attach_volume"] = gate.stop
    call = Call(owner.attach_volume, context, volume.id, HOST_A, host_name="a", operation_id=key)
    gate.wait()
    pause_heartbeat(owner)
    yield owner, gate, call
    gate.opened.set()
    call.join()


def test_a_running_operation_has_owner_lease_and_epoch(
    open_manager, manager, context, volume, driver
):
    """When an operation runs, it tells by whom, until when, and in which epoch."""
    gate = Gate()
    driver.on["create_export"] = gate.stop
    call = Call(open_manager().attach_volume, context, volume.id, HOST_A, host_name="a")
    gate.wait()

    owner = manager.get_volume(context, volume.id).operation_id
    found = manager.get_operation(context, owner)
    gate.opened.set()

    assert found.state == "running"
    assert found.owner
    assert found.lease_expires_at > found.created_at
    assert found.epoch >= 1
    assert call.value().attach_status == "attached"


def test_a_lease_is_renewed_while_its_run_lives(open_manager, manager, context, volume, driver):
    """When a driver call takes longer than a lease, the lease moves on, and nobody takes over."""
    gate = Gate()
    driver.on["create_export"] = gate.stop
    call = Call(
        open_manager(lease_seconds=0.2).attach_volume,
        context,
        volume.id,
        HOST_A,
        host_name="a",
    )
    gate.wait()
    owner = manager.get_volume(context, volume.id).operation_id
    first = lease_of(manager, context, owner)
    epoch = manager.get_operation(context, owner).epoch

    past(manager, context, first)
    until(lambda: lease_of(manager, context, owner) > first, "the lease is renewed")
    report = manager.recover()
    gate.opened.set()

    assert owner not in report.resumed + report.rolled_back
    assert call.value().attach_status == "attached"
    assert manager.get_operation(context, owner).epoch == epoch


def test_a_paused_heartbeat_lets_the_lease_end(stalled, manager, context, key):
    """When the heartbeat is paused, the lease stays as it is, and is past one day."""
    lease = lease_of(manager, context, key)

    past(manager, context, lease)

    assert lease == lease_of(manager, context, key)


def test_a_heartbeat_that_goes_on_renews_again(open_manager, manager, context, volume, driver):
    """When pause_heartbeat's block ends, the lease is renewed again."""
    gate = Gate()
    driver.on["create_export"] = gate.stop
    live = open_manager(lease_seconds=0.2)
    call = Call(live.attach_volume, context, volume.id, HOST_A, host_name="a")
    gate.wait()
    owner = manager.get_volume(context, volume.id).operation_id

    with pause_heartbeat(live):
        lease = lease_of(manager, context, owner)
        past(manager, context, lease)
        assert lease == lease_of(manager, context, owner)
    until(lambda: lease_of(manager, context, owner) > lease, "the lease is renewed")
    gate.opened.set()

    assert call.value().attach_status == "attached"


def test_recovery_leaves_a_live_lease_alone(open_manager, manager, context, volume, driver):
    """When an operation runs under a live lease, recover() changes nothing and does not wait."""
    gate = Gate()
    driver.on["create_export"] = gate.stop
    call = Call(
        open_manager(lease_seconds=NEVER_SECONDS).attach_volume,
        context,
        volume.id,
        HOST_A,
        host_name="a",
    )
    gate.wait()
    before = manager.list_operations(context)

    report = Call(manager.recover).value()

    assert (report.resumed, report.rolled_back, report.cleaned) == ((), (), ())
    assert before == manager.list_operations(context)
    gate.opened.set()
    assert call.value().attach_status == "attached"


def test_an_expired_lease_is_taken_over(stalled, manager, context, volume, key):
    """When a lease is past, recover() of another manager finishes the operation."""
    epoch = manager.get_operation(context, key).epoch

    until(lambda: key in manager.recover().resumed, "the operation is taken over")

    assert manager.get_volume(context, volume.id).status == "in-use"
    done = manager.get_operation(context, key)
    assert done.state == "succeeded"
    assert done.epoch > epoch


def test_a_run_that_was_taken_over_is_fenced_and_changes_nothing(
    stalled, manager, context, volume, backend, key
):
    """When the stalled run wakes, it hears Fenced, undoes nothing and commits nothing."""
    _, gate, call = stalled
    until(lambda: manager.recover().resumed, "the operation is taken over")

    with nothing_changes(manager, backend):
        gate.opened.set()
        outcome = call.outcome()

    assert isinstance(outcome, exceptions.Fenced)
    assert manager.get_volume(context, volume.id).status == "in-use"
    (attachment,) = manager.list_attachments(context, volume.id)
    backend.login(attachment.connection_info, KEY_A)


def test_a_run_that_was_rolled_back_meanwhile_makes_no_attachment(
    stalled, manager, context, volume, backend, key
):
    """When another detached the volume before the stalled run wakes, it stays detached."""
    _, gate, call = stalled
    until(lambda: manager.recover().resumed, "the operation is taken over")
    manager.detach_volume(context, volume.id)

    with nothing_changes(manager, backend):
        gate.opened.set()
        outcome = call.outcome()

    assert isinstance(outcome, exceptions.Fenced)
    assert is_clean(backend, volume.id)


def test_a_repetition_takes_over_once_the_lease_is_past(
    stalled, manager, context, volume, driver, key
):
    """When the same call comes while the owner stalls, it finishes the operation itself."""
    found = manager.attach_volume(context, volume.id, HOST_A, host_name="a", operation_id=key)

    assert found.attach_status == "attached"
    assert len(manager.list_attachments(context, volume.id)) == 1
    assert driver.names.count("create_export") == 1


def test_a_lease_that_ended_unnoticed_costs_nothing(stalled, manager, context, volume, key):
    """When nobody took over before the stalled run wakes, it finishes its work."""
    _, gate, call = stalled
    past(manager, context, lease_of(manager, context, key))

    gate.opened.set()

    assert call.value().attach_status == "attached"
    assert manager.get_volume(context, volume.id).status == "in-use"


def test_a_driver_call_past_its_limit_is_not_kept_alive(
    open_manager, manager, context, volume, driver
):
    """When a driver call takes longer than driver_call_seconds, its lease is let run out."""
    gate = Gate()
    driver.on["create_export"] = gate.stop
    slow = open_manager(lease_seconds=0.2, driver_call_seconds=0.1)
    call = Call(slow.attach_volume, context, volume.id, HOST_A, host_name="a")
    gate.wait()
    owner = manager.get_volume(context, volume.id).operation_id

    def has_run_out():
        lease = lease_of(manager, context, owner)
        past(manager, context, lease)
        return lease == lease_of(manager, context, owner)

    until(has_run_out, "the lease is past and not renewed")
    gate.opened.set()
    call.outcome()
    until(lambda: manager.recover() and is_settled(manager, owner), "it settles")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_dead_owner_is_noticed_before_its_lease_ends(
    open_manager, context, volume, faulty, key, when
):
    """When the owner's process is gone, recovery does not wait for the lease."""
    first = open_manager(lease_seconds=NEVER_SECONDS)
    faulty.faults = [Fault("create_export", when, Crash)]
    with pytest.raises(Crash):
        first.attach_volume(context, volume.id, HOST_A, host_name="a", operation_id=key)
    first.close()

    second = open_manager(lease_seconds=NEVER_SECONDS)
    report = second.recover()

    assert key in report.resumed + report.rolled_back
    assert second.get_volume(context, volume.id).operation_id is None


@pytest.mark.sqlite
def test_a_killed_owner_is_noticed_before_its_lease_ends(
    manager, context, volume, url, backend, key
):
    """When a real process is killed in a driver call, recovery settles its operation at once."""
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.contract.other_process",
            *("hang", url, volume.id, key, str(NEVER_SECONDS)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(volflow.__file__).parents[1],
    )
    try:
        child.stdin.write("go\n")
        child.stdin.flush()
        said = [child.stdout.readline().strip() for _ in range(2)]
        assert said == ["ready", "in create_export"]
        assert manager.recover().resumed == ()
        assert manager.get_operation(context, key).state == "running"
    finally:
        child.kill()
        child.communicate()

    report = manager.recover()

    assert key in report.resumed + report.rolled_back
    found = manager.get_volume(context, volume.id)
    assert found.operation_id is None
    assert (found.status == "in-use") == (volume.id in backend.exports)


def test_an_operation_that_waits_for_its_caller_has_no_lease(manager, context, volume):
    """When nobody runs the operation, nobody owns it, and recover() lets it wait."""
    owner = manager.reserve_volume(context, volume.id).operation_id

    found = manager.get_operation(context, owner)

    assert (found.state, found.lease_expires_at) == ("waiting", None)
    assert manager.recover().resumed == ()
    assert manager.get_volume(context, volume.id).status == "attaching"
