"""VolumeManager.reconcile beside operations: it never works on what another run has."""

from __future__ import annotations

import pytest

from tests.contract.conftest import OpenManager
from tests.contract.harms import (
    Place,
    leave_an_access,
    leave_an_export,
    lose_the_access,
    lose_the_export,
)
from tests.contract.lab import HOST_A, HOST_B, KEY_A, KEY_B, Call, Gate, Telling
from volflow import DifferenceKind as Kind
from volflow import Volume, exceptions
from volflow.exceptions import ConnectionFailed, ExportFailed
from volflow.testing import Crash, Fault, FaultyDriver


@pytest.mark.parametrize("step", ["create_export", "initialize_connection", "attach_volume"])
def test_what_an_operation_runs_on_is_left_alone(
    place: Place, open_manager: OpenManager, driver: Telling, step: str
) -> None:
    """While it runs nothing of its volume is found or repaired, and it ends well."""
    other = open_manager()
    gate = Gate()
    driver.on[step] = gate.stop
    call = Call(other.attach_volume, place.context, place.free, HOST_B, host_name="b")
    gate.wait()
    driver.forget()

    assert [] == place.reconcile(repair=True, force=True)

    assert [] == driver.names
    gate.opened.set()
    assert "attached" == call.value().attach_status
    assert [] == place.violations()


def test_what_another_attachment_lacks_waits_for_the_operation(
    place: Place, shared: Volume, open_manager: OpenManager, driver: Telling
) -> None:
    """While one host is being attached, the other's lost access is not looked at, and then is."""
    place.manager.attach_volume(place.context, shared.id, HOST_A, host_name="a")
    place.backend.acls[shared.id].clear()
    gate = Gate()
    driver.on["initialize_connection"] = gate.stop
    call = Call(open_manager().attach_volume, place.context, shared.id, HOST_B, host_name="b")
    gate.wait()
    assert [] == place.reconcile(repair=True, force=True)
    assert set() == place.backend.acls[shared.id]
    gate.opened.set()
    call.value()
    (found,) = place.reconcile(repair=True)
    assert (Kind.ACCESS_MISSING, KEY_A, True) == (found.kind, found.initiator, found.repaired)
    assert [] == place.violations()


def test_what_is_being_repaired_is_not_repaired_twice(
    place: Place, open_manager: OpenManager, driver: Telling
) -> None:
    """While recovery makes an export again, it is no difference."""
    lose_the_export(place)
    gate = Gate()
    driver.on["ensure_export"] = gate.stop
    call = Call(open_manager().recover)
    gate.wait()
    assert [] == place.reconcile(repair=True)
    gate.opened.set()
    assert 1 == len(call.value().cleaned)
    assert [] == place.reconcile()
    assert [] == place.violations()


def test_a_volume_that_changes_under_the_look_is_dropped(
    place: Place, open_manager: OpenManager, driver: Telling
) -> None:
    """When it was detached between the look at the database and at the backend."""
    other = open_manager()
    lose_the_access(place)
    looks = []

    def detach() -> None:
        looks.append(1)
        if len(looks) == 2:
            other.detach_volume(place.context, place.attached)

    driver.on["list_exports"] = detach
    assert [] == place.reconcile()
    assert 2 <= len(looks)
    assert [] == place.reconcile()
    assert [] == place.violations()


def test_a_volume_that_a_caller_takes_meanwhile_is_the_caller_s(
    place: Place, open_manager: OpenManager, driver: Telling
) -> None:
    """When a detach begins just before the repair, it is repaired as the detach's own."""
    other = open_manager()
    leave_an_access(place)
    looks = []

    def detach() -> None:
        looks.append(1)
        if len(looks) == 3:  # the last look before the repair
            driver.on.clear()
            other.begin_detaching(place.context, place.attached)

    driver.on["list_exports"] = detach
    (found,) = place.reconcile(repair=True)
    assert (3, True) == (len(looks), found.repaired)
    volume = place.manager.get_volume(place.context, place.attached)
    assert "detaching" == volume.status
    assert volume.operation_id is not None
    operation = place.manager.get_operation(place.context, volume.operation_id)
    assert ("detach", "waiting") == (operation.kind, operation.state)
    assert {KEY_A} == place.backend.acls[place.attached]
    assert [] == place.violations()


def test_a_volume_whose_lock_somebody_holds_is_told_and_left(
    place: Place, open_manager: OpenManager, driver: Telling
) -> None:
    """When a hung call of another process has it, nobody waits for it."""
    lock = open_manager()._locks.of(place.attached)
    leave_an_access(place)
    driver.forget()
    lock.acquire(0.0, "a hung call")
    try:
        (found,) = place.reconcile(repair=True)
    finally:
        lock.release()
    assert not found.repaired
    assert found.error is not None
    assert "cannot be changed now" in found.error.message
    assert [] == driver.names
    assert place.manager.get_volume(place.context, place.attached).operation_id is None
    assert all(difference.repaired for difference in place.reconcile(repair=True))


