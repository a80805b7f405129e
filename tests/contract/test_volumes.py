"""Volumes: made, listed, deleted, put into maintenance."""

from __future__ import annotations

import pytest

from tests.contract.lab import (
    HOST_A,
    HOST_B,
    INSTANCE_2,
    UNKNOWN,
    new_id,
    nothing_changes,
    refused,
)
from volflow import exceptions
from volflow.testing import Fault


def test_a_new_volume_is_available_and_on_its_backend(manager, context, backend):
    """When a volume is made, it has what was asked for, and the driver has made it."""
    made = manager.create_volume(
        context,
        size_gib=3,
        backend="lab",
        name="data",
        multiattach=True,
        readonly=True,
        qos_specs={"total_iops_sec": 100},
        encryption_key_id=UNKNOWN,
    )

    assert (made.name, made.size_gib, made.backend) == ("data", 3, "lab")
    assert (made.status, made.attach_status) == ("available", "detached")
    assert (made.multiattach, made.readonly) == (True, True)
    assert (made.qos_specs, made.encryption_key_id) == ({"total_iops_sec": 100}, UNKNOWN)
    assert made.operation_id is None
    assert {made.id: 3} == backend.volumes
    assert made == manager.get_volume(context, made.id)


def test_a_volume_without_options_has_the_defaults(manager, context):
    """When only size and backend are given, the rest is as documented."""
    made = manager.create_volume(context, size_gib=1, backend="lab")

    assert (made.name, made.multiattach, made.readonly) == (None, False, False)
    assert (made.qos_specs, made.encryption_key_id) == (None, None)
    assert made.provider_location is None


def test_a_volume_gets_the_id_of_its_caller(manager, context):
    """When the caller names a UUID, the volume has it."""
    wanted = new_id()

    made = manager.create_volume(context, size_gib=1, backend="lab", volume_id=wanted)

    assert wanted == made.id


def test_a_creation_repeated_with_its_id_returns_the_same_volume(manager, context, driver):
    """When the reply was lost and the call is repeated, nothing is made twice."""
    options = {"size_gib": 1, "backend": "lab", "name": "n", "volume_id": new_id()}
    first = manager.create_volume(context, **options)
    driver.forget()

    assert first == manager.create_volume(context, **options)
    assert driver.names == []
    assert [first] == manager.list_volumes(context)


def test_a_creation_without_an_id_makes_a_second_volume(manager, context, backend):
    """When the call is repeated without an id, there are two volumes."""
    first, second = (manager.create_volume(context, size_gib=1, backend="lab") for _ in "12")

    assert {first.id, second.id} == set(backend.volumes)
    assert first.id != second.id


def test_an_id_used_for_another_volume_is_a_conflict(manager, context, backend, volume):
    """When the id comes back with other arguments, nothing is done."""
    with refused(manager, backend, exceptions.OperationConflict):
        manager.create_volume(context, size_gib=2, backend="lab", volume_id=volume.id)


def test_a_volume_of_an_unknown_backend_is_not_found(manager, context, backend):
    """When no driver of this process serves the backend, nothing is done."""
    with refused(manager, backend, exceptions.BackendNotFound):
        manager.create_volume(context, size_gib=1, backend="elsewhere")


def test_a_model_update_of_the_creation_is_recorded(manager, context, driver, monkeypatch):
    """When the driver's create_volume returns a location, the volume has it."""
    monkeypatch.setattr(
        driver,
        "create_volume",
        lambda context, volume: {"provider_location": "shelf 7"},
        raising=False,
    )

    made = manager.create_volume(context, size_gib=1, backend="lab")

    assert made.provider_location == "shelf 7"
    assert manager.get_volume(context, made.id).provider_location == "shelf 7"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", [exceptions.DriverError, ValueError])
