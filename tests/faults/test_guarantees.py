"""The eight guarantees, each by the shortest story that would break it.

The exhaustive suites find more; this one tells at a glance which promise is broken.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.contract.lab import HOST_A, HOST_B, KEY_A, KEY_B, Call, Gate, files_with, is_settled
from volflow import RequestContext, Volume, VolumeManager, exceptions
from volflow.coordination import VolumeLock
from volflow.testing import Crash, Fault, FaultyDriver, MemoryDriver, pause_heartbeat
from volflow.testing.invariants import violations

KEY = "5f0c5f2a-0001-4000-8000-000000000001"


@pytest.fixture
def stalled(
    open_manager: Any,
    driver: Any,
    context: RequestContext,
    volume: Volume,
) -> Iterator[tuple[Gate, Call, VolumeManager]]:
    """An attach that stands still in a driver call while its lease ends; and another process."""
    gate = Gate()
    driver.on["initialize_connection"] = gate.stop
    first = open_manager(lease_seconds=0.2)
    pause_heartbeat(first)
    call = Call(first.attach_volume, context, volume.id, HOST_A, host_name="a", operation_id=KEY)
    gate.wait()
    yield gate, call, open_manager()
    gate.opened.set()
    call.outcome()


def lose_lease(other: VolumeManager) -> None:
    """Let the stalled run's lease have ended, by the database's clock."""
    other.database.write(
        lambda c: c.execute(
            text("UPDATE operations SET lease_expires_at = 1 WHERE id = :id"), {"id": KEY}
        )
    )


def test_g1_a_dead_process_leaves_no_volume_stuck(
    open_manager: Any,
    context: RequestContext,
    backend: MemoryDriver,
    faulty: FaultyDriver,
) -> None:
    dies = open_manager()
    made = dies.create_volume(context, size_gib=1, backend="lab")
    faulty.faults.append(Fault("initialize_connection", "after", Crash))
    with suppress(Crash):
        dies.attach_volume(context, made.id, HOST_A, host_name="a", operation_id=KEY)
    survivor = open_manager()
    survivor.recover()
    assert is_settled(survivor, KEY), "G1: the operation of a dead process is never settled"
    assert [] == violations(survivor, backend, "lab")


def test_g1_a_repeated_undo_is_none_too_many(
    open_manager: Any,
    context: RequestContext,
    backend: MemoryDriver,
    faulty: FaultyDriver,
) -> None:
    """When the process dies after an effect and before its record, the effect is made again."""
    dies = open_manager()
    made = dies.create_volume(context, size_gib=1, backend="lab")
    dies.attach_volume(context, made.id, HOST_A, host_name="a")
    faulty.faults.append(Fault("remove_export", "after", Crash))
    with suppress(Crash):
        dies.detach_volume(context, made.id, operation_id=KEY)
    survivor = open_manager()
    survivor.recover()
    state = survivor.get_operation(context, KEY)
    assert "succeeded" == state.state, f"G1: a repeated effect stops the operation: {state}"


def test_g2_an_effect_is_recorded_before_it_is_made(
    open_manager: Any,
    context: RequestContext,
    backend: MemoryDriver,
    faulty: FaultyDriver,
) -> None:
    dies = open_manager()
    made = dies.create_volume(context, size_gib=1, backend="lab")
    faulty.faults.append(Fault("create_export", "after", Crash))
    with suppress(Crash):
        dies.attach_volume(context, made.id, HOST_A, host_name="a", operation_id=KEY)
    survivor = open_manager()
    with suppress(exceptions.OperationNotFound):
        survivor.cancel_operation(context, KEY)
    assert {} == backend.exports, "G2: nobody knows of an export that a dead process made"


def test_g3_a_detach_leaves_the_others_their_export(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    shared: Volume,
) -> None:
    first = manager.attach_volume(context, shared.id, HOST_A, host_name="a")
    manager.attach_volume(context, shared.id, HOST_B, host_name="b")
    manager.detach_volume(context, shared.id, first.id)
    left = backend.acls.get(shared.id)
    assert {KEY_B} == left, f"G3: a detach took what another attachment needs: {left}"


def test_g3_a_detach_leaves_the_same_initiators_access(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    shared: Volume,
) -> None:
    first = manager.attach_volume(context, shared.id, HOST_A, host_name="a")
    manager.attach_volume(context, shared.id, HOST_A, instance_uuid=KEY)
    manager.detach_volume(context, shared.id, first.id)
    left = backend.acls.get(shared.id)
    assert {KEY_A} == left, f"G3: a detach took the access of an initiator that needs it: {left}"


def test_g3_nobody_works_beside_a_driver_call(
    stalled: tuple[Gate, Call, VolumeManager],
    driver: Any,
) -> None:
    """A call that goes on past its lease holds the volume's lock, and recovery leaves it."""
    _, _, other = stalled
    lose_lease(other)
    before = len(driver.heard)
    report = other.recover()
    called = [
        name
        for name, _, _ in driver.heard[before:]
        if name not in ("list_exports", "initiator_of")
    ]
    assert not called, f"G3: the driver is called for one volume by two at once: {called}"
    assert (KEY,) == report.needs_attention


