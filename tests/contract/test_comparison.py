"""What a driver call of unknown outcome does later is found: the volume is compared once more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace

import pytest

from tests.contract.conftest import OpenManager
from tests.contract.lab import HOST_A, HOST_B, KEY_A, KEY_B, UNKNOWN
from volflow import RequestContext, VolumeManager, exceptions
from volflow.clock import Clock
from volflow.models import DriverVolume, RecoveryReport, Volume
from volflow.persistence.work import UnitOfWork
from volflow.testing import Crash, Fault, FaultyDriver, MemoryDriver
from volflow.testing.invariants import violations

CALL_SECONDS = 300


class Bent(Clock):
    """A clock that is ahead by as much as a test wants; its wall clock may jump, too."""

    def __init__(self) -> None:
        self.ahead = self.jumped = 0.0

    def microseconds(self) -> int:
        return super().microseconds() + int((self.ahead + self.jumped) * 1e6)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@pytest.fixture
def clock() -> Bent:
    return Bent()


@pytest.fixture
def manager(open_manager: OpenManager, clock: Bent) -> VolumeManager:
    return open_manager(clock=clock, driver_call_seconds=CALL_SECONDS)


def export_late(backend: MemoryDriver, volume: Volume, *hosts: dict[str, str]) -> None:
    """Let a request have its effect that had been given up."""
    known = DriverVolume(**{f.name: getattr(volume, f.name) for f in fields(Volume)})
    backend.create_export(None, known, HOST_A)
    for host in hosts:
        backend.initialize_connection(known, host)


def fail(manager: VolumeManager, context: RequestContext, volume: Volume) -> None:
    with pytest.raises(exceptions.DriverError, match="timed out"):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")


def test_an_export_that_comes_after_its_rollback_is_removed(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    faulty: FaultyDriver,
    clock: Bent,
    volume: Volume,
) -> None:
    """When it comes after the last look but one, and before the last one."""
    faulty.faults.append(Fault("create_export", "before", TimeoutError("timed out")))
    fail(manager, context, volume)
    clock.ahead = CALL_SECONDS - 5
    assert RecoveryReport() == manager.recover()
    export_late(backend, volume, HOST_A)

    clock.ahead = CALL_SECONDS + 1
    report = manager.recover()

    assert 1 == len(report.cleaned)
    assert {} == backend.exports
    assert RecoveryReport() == manager.recover()
    assert [] == violations(manager, backend, "lab")


def test_access_that_comes_late_beside_another_attachment_is_taken_away(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    faulty: FaultyDriver,
    clock: Bent,
    shared: Volume,
) -> None:
    """And that of the other attachment stays."""
    manager.attach_volume(context, shared.id, HOST_A, host_name="a")
    faulty.faults.append(Fault("initialize_connection", "before", TimeoutError("timed out")))
    with pytest.raises(exceptions.DriverError, match="timed out"):
        manager.attach_volume(context, shared.id, HOST_B, host_name="b")
    backend.acls[shared.id].add(KEY_B)
    clock.ahead = CALL_SECONDS + 1
    manager.recover()
    assert {KEY_A} == backend.acls[shared.id]


def test_a_late_removal_is_made_good(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    faulty: FaultyDriver,
    clock: Bent,
    attached: Volume,
) -> None:
    """When a detach fails and comes back, and then its request has its effect."""
    faulty.faults.append(Fault("terminate_connection", "before", TimeoutError("timed out")))
    with pytest.raises(exceptions.DriverError, match="timed out"):
        manager.detach_volume(context, attached.id)
    backend.acls[attached.id].clear()
    clock.ahead = CALL_SECONDS + 1
    manager.recover()
    assert {KEY_A} == backend.acls[attached.id]


def test_a_late_export_that_is_in_use_is_left_and_named(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    faulty: FaultyDriver,
    clock: Bent,
    volume: Volume,
) -> None:
    faulty.faults.append(Fault("create_export", "before", TimeoutError("timed out")))
    fail(manager, context, volume)
    export_late(backend, volume, HOST_A)
    backend.sessions[volume.id] = [KEY_A]
    clock.ahead = CALL_SECONDS + 1

    (named,) = manager.recover().needs_attention

    error = manager.get_operation(context, named).error
    assert error is not None
    assert "ConnectionInUse" == error.class_name
    assert volume.id in backend.exports
    assert "available" == manager.get_volume(context, volume.id).status
    backend.logout(volume.id, KEY_A)
    clock.ahead += 3600
    manager.recover()
    assert {} == backend.exports


@pytest.mark.sqlite
def test_credentials_that_a_late_request_brought_back_are_replaced(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    faulty: FaultyDriver,
    clock: Bent,
    volume: Volume,
) -> None:
    """When the volume is attached anew before the request of its first attach has its effect."""
    faulty.faults.append(Fault("create_export", "before", TimeoutError("timed out")))
    fail(manager, context, volume)
    attachment = manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    assert RecoveryReport() == manager.recover()
    backend.exports[volume.id] = "CHAP stale account"
    clock.ahead = CALL_SECONDS + 1

    assert 1 == len(manager.recover().cleaned)

    assert attachment.connection_info is not None
    backend.login(attachment.connection_info, KEY_A)
    assert RecoveryReport() == manager.recover()


@pytest.mark.sqlite
def test_a_clock_that_jumps_ahead_does_not_end_a_doubt(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    faulty: FaultyDriver,
    clock: Bent,
    volume: Volume,
) -> None:
    """When it jumps past the limit of the call, and only then the call has its effect."""
    faulty.faults.append(Fault("create_export", "before", TimeoutError("timed out")))
    fail(manager, context, volume)
    attachment = manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    clock.jumped = 2 * CALL_SECONDS
    assert RecoveryReport() == manager.recover()
    backend.exports[volume.id] = "CHAP stale account"
    clock.ahead = CALL_SECONDS + 1

    assert 1 == len(manager.recover().cleaned)

    assert attachment.connection_info is not None
    backend.login(attachment.connection_info, KEY_A)
    assert RecoveryReport() == manager.recover()


def test_an_export_by_hand_is_taken_away(
    manager: VolumeManager, backend: MemoryDriver, volume: Volume
) -> None:
    """Whoever made it: no attachment needs it, and nobody is logged in."""
    export_late(backend, volume)
    assert 1 == len(manager.recover().cleaned)
    assert {} == backend.exports


def test_what_is_not_ours_is_left(
    manager: VolumeManager, backend: MemoryDriver, volume: Volume
) -> None:
    """An export of a volume that the database never had may be another installation's."""
    backend.volumes[UNKNOWN] = 1
    export_late(backend, replace(volume, id=UNKNOWN), HOST_A)
    assert RecoveryReport() == manager.recover()
    assert UNKNOWN in backend.exports