def test_a_creation_that_the_backend_refuses_leaves_nothing(
    manager, context, backend, faulty, when, kind
):
    """When create_volume fails before or after its effect, the caller hears it; nothing stays."""
    faulty.faults = [Fault("create_volume", when, kind("no space in the pool"))]

    with pytest.raises(exceptions.DriverError, match="no space in the pool"):
        manager.create_volume(context, size_gib=1, backend="lab")

    assert backend.volumes == {}
    assert manager.list_volumes(context) == []


def test_a_creation_refused_once_can_be_repeated_without_an_id(manager, context, backend, faulty):
    """When the backend refuses and later does not, a new call makes a volume."""
    faulty.faults = [Fault("create_volume", "before", exceptions.DriverError("busy"))]
    with pytest.raises(exceptions.DriverError):
        manager.create_volume(context, size_gib=1, backend="lab")

    assert manager.create_volume(context, size_gib=1, backend="lab").status == "available"


def test_volumes_are_listed_by_status_and_backend(open_manager, context, driver):
    """When a filter is given, only what fits is listed."""
    manager = open_manager(drivers={"lab": driver, "other": driver})
    one = manager.create_volume(context, size_gib=1, backend="lab")
    two = manager.create_volume(context, size_gib=1, backend="other")
    three = manager.set_maintenance(
        context, manager.create_volume(context, size_gib=1, backend="lab").id, True
    )

    def ids(**filters):
        return {v.id for v in manager.list_volumes(context, **filters)}

    assert {one.id, two.id, three.id} == ids()
    assert {one.id, three.id} == ids(backend="lab")
    assert {three.id} == ids(status="maintenance")
    assert {one.id} == ids(status="available", backend="lab")
    assert set() == ids(status="error")


@pytest.mark.parametrize("page", [1, 2, 3])
def test_pages_of_volumes_hold_each_volume_once(manager, context, page):
    """When a program goes on from the last id of a page, it sees every volume, none twice."""
    made = {manager.create_volume(context, size_gib=1, backend="lab").id for _ in range(5)}
    seen, marker = [], None
    while found := manager.list_volumes(context, limit=page, marker=marker):
        assert len(found) <= page
        seen += [v.id for v in found]
        marker = found[-1].id

    assert made == set(seen)
    assert len(made) == len(seen)


def test_a_deleted_volume_is_gone(manager, context, backend, volume):
    """When an available volume is deleted, neither the backend nor a query has it."""
    assert manager.delete_volume(context, volume.id) is None

    assert backend.volumes == {}
    assert manager.list_volumes(context) == []
    with pytest.raises(exceptions.VolumeNotFound):
        manager.get_volume(context, volume.id)


def test_a_volume_in_use_is_not_deleted(manager, context, backend, attached):
    """When it has an attachment, InvalidVolume names its state."""
    with refused(manager, backend, exceptions.InvalidVolume) as caught:
        manager.delete_volume(context, attached.id)

    assert "in-use" in str(caught.value)


@pytest.mark.parametrize("status", ["attaching", "detaching", "maintenance"])
def test_a_volume_in_another_state_is_not_deleted(
    manager, context, backend, volume, status, request
):
    """When it is neither available nor in error, InvalidVolume names its state."""
    if status == "attaching":
        manager.reserve_volume(context, volume.id)
    elif status == "maintenance":
        manager.set_maintenance(context, volume.id, True)
    else:
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")
        manager.begin_detaching(context, volume.id)

    with refused(manager, backend, exceptions.InvalidVolume) as caught:
        manager.delete_volume(context, volume.id)

    assert status in str(caught.value)


def test_an_unknown_volume_is_not_deleted(manager, context, backend):
    """When nothing has the id, VolumeNotFound."""
    with refused(manager, backend, exceptions.VolumeNotFound):
        manager.delete_volume(context, UNKNOWN)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", [exceptions.DriverError, ValueError])