def test_what_a_waiting_operation_needs_is_made_again(place: Place) -> None:
    """The operation waits as before, and its caller goes on with what it was told."""
    place.manager.reserve_volume(place.context, place.free)
    info = place.manager.initialize_connection(place.context, place.free, HOST_B)
    owner = place.manager.get_volume(place.context, place.free).operation_id
    assert owner is not None
    before = place.manager.get_operation(place.context, owner)
    del place.backend.exports[place.free]
    place.backend.acls[place.free].clear()

    (found,) = place.reconcile(repair=True)

    assert (Kind.EXPORT_MISSING, owner, True) == (found.kind, found.operation_id, found.repaired)
    after = place.manager.get_operation(place.context, owner)
    assert (before.state, before.phase, before.deadline) == (
        after.state,
        after.phase,
        after.deadline,
    )
    place.backend.login(info, KEY_B)
    place.manager.attach(place.context, place.free, None, "b", None)
    assert [] == place.violations()


def test_an_operation_owns_only_its_own_volume(place: Place) -> None:
    """When a hand names it on another volume, that one is freed, and the operation waits on."""
    owner = place.manager.reserve_volume(place.context, place.free).operation_id
    assert owner is not None
    before = place.manager.get_operation(place.context, owner)
    place.hand.change("volumes", place.attached, operation_id=owner)
    leave_an_access(place)

    found = place.reconcile(repair=True)

    assert {Kind.STATUS_UNOWNED, Kind.ACCESS_UNJUSTIFIED} == {d.kind for d in found}
    assert all(difference.repaired for difference in found)
    assert {place.attached} == {difference.volume_id for difference in found}
    assert before == place.manager.get_operation(place.context, owner)
    assert [] == place.violations()
    place.manager.unreserve_volume(place.context, place.free)
    assert [] == place.violations()


def test_what_a_stopped_undo_still_has_is_no_difference(
    place: Place, faulty: FaultyDriver
) -> None:
    """When the backend refuses an undo, recovery has it; reconcile leaves it open."""
    faulty.faults = [
        Fault("initialize_connection", "after", ConnectionFailed("the first")),
        Fault("remove_export", "before", ExportFailed("the second"), times=None),
    ]
    with pytest.raises(exceptions.RollbackIncomplete):
        place.manager.attach_volume(place.context, place.free, HOST_B)
    assert [] == place.reconcile(repair=True, force=True)
    assert place.free in place.backend.exports
    faulty.faults.clear()
    place.manager.recover()
    assert [] == place.violations()


def test_an_export_of_a_deleted_volume_is_removed(place: Place) -> None:
    """The volume is known, though it is gone, so that nobody else can need its export."""
    place.manager.delete_volume(place.context, place.free)
    leave_an_export(place)
    (found,) = place.reconcile(repair=True)
    assert (Kind.EXPORT_UNJUSTIFIED, place.free, True) == (
        found.kind,
        found.volume_id,
        found.repaired,
    )
    assert place.free not in place.backend.exports
    with pytest.raises(exceptions.VolumeNotFound):
        place.manager.get_volume(place.context, place.free)


def test_a_repair_is_an_operation_that_tells_what_it_did(place: Place) -> None:
    """It owns its volume while it lasts, ends settled, and has a timeline."""
    lose_the_export(place)
    place.reconcile(repair=True)
    repair = place.manager.list_operations(place.context, volume_id=place.attached)[-1]
    assert ("repair", "succeeded", None) == (repair.kind, repair.state, repair.error)
    steps = [event.step for event in place.manager.operation_timeline(place.context, repair.id)]
    assert "repair-backend" in steps


def test_a_repair_that_is_refused_is_told_and_can_be_repeated(
    place: Place, faulty: FaultyDriver
) -> None:
    """The volume stays what it is, and is nobody's; the next repair does it."""
    lose_the_export(place)
    faulty.faults = [Fault("ensure_export", "before", OSError("no such backing store"))]

    (found,) = place.reconcile(repair=True)

    assert not found.repaired
    assert found.error is not None
    assert "no such backing store" in found.error.message
    volume = place.manager.get_volume(place.context, place.attached)
    assert ("in-use", None) == (volume.status, volume.operation_id)
    (found,) = place.reconcile(repair=True)
    assert found.repaired
    place.log_in()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["ensure_export", "initialize_connection"])
def test_a_repair_whose_process_dies_is_finished(
    place: Place, open_manager: OpenManager, faulty: FaultyDriver, call: str, when: str
) -> None:
    """The next process recovers it: the export and the access are there."""
    lose_the_export(place)
    faulty.faults = [Fault(call, when, Crash)]
    with pytest.raises(Crash):
        place.reconcile(repair=True)
    place.manager.close()
    again = place._replace(manager=open_manager())
    again.manager.recover()
    assert [] == again.reconcile()
    assert [] == again.violations()
    again.log_in()


def test_two_processes_repair_beside_each_other(place: Place, open_manager: OpenManager) -> None:
    """Each difference is repaired once, or told to have changed; all is in order afterwards."""
    for harm in (lose_the_access, leave_an_export):
        harm(place)
    other = open_manager()
    calls = [
        Call(manager.reconcile, place.context, repair=True) for manager in (place.manager, other)
    ]
    for call in calls:
        for difference in call.value():
            assert (
                difference.repaired
                or "meanwhile" in str(difference.error)
                or ("cannot be changed now" in str(difference.error))
            )
    place.reconcile(repair=True)
    assert [] == place.reconcile()
    assert [] == place.violations()