def test_a_volume_is_compared_after_a_takeover(
    open_manager: OpenManager,
    context: RequestContext,
    backend: MemoryDriver,
    faulty: FaultyDriver,
    clock: Bent,
) -> None:
    """A dead process's request may have its effect after its successor has cleaned up."""
    first = open_manager(clock=clock, driver_call_seconds=CALL_SECONDS)
    volume = first.create_volume(context, size_gib=1, backend="lab")
    faulty.faults.append(Fault("create_export", "before", Crash))
    with suppress(Crash):
        first.attach_volume(context, volume.id, HOST_A, host_name="a")
    second = open_manager(clock=clock, driver_call_seconds=CALL_SECONDS)
    assert 1 == len(second.recover().resumed)
    second.detach_volume(context, volume.id)
    export_late(backend, volume)
    clock.ahead = CALL_SECONDS + 1
    second.recover()
    assert {} == backend.exports


def test_the_doubt_of_a_run_whose_last_commit_was_refused_is_taken_over(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    faulty: FaultyDriver,
    clock: Bent,
    volume: Volume,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When it could not write its doubt down, but gave its operation up to others."""
    faulty.faults.append(Fault("create_export", "before", TimeoutError("timed out")))
    with monkeypatch.context() as patch:
        patch.setattr(UnitOfWork, "commit", _refuse_the_last(UnitOfWork.commit))
        with pytest.raises(exceptions.DatabaseError, match="disk is full"):
            manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    assert 1 == len(manager.recover().rolled_back)
    attachment = manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    assert RecoveryReport() == manager.recover()
    backend.exports[volume.id] = "CHAP stale account"
    clock.ahead = CALL_SECONDS + 1

    manager.recover()

    assert attachment.connection_info is not None
    backend.login(attachment.connection_info, KEY_A)


def _refuse_the_last(commit: Callable[..., None]) -> Callable[..., None]:
    def refuse(work: UnitOfWork, release: bool = False) -> None:
        if release:
            raise exceptions.DatabaseError("disk is full")
        commit(work, release)

    return refuse


def test_a_failed_repair_does_not_end_the_doubt(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    faulty: FaultyDriver,
    clock: Bent,
    attached: Volume,
) -> None:
    """Its own request may have its effect after the volume was repaired, and even detached."""
    backend.restart_target()
    faulty.faults.append(Fault("ensure_export", "before", TimeoutError("timed out")))
    assert 1 == len(manager.recover().needs_attention)
    assert 1 == len(manager.recover().cleaned)
    manager.detach_volume(context, attached.id)
    export_late(backend, attached)
    clock.ahead = CALL_SECONDS + 1
    manager.recover()
    assert {} == backend.exports
