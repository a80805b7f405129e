"""Attach and detach through VolumeManager, with hosts that really log in."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.lab.guest import kernel
from tests.lab.guest.backends import Lab
from tests.lab.guest.hosts import Refused, wait_for
from volflow import RequestContext, VolumeManager
from volflow.exceptions import ConnectionInUse
from volflow.testing.invariants import violations

CONTEXT = RequestContext(overwrite=False)
BACKEND = "lab"
PATTERN = bytes(range(256)) * 1024

everywhere = pytest.mark.parametrize(
    "lab", ["lvm-lio", "thin-lio", "lvm-tgt", "file-lio", "lvm-nvmet"], indirect=True
)


@pytest.fixture
def manager(lab: Lab) -> Iterator[VolumeManager]:
    url = f"sqlite:///{lab.directory / 'volflow.db'}"
    with VolumeManager(url, {BACKEND: lab.real}, recover=False) as manager:
        yield manager
        assert violations(manager, lab.real, BACKEND) == []


@everywhere
def test_a_volume_is_attached_written_detached_and_keeps_its_data(
    lab: Lab, manager: VolumeManager
) -> None:
    """When a volume moves from one host to another, the other reads what the first wrote."""
    volume = manager.create_volume(CONTEXT, 1, BACKEND)
    first = manager.attach_volume(CONTEXT, volume.id, lab.alice.connector, host_name="a")
    assert first.connection_info is not None
    lab.alice.log_in(first.connection_info).write(PATTERN)
    lab.alice.log_out(lab.name_of(first.connection_info))
    manager.detach_volume(CONTEXT, volume.id)
    assert lab.driver.list_exports() == []
    with pytest.raises(Refused):
        lab.alice.log_in(first.connection_info)

    second = manager.attach_volume(CONTEXT, volume.id, lab.bob.connector, host_name="b")

    assert second.connection_info is not None
    disk = lab.bob.log_in(second.connection_info)
    assert disk.read(len(PATTERN)) == PATTERN
    lab.bob.log_out(lab.name_of(second.connection_info))
    manager.detach_volume(CONTEXT, volume.id)
    manager.delete_volume(CONTEXT, volume.id)
    assert kernel.tree() == []


@pytest.mark.parametrize("lab", ["lvm-lio", "file-nvmet"], indirect=True)
def test_a_multiattach_volume_survives_the_detach_of_one(lab: Lab, manager: VolumeManager) -> None:
    """When one of two hosts detaches, the other's session and I/O go on."""
    volume = manager.create_volume(CONTEXT, 1, BACKEND, multiattach=True)
    alice = manager.attach_volume(
        CONTEXT, volume.id, lab.alice.connector, instance_uuid=str(uuid.uuid4())
    )
    bob = manager.attach_volume(
        CONTEXT, volume.id, lab.bob.connector, instance_uuid=str(uuid.uuid4())
    )
    assert alice.connection_info is not None
    disk = lab.alice.log_in(alice.connection_info)
    disk.write(PATTERN)
    getattr(lab.bob, "connect", lab.bob.log_in)(bob.connection_info)

    manager.detach_volume(CONTEXT, volume.id, bob.id)

    assert disk.read(len(PATTERN)) == PATTERN
    assert lab.alice.sessions(lab.name_of(alice.connection_info)) in (["LOGGED_IN"], ["live"])
    assert lab.acl_of(volume.id) == {lab.driver.initiator_of(lab.alice.connector)}
    lab.alice.log_out(lab.name_of(alice.connection_info))
    manager.detach_volume(CONTEXT, volume.id, alice.id)
    manager.delete_volume(CONTEXT, volume.id)


@pytest.mark.parametrize("lab", ["file-lio"], indirect=True)
def test_an_undo_waits_for_a_host_that_is_logged_in(lab: Lab, manager: VolumeManager) -> None:
    """When a caller gives up while its host is logged in, nothing is cut until it logs out."""
    volume = manager.create_volume(CONTEXT, 1, BACKEND)
    manager.reserve_volume(CONTEXT, volume.id)
    info = manager.initialize_connection(CONTEXT, volume.id, lab.alice.connector)
    disk = lab.alice.log_in(info)
    with pytest.raises(ConnectionInUse):
        manager.unreserve_volume(CONTEXT, volume.id)
    disk.write(PATTERN)
    assert disk.read(len(PATTERN)) == PATTERN

    lab.alice.log_out(lab.name_of(info))
    wait_for("the end of the session", lambda: lab.driver.list_exports()[0].sessions == ())
    manager.recover()

    assert manager.get_volume(CONTEXT, volume.id).status == "available"
    assert kernel.tree() == []
    manager.delete_volume(CONTEXT, volume.id)
