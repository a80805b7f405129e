"""A host attaches a volume and logs in to it as one operation: all of it, or nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from tests.contract.conftest import OpenManager
from tests.contract.lab import HOST_B, INSTANCE_1, INSTANCE_2, new_id
from volflow import Operation, RequestContext, Volume, VolumeManager, exceptions
from volflow.drivers.base import Export
from volflow.models import RecoveryReport
from volflow.testing import Crash, Fault, FaultyDriver, MemoryDriver, MemoryHost
from volflow.testing.invariants import violations

KEY = "iqn.2004-10.org.example:a"


@pytest.fixture
def side(backend: MemoryDriver) -> FaultyDriver:
    """The side of host a; it refuses what the test puts into its ``faults``."""
    return FaultyDriver(MemoryHost(backend))


@pytest.fixture
def manager(open_manager: OpenManager, side: FaultyDriver) -> VolumeManager:
    return open_manager(host=side)


@pytest.fixture
def connected(manager: VolumeManager, context: RequestContext, volume: Volume) -> Volume:
    """A volume that host a is logged in to."""
    manager.connect_volume(context, volume.id)
    return manager.get_volume(context, volume.id)


def test_a_host_gets_its_disk_and_gives_it_back(
    manager: VolumeManager, context: RequestContext, backend: MemoryDriver, volume: Volume
) -> None:
    found = manager.connect_volume(context, volume.id, instance_uuid=INSTANCE_1, mode="ro")

    assert f"/dev/disk/by-id/{volume.id}" == found.mountpoint
    assert ("a", INSTANCE_1, "ro") == (found.attached_host, found.instance_uuid, found.attach_mode)
    assert {volume.id: [KEY]} == backend.sessions
    assert "in-use" == manager.get_volume(context, volume.id).status

    ended = manager.disconnect_volume(context, volume.id)

    assert "available" == ended.status
    assert {} == backend.exports
    assert {} == backend.sessions


def test_the_same_call_is_done_once(
    manager: VolumeManager, context: RequestContext, side: FaultyDriver, volume: Volume
) -> None:
    """Each of the two; also when it comes again after it has ended."""
    first, second = new_id(), new_id()
    made = [manager.connect_volume(context, volume.id, operation_id=first) for _ in range(2)]
    assert made[0] == made[1]
    ended = [manager.disconnect_volume(context, volume.id, operation_id=second) for _ in range(2)]
    assert ended[0] == ended[1]
    assert 1 == side.calls.count("connect_volume")
    assert 1 == side.calls.count("disconnect_volume")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_host_that_finds_no_disk_leaves_nothing(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    side: FaultyDriver,
    volume: Volume,
    when: str,
) -> None:
    """When it fails before it has logged in, and after."""
    side.faults.append(Fault("connect_volume", when, RuntimeError("no such device")))
    with pytest.raises(exceptions.ConnectionFailed, match=r"on host a failed.*no such device"):
        manager.connect_volume(context, volume.id)
    assert "available" == manager.get_volume(context, volume.id).status
    assert {} == backend.sessions
    assert {} == backend.exports


def test_a_host_that_cannot_say_who_it_is_changes_nothing(
    manager: VolumeManager, context: RequestContext, side: FaultyDriver, volume: Volume
) -> None:
    side.faults.append(Fault("connector", "before", OSError("no /etc/iscsi/initiatorname.iscsi")))
    with pytest.raises(exceptions.ConnectionFailed, match="host a cannot say who it is"):
        manager.connect_volume(context, volume.id)
    assert ["create"] == [o.kind for o in manager.list_operations(context, volume_id=volume.id)]


def test_the_error_of_a_host_names_no_secret(
    manager: VolumeManager, context: RequestContext, side: FaultyDriver, volume: Volume
) -> None:
    """When its connector quotes the command that it ran."""

    def failing(info: Any) -> Any:
        raise RuntimeError(f"iscsiadm --password={info['data']['auth_password']} failed")

    side.driver.connect_volume = failing
    with pytest.raises(exceptions.ConnectionFailed) as caught:
        manager.connect_volume(context, volume.id)
    assert "--password=*** failed" in str(caught.value)


def test_a_refused_detach_brings_the_disk_back(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    faulty: FaultyDriver,
    connected: Volume,
) -> None:
    faulty.faults.append(Fault("remove_export", "before", exceptions.ExportFailed("busy")))
    with pytest.raises(exceptions.ExportFailed, match="busy"):
        manager.disconnect_volume(context, connected.id)
    assert "in-use" == manager.get_volume(context, connected.id).status
    assert [KEY] == backend.sessions[connected.id]


def dies(
    manager: VolumeManager, context: RequestContext, side: FaultyDriver, volume: Volume
) -> Operation:
    """Let the host's process die just after it has logged in."""
    side.faults.append(Fault("connect_volume", "after", Crash))
    key = new_id()
    with suppress(Crash):
        manager.connect_volume(context, volume.id, operation_id=key)
    return manager.get_operation(context, key)


def test_the_death_of_its_process_leaves_neither_session_nor_reservation(
    manager: VolumeManager,
    open_manager: OpenManager,
    context: RequestContext,
    backend: MemoryDriver,
    side: FaultyDriver,
    volume: Volume,
) -> None:
    """When another process of the host recovers: nobody is there any more who wanted the disk."""
    died = dies(manager, context, side, volume)

    report = open_manager(host=MemoryHost(backend)).recover()

    assert (died.id,) == report.rolled_back
    assert "available" == manager.get_volume(context, volume.id).status
    assert {} == backend.sessions
    assert [] == violations(manager, backend, "lab")
    with pytest.raises(exceptions.InvalidVolume, match="process that began it has died"):
        manager.connect_volume(context, volume.id, operation_id=died.id)


