"""A volume of several hosts: what one needs, another one's attach or detach never touches."""

from __future__ import annotations

import pytest

from tests.contract.lab import (
    HOST_A,
    HOST_B,
    INSTANCE_1,
    INSTANCE_2,
    KEY_A,
    KEY_B,
    is_clean,
    refused,
)
from volflow import exceptions
from volflow.exceptions import ConnectionFailed, ExportFailed
from volflow.testing import Fault


@pytest.fixture
def one(manager, context, shared, backend, driver):
    """Host a uses the volume, and is logged in."""
    found = manager.attach_volume(context, shared.id, HOST_A, INSTANCE_1, "a")
    backend.login(found.connection_info, KEY_A)
    driver.forget()
    return found


@pytest.fixture
def two(manager, context, one, backend, driver):
    """Host b uses it, too, and is logged in."""
    found = manager.attach_volume(context, one.volume_id, HOST_B, INSTANCE_2, "b")
    backend.login(found.connection_info, KEY_B)
    driver.forget()
    return found


def test_two_hosts_share_one_export(manager, context, shared, one, two, backend, driver):
    """When a second host attaches, both log in to the same export with the same account."""
    assert one.id != two.id
    assert one.connection_info["data"] == two.connection_info["data"]
    assert {KEY_A, KEY_B} == backend.acls[shared.id]
    assert {KEY_A, KEY_B} == set(backend.sessions[shared.id])
    assert {one.id, two.id} == {a.id for a in manager.list_attachments(context, shared.id)}
    found = manager.get_volume(context, shared.id)
    assert (found.status, found.attach_status) == ("in-use", "attached")


def test_the_export_is_made_once(manager, context, shared, one, driver):
    """When an export is known, create_export is not called for the second host."""
    manager.attach_volume(context, shared.id, HOST_B, INSTANCE_2, "b")

    assert "create_export" not in driver.names
    assert "initialize_connection" in driver.names


def test_one_operation_at_a_time(manager, context, shared, one, backend):
    """When a second host is attaching, nobody else can begin anything."""
    manager.reserve_volume(context, shared.id)
    found = manager.get_volume(context, shared.id)
    assert (found.status, found.attach_status) == ("attaching", "attached")

    for call, arguments in (
        ("reserve_volume", ()),
        ("begin_detaching", (one.id,)),
        ("attach_volume", (HOST_B, None, "b")),
        ("detach_volume", (one.id,)),
    ):
        with refused(manager, backend, exceptions.InvalidVolume):
            getattr(manager, call)(context, shared.id, *arguments)


def test_unreserve_goes_back_to_in_use(manager, context, shared, one, backend):
    """When the second host gives up, the first one never notices."""
    manager.reserve_volume(context, shared.id)
    manager.initialize_connection(context, shared.id, HOST_B)

    back = manager.unreserve_volume(context, shared.id)

    assert (back.status, back.attach_status, back.operation_id) == ("in-use", "attached", None)
    assert {KEY_A} == backend.acls[shared.id]
    assert [KEY_A] == backend.sessions[shared.id]
    assert back.provider_location is not None


