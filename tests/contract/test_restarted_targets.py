"""A target daemon was restarted and has lost its exports: recovery makes them again."""

from __future__ import annotations

import pytest

from tests.contract.conftest import OpenManager
from tests.contract.lab import (
    HOST_A,
    HOST_B,
    INSTANCE_1,
    INSTANCE_2,
    KEY_A,
    KEY_B,
    Call,
    Gate,
    Telling,
    until,
)
from volflow import RequestContext, VolumeManager
from volflow.models import RecoveryReport, Volume
from volflow.testing import Fault, FaultyDriver, MemoryDriver
from volflow.testing.invariants import violations


def restart(backend: MemoryDriver, manager: VolumeManager) -> RecoveryReport:
    backend.restart_target()
    return manager.recover()


def account(backend: MemoryDriver, volume_id: str) -> str:
    return backend.exports[volume_id]


def test_an_attached_volume_is_exported_again_with_its_credentials(
    manager: VolumeManager, context: RequestContext, backend: MemoryDriver, attached: Volume
) -> None:
    """The host logs in with what it was told, and the volume is nobody's afterwards."""
    before = account(backend, attached.id)
    attachment = manager.list_attachments(context, attached.id)[0]

    report = restart(backend, manager)

    assert 1 == len(report.cleaned)
    assert "repair" == manager.get_operation(context, report.cleaned[0]).kind
    assert before == account(backend, attached.id)
    assert {KEY_A} == backend.acls[attached.id]
    assert attachment.connection_info is not None
    backend.login(attachment.connection_info, KEY_A)
    now = manager.get_volume(context, attached.id)
    assert ("in-use", None) == (now.status, now.operation_id)
    assert RecoveryReport() == manager.recover()


def test_all_attachments_have_their_access_again(
    manager: VolumeManager, context: RequestContext, backend: MemoryDriver, shared: Volume
) -> None:
    manager.attach_volume(context, shared.id, HOST_A, instance_uuid=INSTANCE_1)
    manager.attach_volume(context, shared.id, HOST_B, instance_uuid=INSTANCE_2)
    restart(backend, manager)
    assert {KEY_A, KEY_B} == backend.acls[shared.id]


def test_one_acl_entry_that_is_gone_comes_back(
    manager: VolumeManager, backend: MemoryDriver, attached: Volume
) -> None:
    backend.acls[attached.id].clear()
    manager.recover()
    assert {KEY_A} == backend.acls[attached.id]


def test_a_reservation_that_has_its_connection_keeps_it(
    manager: VolumeManager, context: RequestContext, backend: MemoryDriver, volume: Volume
) -> None:
    """The operation waits as before, with the deadline that it had, and its caller goes on."""
    manager.reserve_volume(context, volume.id)
    info = manager.initialize_connection(context, volume.id, HOST_A)
    owner = manager.get_volume(context, volume.id).operation_id
    assert owner is not None
    before = manager.get_operation(context, owner)

    report = restart(backend, manager)

    assert (owner,) == report.cleaned
    after = manager.get_operation(context, owner)
    assert ("waiting", before.phase, before.deadline) == (after.state, after.phase, after.deadline)
    backend.login(info, KEY_A)
    manager.attach(context, volume.id, INSTANCE_1, None, "/dev/vdb")
    assert [] == violations(manager, backend, "lab")


def test_a_mere_reservation_gets_no_export(
    manager: VolumeManager, context: RequestContext, backend: MemoryDriver, volume: Volume
) -> None:
    manager.reserve_volume(context, volume.id)
    assert RecoveryReport() == restart(backend, manager)
    assert {} == backend.exports


def test_a_detach_that_began_keeps_its_connection_and_can_be_rolled_back(
    manager: VolumeManager, context: RequestContext, backend: MemoryDriver, attached: Volume
) -> None:
    manager.begin_detaching(context, attached.id)
    restart(backend, manager)
    assert {KEY_A} == backend.acls[attached.id]
    manager.roll_detaching(context, attached.id)
    assert [] == violations(manager, backend, "lab")


def test_a_terminated_detach_keeps_its_export_without_the_access(
    manager: VolumeManager, context: RequestContext, backend: MemoryDriver, attached: Volume
) -> None:
    manager.begin_detaching(context, attached.id)
    manager.terminate_connection(context, attached.id, HOST_A)
    restart(backend, manager)
    assert attached.id in backend.exports
    assert not backend.acls[attached.id]