def test_another_host_does_not_cut_a_disk_that_is_in_use(
    manager: VolumeManager,
    open_manager: OpenManager,
    context: RequestContext,
    backend: MemoryDriver,
    side: FaultyDriver,
    volume: Volume,
) -> None:
    """It names the operation, which a process of the host ends later."""
    died = dies(manager, context, side, volume)
    elsewhere = open_manager(host=MemoryHost(backend, "b"))

    report = elsewhere.recover()

    assert (died.id,) == report.needs_attention
    assert [KEY] == backend.sessions[volume.id]
    error = manager.get_operation(context, died.id).error
    assert error is not None
    open_manager(host=MemoryHost(backend)).recover()
    assert {} == backend.sessions
    assert "available" == manager.get_volume(context, volume.id).status
    assert [] == violations(manager, backend, "lab")


def test_another_host_cleans_up_after_one_that_is_gone(
    manager: VolumeManager,
    open_manager: OpenManager,
    context: RequestContext,
    backend: MemoryDriver,
    side: FaultyDriver,
    volume: Volume,
) -> None:
    """When it was restarted, say: the backend tells that nobody is logged in."""
    died = dies(manager, context, side, volume)
    backend.logout(volume.id, KEY)
    assert (died.id,) == open_manager().recover().rolled_back
    assert [] == violations(manager, backend, "lab")


def test_a_detach_that_died_is_ended_by_the_host(
    manager: VolumeManager,
    open_manager: OpenManager,
    context: RequestContext,
    backend: MemoryDriver,
    side: FaultyDriver,
    connected: Volume,
) -> None:
    """Or by another one where the host had logged out."""
    side.faults.append(Fault("disconnect_volume", "after", Crash))
    with suppress(Crash):
        manager.disconnect_volume(context, connected.id)
    assert 1 == len(open_manager().recover().resumed)
    assert "available" == manager.get_volume(context, connected.id).status
    assert {} == backend.exports


class Silent(MemoryDriver):
    """A backend that cannot tell who is logged in."""

    def list_exports(self) -> list[Export]:
        return [Export(e.volume_id, e.initiators, None) for e in super().list_exports()]


def test_a_backend_that_cannot_tell_believes_the_host(
    open_manager: OpenManager, context: RequestContext, side: FaultyDriver
) -> None:
    """When the host has logged out, what it was given is taken back."""
    silent = Silent()
    host = FaultyDriver(MemoryHost(silent))
    host.faults.append(Fault("connect_volume", "after", RuntimeError("no such device")))
    manager = open_manager(drivers={"silent": silent}, host=host)
    volume = manager.create_volume(context, size_gib=1, backend="silent")
    with pytest.raises(exceptions.ConnectionFailed, match="no such device"):
        manager.connect_volume(context, volume.id)
    assert {} == silent.exports
    assert RecoveryReport() == manager.recover()


def test_a_host_gives_back_its_own_only(
    manager: VolumeManager, context: RequestContext, backend: MemoryDriver, shared: Volume
) -> None:
    """When another host has the volume, too, or alone."""
    other = manager.attach_volume(context, shared.id, HOST_B, host_name="b")
    with pytest.raises(exceptions.InvalidVolume, match="host a has no attachment"):
        manager.disconnect_volume(context, shared.id, other.id)
    manager.connect_volume(context, shared.id)

    assert "in-use" == manager.disconnect_volume(context, shared.id).status

    assert [other.id] == [a.id for a in manager.list_attachments(context, shared.id)]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_second_attachment_of_the_host_that_fails_leaves_the_first_its_disk(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    side: FaultyDriver,
    shared: Volume,
    when: str,
) -> None:
    manager.connect_volume(context, shared.id, instance_uuid=INSTANCE_1)
    side.faults.append(Fault("connect_volume", when, RuntimeError("no such device")))
    with pytest.raises(exceptions.ConnectionFailed):
        manager.connect_volume(context, shared.id, instance_uuid=INSTANCE_2)
    assert [KEY] == backend.sessions[shared.id]
    assert 1 == len(manager.list_attachments(context, shared.id))


def test_the_last_attachment_of_the_host_takes_the_disk_along(
    manager: VolumeManager, context: RequestContext, backend: MemoryDriver, shared: Volume
) -> None:
    """And none before it, whichever goes first."""
    first = manager.connect_volume(context, shared.id, instance_uuid=INSTANCE_1)
    second = manager.connect_volume(context, shared.id, instance_uuid=INSTANCE_2)
    with pytest.raises(exceptions.InvalidVolume):
        manager.disconnect_volume(context, shared.id)
    manager.disconnect_volume(context, shared.id, first.id)
    assert [KEY] == backend.sessions[shared.id]
    manager.disconnect_volume(context, shared.id, second.id)
    assert {} == backend.sessions


def test_a_volume_that_the_host_does_not_have_is_not_disconnected(
    manager: VolumeManager, context: RequestContext, volume: Volume
) -> None:
    """When another host has it alone, or nobody."""
    with pytest.raises(exceptions.InvalidVolume):
        manager.disconnect_volume(context, volume.id)
    manager.attach_volume(context, volume.id, HOST_B, host_name="b")
    with pytest.raises(exceptions.InvalidVolume, match="host a has no attachment"):
        manager.disconnect_volume(context, volume.id)


def test_a_manager_without_a_host_says_so(
    open_manager: OpenManager, context: RequestContext, volume: Volume
) -> None:
    with pytest.raises(exceptions.InvalidInput, match="no host"):
        open_manager().connect_volume(context, volume.id)
    with pytest.raises(exceptions.InvalidInput, match="no host"):
        open_manager().disconnect_volume(context, volume.id)