def test_a_deletion_that_the_backend_refuses_can_be_repeated(
    manager, context, backend, faulty, volume, when, kind
):
    """When delete_volume fails, the volume is not stuck, and the next call deletes it."""
    faulty.faults = [Fault("delete_volume", when, kind("busy"))]
    with pytest.raises(exceptions.DriverError, match="busy"):
        manager.delete_volume(context, volume.id)
    left = manager.get_volume(context, volume.id)
    assert left.status in ("available", "error")
    assert left.operation_id is None

    manager.delete_volume(context, volume.id)

    assert backend.volumes == {}
    assert manager.list_volumes(context) == []


def test_attachments_are_listed_by_volume_and_history_only_on_demand(manager, context, shared):
    """When one of two is detached, the live list has the other and the history both."""
    first = manager.attach_volume(context, shared.id, HOST_A, host_name="a")
    second = manager.attach_volume(context, shared.id, HOST_B, host_name="b")
    other = manager.create_volume(context, size_gib=1, backend="lab")
    third = manager.attach_volume(context, other.id, HOST_B, host_name="b")
    manager.detach_volume(context, shared.id, first.id)

    def ids(*arguments, **options):
        return {a.id for a in manager.list_attachments(context, *arguments, **options)}

    assert {second.id, third.id} == ids()
    assert {second.id} == ids(shared.id)
    assert {first.id, second.id} == ids(shared.id, live=False)
    assert {first.id, second.id, third.id} == ids(live=False)


def test_a_detached_attachment_is_kept_as_history(manager, context, attached):
    """When an attachment is detached, it can still be read, with both times."""
    (before,) = manager.list_attachments(context, attached.id)
    manager.detach_volume(context, attached.id)

    after = manager.get_attachment(context, before.id)

    assert (after.attach_status, after.attached_at) == ("detached", before.attached_at)
    assert after.detached_at >= after.attached_at


def test_maintenance_keeps_a_volume_from_being_used(manager, context, backend, volume):
    """When a volume is in maintenance, it cannot be reserved; afterwards it can."""
    assert manager.set_maintenance(context, volume.id, True).status == "maintenance"
    with refused(manager, backend, exceptions.InvalidVolume):
        manager.reserve_volume(context, volume.id)
    with refused(manager, backend, exceptions.InvalidVolume):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    assert manager.set_maintenance(context, volume.id, False).status == "available"
    assert manager.reserve_volume(context, volume.id).status == "attaching"


def test_a_volume_in_use_does_not_go_into_maintenance(manager, context, backend, attached):
    """When a volume is in use, set_maintenance is refused."""
    with refused(manager, backend, exceptions.InvalidVolume):
        manager.set_maintenance(context, attached.id, True)


def test_a_reserved_volume_does_not_go_into_maintenance(manager, context, backend, volume):
    """When a volume is attaching, set_maintenance is refused, in both directions."""
    manager.reserve_volume(context, volume.id)

    for on in (True, False):
        with refused(manager, backend, exceptions.InvalidVolume):
            manager.set_maintenance(context, volume.id, on)


def test_a_query_changes_nothing(manager, context, backend, attached):
    """When a program only looks, nothing is written."""
    (attachment,) = manager.list_attachments(context, attached.id)
    (*_, operation) = manager.list_operations(context)

    with nothing_changes(manager, backend):
        manager.get_volume(context, attached.id)
        manager.get_attachment(context, attachment.id)
        manager.get_operation(context, operation.id)
        manager.wait(operation.id, timeout=0)


def test_creation_and_deletion_are_operations_too(manager, context, volume):
    """When a volume is made and deleted, each was an operation that succeeded."""
    manager.delete_volume(context, volume.id)

    kinds = [(o.kind, o.state) for o in manager.list_operations(context, volume_id=volume.id)]

    assert [("create", "succeeded"), ("delete", "succeeded")] == kinds


def test_another_instance_may_follow_after_a_detach(manager, context, attached):
    """When a volume was detached, it is as good as new."""
    manager.detach_volume(context, attached.id)

    again = manager.attach_volume(context, attached.id, HOST_B, instance_uuid=INSTANCE_2)

    assert (again.instance_uuid, again.attach_status) == (INSTANCE_2, "attached")