@pytest.mark.parametrize("recovered", [True, False])
def test_a_terminated_detach_can_be_rolled_back_after_a_restart(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    attached: Volume,
    recovered: bool,
) -> None:
    """Whether or not recovery was there between."""
    manager.begin_detaching(context, attached.id)
    manager.terminate_connection(context, attached.id, HOST_A)
    backend.restart_target()
    if recovered:
        manager.recover()
    manager.roll_detaching(context, attached.id)
    assert {KEY_A} == backend.acls[attached.id]
    assert [] == violations(manager, backend, "lab")


def test_the_others_of_a_volume_with_a_leftover_have_their_access(
    open_manager: OpenManager, context: RequestContext, backend: MemoryDriver, faulty: FaultyDriver
) -> None:
    """When one attachment's undo is being refused, another one's export comes back meanwhile."""
    manager = open_manager()
    shared = manager.create_volume(context, size_gib=1, backend="lab", multiattach=True)
    manager.attach_volume(context, shared.id, HOST_A, instance_uuid=INSTANCE_1)
    faulty.faults += [
        Fault("initialize_connection", "after", OSError("refused")),
        Fault("terminate_connection", "before", OSError("refused"), times=None),
    ]
    with pytest.raises(Exception, match="refuse"):
        manager.attach_volume(context, shared.id, HOST_B, instance_uuid=INSTANCE_2)
    owner = manager.get_volume(context, shared.id).operation_id
    assert owner is not None
    assert "needs_attention" == manager.get_operation(context, owner).state
    before = manager.get_operation(context, owner)

    report = restart(backend, manager)

    assert KEY_A in backend.acls[shared.id]
    assert owner in report.needs_attention
    assert before.leftovers == manager.get_operation(context, owner).leftovers
    faulty.faults.clear()
    manager.recover()
    assert [] == violations(manager, backend, "lab")


def test_a_restart_is_noticed_by_the_thread(
    open_manager: OpenManager, context: RequestContext, backend: MemoryDriver, faulty: FaultyDriver
) -> None:
    manager = open_manager(recover=True, comparison_seconds=0.05)
    volume = manager.create_volume(context, size_gib=1, backend="lab")
    manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    backend.restart_target()
    until(lambda: KEY_A in backend.acls.get(volume.id, ()), "the access was there again")


def test_a_process_that_starts_exports_again_before_it_serves(
    open_manager: OpenManager, context: RequestContext, backend: MemoryDriver, faulty: FaultyDriver
) -> None:
    """When target daemon and manager come back together, as after a host's restart."""
    manager = open_manager()
    volume = manager.create_volume(context, size_gib=1, backend="lab")
    manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    manager.close()
    backend.restart_target()
    open_manager(recover=True)
    assert {KEY_A} == backend.acls[volume.id]


def test_a_refused_export_leaves_the_volume_free_and_is_tried_again(
    open_manager: OpenManager, context: RequestContext, backend: MemoryDriver, faulty: FaultyDriver
) -> None:
    """The volume can be detached meanwhile; the failed repair is kept with its error."""
    manager = open_manager()
    volume = manager.create_volume(context, size_gib=1, backend="lab")
    manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    faulty.faults.append(Fault("ensure_export", "before", OSError("no such file")))

    report = restart(backend, manager)

    (failed,) = report.needs_attention
    operation = manager.get_operation(context, failed)
    assert ("repair", "rolled_back") == (operation.kind, operation.state)
    assert operation.error is not None
    assert "no such file" in operation.error.message
    assert manager.get_volume(context, volume.id).operation_id is None
    assert 1 == len(manager.recover().cleaned)
    assert {KEY_A} == backend.acls[volume.id]


def test_a_call_waits_for_the_repair_of_its_volume(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    attached: Volume,
    driver: Telling,
) -> None:
    """A caller that detaches while recovery exports again is not refused."""
    gate = Gate()
    driver.on["ensure_export"] = gate.stop
    backend.restart_target()
    repair = Call(manager.recover)
    gate.wait()
    detach = Call(manager.detach_volume, context, attached.id)
    gate.opened.set()
    assert "available" == detach.value().status
    repair.value()
    assert {} == backend.exports