@pytest.mark.parametrize("call", ["initialize_connection"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_failing_second_attach_leaves_the_first_alone(
    manager, context, shared, one, backend, faulty, driver, call, when
):
    """When the second host's attach fails, the first one's session and export live."""
    faulty.faults = [Fault(call, when, ConnectionFailed("no"))]

    with pytest.raises(ConnectionFailed):
        manager.attach_volume(context, shared.id, HOST_B, INSTANCE_2, "b")

    assert manager.get_volume(context, shared.id).status == "in-use"
    assert {KEY_A} == backend.acls[shared.id]
    assert [KEY_A] == backend.sessions[shared.id]
    assert "remove_export" not in driver.names
    assert [one] == manager.list_attachments(context, shared.id)


def test_a_detach_of_one_leaves_the_other_alone(
    manager, context, shared, one, two, backend, driver
):
    """When one of two is detached, the other's session and the export live."""
    found = manager.detach_volume(context, shared.id, one.id)

    assert (found.status, found.attach_status) == ("in-use", "attached")
    assert {KEY_B} == backend.acls[shared.id]
    assert [KEY_B] == backend.sessions[shared.id]
    assert "remove_export" not in driver.names
    assert found.provider_location is not None
    assert [two] == manager.list_attachments(context, shared.id)


def test_the_last_detach_removes_the_export(manager, context, shared, one, two, backend):
    """When the other one goes, too, nothing is left and the location is cleared."""
    manager.detach_volume(context, shared.id, one.id)

    free = manager.detach_volume(context, shared.id, two.id)

    assert (free.status, free.provider_location) == ("available", None)
    assert is_clean(backend, shared.id)


def test_with_several_attachments_a_detach_names_one(manager, context, shared, one, two, backend):
    """When no attachment is named: InvalidVolume."""
    with refused(manager, backend, exceptions.InvalidVolume):
        manager.begin_detaching(context, shared.id)
    with refused(manager, backend, exceptions.InvalidVolume):
        manager.detach_volume(context, shared.id)
    assert manager.begin_detaching(context, shared.id, two.id).status == "detaching"


def test_terminate_takes_only_the_detaching_attachments_connector(
    manager, context, shared, one, two, backend
):
    """When a's detach has begun, b's connector is not accepted and a's is."""
    manager.begin_detaching(context, shared.id, one.id)
    with refused(manager, backend, exceptions.InvalidVolume):
        manager.terminate_connection(context, shared.id, HOST_B)

    manager.terminate_connection(context, shared.id, HOST_A)

    assert {KEY_B} == backend.acls[shared.id]


def test_two_instances_of_one_host_share_its_acl(manager, context, shared, one, backend, driver):
    """When the same initiator has two attachments, its ACL goes with the last of them."""
    other = manager.attach_volume(context, shared.id, HOST_A, INSTANCE_2, "a")
    assert other.id != one.id
    driver.forget()

    manager.detach_volume(context, shared.id, one.id)
    assert "terminate_connection" not in driver.names
    assert {KEY_A} == backend.acls[shared.id]
    assert [KEY_A] == backend.sessions[shared.id]

    manager.detach_volume(context, shared.id, other.id)
    assert is_clean(backend, shared.id)


def test_an_initiator_in_upper_case_shares_the_acl(manager, context, shared, one, backend, driver):
    """When the second attachment writes the initiator in upper case, it is the same one."""
    upper = {**HOST_A, "initiator": KEY_A.upper()}
    other = manager.attach_volume(context, shared.id, upper, INSTANCE_2, "a")

    manager.detach_volume(context, shared.id, other.id)

    assert {KEY_A} == backend.acls[shared.id]
    assert [KEY_A] == backend.sessions[shared.id]


def test_a_failing_second_attach_of_one_initiator_keeps_its_acl(
    manager, context, shared, one, backend, faulty
):
    """When the second attachment of the same initiator fails, the first keeps its access."""
    faulty.faults = [Fault("initialize_connection", "after", ConnectionFailed("no"))]

    with pytest.raises(ConnectionFailed):
        manager.attach_volume(context, shared.id, HOST_A, INSTANCE_2, "a")

    assert {KEY_A} == backend.acls[shared.id]
    assert [KEY_A] == backend.sessions[shared.id]
    assert manager.get_volume(context, shared.id).status == "in-use"


def test_the_same_instance_again_is_the_same_attachment(manager, context, shared, one):
    """When the attached instance is attached again, there is still one attachment."""
    again = manager.attach(context, shared.id, INSTANCE_1, "a", None)

    assert one.id == again.id
    assert len(manager.list_attachments(context, shared.id)) == 1


@pytest.mark.parametrize("step", ["terminate_connection"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_refused_detach_of_one_leaves_both_working(
    manager, context, shared, one, two, backend, faulty, step, when
):
    """When the detach of one fails, both are attached and can log in."""
    faulty.faults = [Fault(step, when, ExportFailed("no"))]

    with pytest.raises(ExportFailed):
        manager.detach_volume(context, shared.id, one.id)

    assert {KEY_A, KEY_B} == backend.acls[shared.id]
    assert KEY_B in backend.sessions[shared.id]
    backend.login(one.connection_info, KEY_A)
    assert manager.get_volume(context, shared.id).status == "in-use"


def test_a_volume_without_multiattach_has_one_attachment(manager, context, attached, backend):
    """When the volume is not shared, a second host is refused."""
    with refused(manager, backend, exceptions.InvalidVolume):
        manager.reserve_volume(context, attached.id)
    with refused(manager, backend, exceptions.InvalidVolume):
        manager.attach_volume(context, attached.id, HOST_B, host_name="b")


def test_the_modes_of_two_attachments_are_their_own(manager, context, shared, one):
    """When a second host attaches read-only, the first one's mode stays."""
    other = manager.attach_volume(context, shared.id, HOST_B, INSTANCE_2, "b", mode="ro")

    assert other.connection_info["data"]["access_mode"] == "ro"
    first = manager.get_attachment(context, one.id)
    assert (first.attach_mode, first.connection_info["data"]["access_mode"]) == ("rw", "rw")