def test_g3_one_volume_has_one_reservation(
    manager: VolumeManager,
    context: RequestContext,
    volume: Volume,
) -> None:
    manager.reserve_volume(context, volume.id)
    with pytest.raises(exceptions.InvalidVolume):
        manager.reserve_volume(context, volume.id)


def test_g4_a_live_session_is_not_cut_by_an_undo(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    volume: Volume,
) -> None:
    manager.reserve_volume(context, volume.id)
    info = manager.initialize_connection(context, volume.id, HOST_A)
    backend.login(info, KEY_A)
    with suppress(exceptions.ConnectionInUse):
        manager.unreserve_volume(context, volume.id)
    assert [KEY_A] == backend.sessions.get(volume.id), "G4: an undo cut a live session"


def test_g5_a_repeated_call_does_nothing_twice(
    manager: VolumeManager,
    context: RequestContext,
    driver: Any,
    volume: Volume,
) -> None:
    first = manager.attach_volume(context, volume.id, HOST_A, host_name="a", operation_id=KEY)
    driver.forget()
    try:
        again = manager.attach_volume(context, volume.id, HOST_A, host_name="a", operation_id=KEY)
    except exceptions.VolflowError as e:
        pytest.fail(f"G5: a repeated call hears {e!r}")
    assert (first.id, []) == (again.id, driver.names), "G5: a repeated call was done again"


def test_g6_a_run_that_was_replaced_commits_nothing(
    stalled: tuple[Gate, Call, VolumeManager],
    context: RequestContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even where the lock was no help, as between hosts whose lock server lost it."""
    gate, call, other = stalled
    lose_lease(other)
    with monkeypatch.context() as patched:
        patched.setattr(VolumeLock, "acquire", lambda *_: None)
        other.recover()
    before = other.get_operation(context, KEY)
    assert 2 == before.epoch
    gate.opened.set()
    heard = call.outcome()
    assert before == other.get_operation(context, KEY), "G6: a replaced run wrote something"
    assert isinstance(heard, exceptions.Fenced), f"G6: a replaced run says {heard!r}"


def test_g7_the_first_error_is_the_one_reported(
    manager: VolumeManager,
    context: RequestContext,
    faulty: FaultyDriver,
    volume: Volume,
) -> None:
    faulty.faults += [
        Fault("initialize_connection", "after", exceptions.ConnectionFailed("the first")),
        Fault("terminate_connection", "before", exceptions.ConnectionFailed("the second")),
    ]
    with pytest.raises(exceptions.RollbackIncomplete) as caught:
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    assert "the first" == str(caught.value.__cause__), "G7: another error came first"


def test_g8_no_secret_lies_open_in_the_database(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    attached: Volume,
    home: Path,
) -> None:
    secret = backend.exports[attached.id].split()[2]
    found = files_with(home, secret.encode())
    assert [] == found, f"G8: a CHAP secret can be read in {found}"


def test_g8_no_error_names_a_secret(
    manager: VolumeManager,
    context: RequestContext,
    driver: Any,
    volume: Volume,
) -> None:
    """When the backend itself says it."""
    secrets: list[str] = []

    def tell(given: Any, *_: Any) -> None:
        secrets.append(given.provider_auth.split()[2])
        raise OSError(f"wrong password {secrets[0]}")

    driver.on["initialize_connection"] = tell
    with pytest.raises(exceptions.DriverError) as caught:
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    assert secrets[0] not in repr(caught.getrepr()), "G8: an error names a secret"
