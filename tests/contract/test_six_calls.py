"""The six calls, and their two inverses, on a volume of one host."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from tests.contract.lab import (
    HOST_A,
    HOST_B,
    INSTANCE_1,
    INSTANCE_2,
    KEY_A,
    KEY_B,
    UNKNOWN,
    backend_of,
    is_clean,
    new_id,
    refused,
)
from volflow import exceptions
from volflow.exceptions import ConnectionFailed, ExportFailed
from volflow.testing import Fault


@pytest.fixture
def reserved(manager, context, volume):
    return manager.reserve_volume(context, volume.id)


@pytest.fixture
def connected(manager, context, reserved, driver):
    manager.initialize_connection(context, reserved.id, HOST_A)
    driver.forget()
    return manager.get_volume(context, reserved.id)


@pytest.fixture
def detaching(manager, context, attached):
    return manager.begin_detaching(context, attached.id)


@pytest.fixture
def terminated(manager, context, detaching, driver):
    manager.terminate_connection(context, detaching.id, HOST_A)
    driver.forget()
    return manager.get_volume(context, detaching.id)


def test_the_six_calls_attach_and_detach(manager, context, volume, backend):
    """When they are called in their order, the volume is used and then free again."""
    assert manager.reserve_volume(context, volume.id).status == "attaching"
    info = manager.initialize_connection(context, volume.id, HOST_A)
    attachment = manager.attach(context, volume.id, INSTANCE_1, "a", "/dev/vdb")
    in_use = manager.get_volume(context, volume.id)
    assert (in_use.status, in_use.attach_status, in_use.operation_id) == (
        "in-use",
        "attached",
        None,
    )
    assert (attachment.attach_status, attachment.attach_mode) == ("attached", "rw")
    backend.login(info, KEY_A)
    backend.logout(volume.id, KEY_A)

    assert manager.begin_detaching(context, volume.id).status == "detaching"
    assert manager.terminate_connection(context, volume.id, HOST_A) is None
    free = manager.detach(context, volume.id)

    assert (free.status, free.attach_status, free.operation_id) == ("available", "detached", None)
    assert is_clean(backend, volume.id)


def test_each_call_can_come_from_another_process(open_manager, context, volume, backend):
    """When the caller's process ends between two calls, the next one goes on from there."""

    def step(name, *arguments, **options):
        with open_manager() as manager:
            return getattr(manager, name)(context, volume.id, *arguments, **options)

    step("reserve_volume")
    step("initialize_connection", HOST_A)
    step("attach", INSTANCE_1, None, None)
    assert step("get_volume").status == "in-use"
    step("begin_detaching")
    step("terminate_connection", HOST_A)

    assert step("detach").status == "available"
    assert is_clean(backend, volume.id)


def test_a_transitional_volume_names_its_operation(manager, context, volume):
    """When a volume is attaching or detaching, its operation waits for the caller."""
    attaching = manager.reserve_volume(context, volume.id)
    operation = manager.get_operation(context, attaching.operation_id)
    assert (operation.kind, operation.state, operation.volume_id) == (
        "attach",
        "waiting",
        volume.id,
    )
    manager.initialize_connection(context, volume.id, HOST_A)
    assert manager.get_volume(context, volume.id).operation_id == operation.id
    manager.attach(context, volume.id, None, "a", None)
    assert manager.get_operation(context, operation.id).state == "succeeded"

    detaching = manager.begin_detaching(context, volume.id)
    operation = manager.get_operation(context, detaching.operation_id)
    assert (operation.kind, operation.state) == ("detach", "waiting")
    manager.detach(context, volume.id)
    assert manager.get_operation(context, operation.id).state == "succeeded"


# reserve_volume


@pytest.mark.parametrize("state", ["reserved", "connected", "attached", "detaching", "terminated"])
def test_a_volume_is_reserved_only_from_available(manager, context, backend, request, state):
    """When it has any other status, InvalidVolume names it and what was expected."""
    found = request.getfixturevalue(state)

    with refused(manager, backend, exceptions.InvalidVolume) as caught:
        manager.reserve_volume(context, found.id)

    assert manager.get_volume(context, found.id).status in str(caught.value)
    assert "available" in str(caught.value)


# initialize_connection


def test_connection_info_is_json_and_says_how_to_log_in(manager, context, reserved, backend):
    """When a connection is made, the answer has all that an initiator needs."""
    info = manager.initialize_connection(context, reserved.id, HOST_A)

    assert {"driver_volume_type", "data"} == set(info)
    assert info["driver_volume_type"] == "iscsi"
    assert info == json.loads(json.dumps(info, allow_nan=False))
    data = info["data"]
    host, _, port = data["target_portal"].rpartition(":")
    assert host
    assert port.isdigit()
    assert isinstance(data["target_iqn"], str)
    assert type(data["target_lun"]) is int
    assert data["auth_method"] == "CHAP"
    assert data["auth_username"]
    assert data["auth_password"]
    backend.login(info, KEY_A)


def test_connection_info_has_what_the_core_adds(manager, context, reserved):
    """When the driver does not say, the core adds access mode, encryption, QoS and ids."""
    data = manager.initialize_connection(context, reserved.id, HOST_A)["data"]

    assert data["access_mode"] == "rw"
    assert data["encrypted"] is False
    assert data["qos_specs"] is None
    assert data["volume_id"] == reserved.id
    assert isinstance(data["target_discovered"], bool)


def test_connection_info_tells_encryption_and_qos(manager, context):
    """When the volume has a key and QoS specs, the answer says so."""
    made = manager.create_volume(
        context, 1, "lab", qos_specs={"read_iops_sec": 5}, encryption_key_id=UNKNOWN
    )
    manager.reserve_volume(context, made.id)

    data = manager.initialize_connection(context, made.id, HOST_A)["data"]

    assert data["encrypted"] is True
    assert data["qos_specs"] == {"read_iops_sec": 5}


@pytest.mark.parametrize(
    ("readonly", "asked", "expected"),
    [
        (False, None, "rw"),
        (False, "rw", "rw"),
        (False, "ro", "ro"),
        (True, None, "ro"),
        (True, "rw", "ro"),
        (True, "ro", "ro"),
    ],
)
def test_the_access_mode_is_the_volumes_then_the_connectors_then_rw(
    manager, context, readonly, asked, expected
):
    """When the volume is readonly it is ro, else what the connector asks for, else rw."""
    made = manager.create_volume(context, 1, "lab", readonly=readonly)
    manager.reserve_volume(context, made.id)
    connector = HOST_A if asked is None else {**HOST_A, "mode": asked}

    info = manager.initialize_connection(context, made.id, connector)

    assert info["data"]["access_mode"] == expected


def test_what_the_driver_says_is_kept(manager, context, reserved, driver, backend, monkeypatch):
    """When the driver's data has a key that the core would add, the driver's value stays."""

    def initialize(volume, connector):
        info = backend.initialize_connection(volume, connector)
        info["data"] |= {"encrypted": True, "access_mode": "ro", "target_discovered": True}
        return info

    monkeypatch.setattr(driver, "initialize_connection", initialize, raising=False)

    data = manager.initialize_connection(context, reserved.id, HOST_A)["data"]

    assert (data["encrypted"], data["access_mode"], data["target_discovered"]) == (
        True,
        "ro",
        True,
    )


def test_a_multipath_connector_gets_lists_of_all_paths(manager, context, reserved):
    """When the connector is a multipath one, the lists name every path, the first included."""
    data = manager.initialize_connection(context, reserved.id, {**HOST_A, "multipath": True})[
        "data"
    ]

    assert data["target_portals"][0] == data["target_portal"]
    assert data["target_iqns"][0] == data["target_iqn"]
    assert data["target_luns"][0] == data["target_lun"]
    assert len(data["target_portals"]) == len(data["target_iqns"]) == len(data["target_luns"]) >= 1


def test_a_connection_is_recorded_on_the_attachment(manager, context, reserved):
    """When a connection is made, the attachment has connector and answer, and is attaching."""
    info = manager.initialize_connection(context, reserved.id, HOST_A)

    (found,) = manager.list_attachments(context, reserved.id)

    assert (found.attach_status, found.connector) == ("attaching", HOST_A)
    assert info == found.connection_info


def test_a_repeated_initialize_returns_the_same_answer(manager, context, reserved, driver):
    """When the reply was lost and the call is repeated, the answer and the export are one."""
    first = manager.initialize_connection(context, reserved.id, HOST_A)

    assert first == manager.initialize_connection(context, reserved.id, HOST_A)
    assert driver.names.count("create_export") == 1
    assert len(manager.list_attachments(context, reserved.id)) == 1


def test_an_initiator_is_the_same_in_upper_case(manager, context, connected):
    """When a host writes its initiator in another case, it is the same initiator."""
    again = manager.initialize_connection(
        context, connected.id, {**HOST_A, "initiator": KEY_A.upper()}
    )

    assert again["data"]["volume_id"] == connected.id


def test_an_attached_initiator_gets_its_answer_again(manager, context, attached, driver):
    """When the volume is in use by this initiator, no reservation is needed."""
    (attachment,) = manager.list_attachments(context, attached.id)

    assert attachment.connection_info == manager.initialize_connection(
        context, attached.id, HOST_A
    )
    assert manager.get_volume(context, attached.id).status == "in-use"
    assert "create_export" not in driver.names


@pytest.mark.parametrize("state", ["volume", "attached"])
def test_another_initiator_needs_a_reservation(manager, context, backend, request, state):
    """When a volume is available, or in use by another initiator: InvalidVolume."""
    found = request.getfixturevalue(state)

    with refused(manager, backend, exceptions.InvalidVolume):
        manager.initialize_connection(context, found.id, HOST_B)


def test_a_reservation_serves_one_initiator(manager, context, backend, connected):
    """When another connector comes while the first is connected: InvalidVolume."""
    with refused(manager, backend, exceptions.InvalidVolume):
        manager.initialize_connection(context, connected.id, HOST_B)


def test_another_initiator_may_follow_once_the_first_was_terminated(
    manager, context, backend, connected
):
    """When the first gave up its connection, the same reservation serves another."""
    manager.terminate_connection(context, connected.id, HOST_A)

    info = manager.initialize_connection(context, connected.id, HOST_B)

    backend.login(info, KEY_B)
    assert {KEY_B} == backend.acls[connected.id]
    assert len(manager.list_attachments(context, connected.id)) == 1


def test_a_connector_without_an_initiator_keeps_the_reservation(
    manager, context, backend, reserved
):
    """When the driver cannot use the connector: InvalidConnector, and still attaching."""
    with pytest.raises(exceptions.InvalidConnector):
        manager.initialize_connection(context, reserved.id, {"host": "a"})

    found = manager.get_volume(context, reserved.id)
    assert (found.status, found.operation_id) == ("attaching", reserved.operation_id)
    assert manager.get_operation(context, reserved.operation_id).state == "waiting"
    assert is_clean(backend, reserved.id)
    assert manager.initialize_connection(context, reserved.id, HOST_A)


@pytest.mark.parametrize("call", ["create_export", "initialize_connection"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_driver_failure_undoes_the_phase_and_the_caller_can_repeat(
    manager, context, backend, faulty, reserved, call, when
):
    """When the backend refuses, the volume stays attaching, clean, and the call works later."""
    faulty.faults = [Fault(call, when, ExportFailed("the shelf is on fire"))]
    with pytest.raises(ExportFailed, match="the shelf is on fire"):
        manager.initialize_connection(context, reserved.id, HOST_A)
    found = manager.get_volume(context, reserved.id)
    assert (found.status, found.operation_id) == ("attaching", reserved.operation_id)
    assert manager.get_operation(context, reserved.operation_id).state == "waiting"
    assert is_clean(backend, reserved.id)

    info = manager.initialize_connection(context, reserved.id, HOST_A)

    backend.login(info, KEY_A)


def test_after_a_driver_failure_the_caller_can_unreserve(
    manager, context, backend, faulty, reserved
):
    """When the backend refused and the caller gives up, the volume is available and clean."""
    faulty.faults = [Fault("initialize_connection", "after", ConnectionFailed("no"))]
    with pytest.raises(ConnectionFailed):
        manager.initialize_connection(context, reserved.id, HOST_A)

    free = manager.unreserve_volume(context, reserved.id)

    assert (free.status, free.operation_id) == ("available", None)
    assert is_clean(backend, reserved.id)


# attach


def test_the_mode_is_recorded_and_shown_by_later_answers(manager, context, connected):
    """When a volume is attached ro, the attachment and later connection_info say ro."""
    attachment = manager.attach(context, connected.id, INSTANCE_1, None, None, mode="ro")

    assert attachment.attach_mode == "ro"
    again = manager.initialize_connection(context, connected.id, HOST_A)
    assert again["data"]["access_mode"] == "ro"
    stored = manager.get_attachment(context, attachment.id)
    assert stored.connection_info["data"]["access_mode"] == "ro"


def test_the_same_instance_gets_the_same_attachment(manager, context, connected, driver):
    """When the reply was lost and attach is repeated, there is one attachment."""
    arguments = (context, connected.id, INSTANCE_1, "a", "/dev/vdb")
    first = manager.attach(*arguments)
    driver.forget()

    second = manager.attach(*arguments)

    assert first == second
    assert [first] == manager.list_attachments(context, connected.id)
    assert driver.names == []


def test_the_same_instance_in_upper_case_is_the_same(manager, context, connected):
    """When the UUID is written in another case, it is the same instance."""
    wanted = "abcdefab-cdef-4abc-8def-abcdefabcdef"
    first = manager.attach(context, connected.id, wanted, None, None)

    assert first.id == manager.attach(context, connected.id, wanted.upper(), None, None).id


def test_another_instance_is_refused(manager, context, backend, attached):
    """When the volume is in use by another instance: InvalidVolume."""
    with refused(manager, backend, exceptions.InvalidVolume):
        manager.attach(context, attached.id, INSTANCE_2, "b", None)


@pytest.mark.parametrize("who", [(INSTANCE_1, None), (None, "a"), (INSTANCE_1, "a")])
def test_an_instance_or_a_host_will_do(manager, context, connected, who):
    """When one of the two is given, it is recorded and the other is None."""
    found = manager.attach(context, connected.id, *who, None)

    assert who == (found.instance_uuid, found.attached_host)


def test_neither_instance_nor_host_is_refused(manager, context, backend, connected):
    """When both are missing: InvalidInput, and the connection stays."""
    with refused(manager, backend, exceptions.InvalidInput):
        manager.attach(context, connected.id, None, None, "/dev/vdb")


def test_rw_on_a_readonly_volume_is_refused(manager, context, backend):
    """When the volume is readonly: InvalidVolumeAttachMode for rw, and ro works."""
    made = manager.create_volume(context, 1, "lab", readonly=True)
    manager.reserve_volume(context, made.id)
    manager.initialize_connection(context, made.id, HOST_A)
    with refused(manager, backend, exceptions.InvalidVolumeAttachMode):
        manager.attach(context, made.id, INSTANCE_1, None, None)
    with refused(manager, backend, exceptions.InvalidVolumeAttachMode):
        manager.attach(context, made.id, INSTANCE_1, None, None, mode="rw")

    assert manager.attach(context, made.id, INSTANCE_1, None, None, mode="ro").attach_mode == "ro"


def test_an_instance_that_is_no_uuid_is_refused(manager, context, backend, connected):
    """When instance_uuid is no UUID: InvalidUUID, and the volume keeps its connection."""
    with refused(manager, backend, exceptions.InvalidUUID):
        manager.attach(context, connected.id, "instance-7", None, None)


@pytest.mark.parametrize("state", ["volume", "reserved", "detaching", "terminated"])
def test_attach_needs_a_connection_first(manager, context, backend, request, state):
    """When initialize_connection has not been called: InvalidVolume."""
    found = request.getfixturevalue(state)

    with refused(manager, backend, exceptions.InvalidVolume):
        manager.attach(context, found.id, INSTANCE_2, None, None)


def test_attach_after_a_terminated_connection_needs_another(manager, context, backend, connected):
    """When the connection was given up: InvalidVolume until there is one again."""
    manager.terminate_connection(context, connected.id, HOST_A)

    with refused(manager, backend, exceptions.InvalidVolume):
        manager.attach(context, connected.id, INSTANCE_1, None, None)


# unreserve_volume


@pytest.mark.parametrize("state", ["reserved", "connected"])
def test_unreserve_undoes_all_since_the_reservation(manager, context, backend, request, state):
    """When the caller gives up, export and ACL go too, and the operation is rolled back."""
    found = request.getfixturevalue(state)

    free = manager.unreserve_volume(context, found.id)

    assert (free.status, free.attach_status, free.operation_id) == ("available", "detached", None)
    assert free.provider_location is None
    assert is_clean(backend, found.id)
    assert manager.list_attachments(context, found.id) == []
    assert manager.get_operation(context, found.operation_id).state == "rolled_back"


def test_a_volume_can_be_reserved_again_after_unreserve(manager, context, backend, connected):
    """When a reservation was undone, the next one starts anew, with other credentials."""
    (old,) = manager.list_attachments(context, connected.id)
    manager.unreserve_volume(context, connected.id)
    manager.reserve_volume(context, connected.id)

    info = manager.initialize_connection(context, connected.id, HOST_B)

    assert {KEY_B} == backend.acls[connected.id]
    assert info["data"]["auth_password"] != old.connection_info["data"]["auth_password"]


@pytest.mark.parametrize("state", ["attached", "detaching", "terminated"])
def test_unreserve_wants_a_reservation(manager, context, backend, request, state):
    """When the volume is not attaching: InvalidVolume."""
    found = request.getfixturevalue(state)

    with refused(manager, backend, exceptions.InvalidVolume):
        manager.unreserve_volume(context, found.id)


def test_unreserve_does_not_cut_a_live_session(manager, context, backend, reserved):
    """When the initiator is logged in: ConnectionInUse, and it goes on working."""
    info = manager.initialize_connection(context, reserved.id, HOST_A)
    backend.login(info, KEY_A)

    with pytest.raises(exceptions.ConnectionInUse):
        manager.unreserve_volume(context, reserved.id)

    assert [KEY_A] == backend.sessions[reserved.id]
    assert reserved.id in backend.exports
    assert manager.get_volume(context, reserved.id).status == "attaching"


def test_what_a_session_held_back_is_undone_once_it_ends(manager, context, backend, reserved):
    """When the initiator has logged out, recovery finishes the undo."""
    backend.login(manager.initialize_connection(context, reserved.id, HOST_A), KEY_A)
    with pytest.raises(exceptions.ConnectionInUse):
        manager.unreserve_volume(context, reserved.id)
    backend.logout(reserved.id, KEY_A)

    manager.recover()

    assert manager.get_volume(context, reserved.id).status == "available"
    assert is_clean(backend, reserved.id)


# begin_detaching


@pytest.mark.parametrize("state", ["volume", "reserved", "connected", "detaching"])
def test_a_detach_begins_only_from_in_use(manager, context, backend, request, state):
    """When the volume is not in use and attached: InvalidVolume names the state."""
    found = request.getfixturevalue(state)

    with refused(manager, backend, exceptions.InvalidVolume) as caught:
        manager.begin_detaching(context, found.id)

    assert manager.get_volume(context, found.id).status in str(caught.value)
    assert "in-use" in str(caught.value)


def test_a_detach_of_an_unknown_attachment_does_not_begin(manager, context, backend, attached):
    """When nothing has the attachment's id: AttachmentNotFound."""
    with refused(manager, backend, exceptions.AttachmentNotFound):
        manager.begin_detaching(context, attached.id, UNKNOWN)


def test_a_detach_of_another_volumes_attachment_does_not_begin(
    manager, context, backend, attached
):
    """When the attachment belongs to another volume, it is not this one's to detach."""
    other = manager.create_volume(context, 1, "lab")
    foreign = manager.attach_volume(context, other.id, HOST_A, host_name="a")

    with refused(
        manager,
        backend,
        exceptions.AttachmentNotFound,
        exceptions.InvalidInput,
        exceptions.InvalidVolume,
    ):
        manager.begin_detaching(context, attached.id, foreign.id)


def test_a_detach_can_name_its_attachment(manager, context, attached, backend):
    """When the only attachment is named in every call, the detach goes as without."""
    (attachment,) = manager.list_attachments(context, attached.id)
    begun = manager.begin_detaching(context, attached.id, attachment.id)
    assert manager.get_operation(context, begun.operation_id).attachment_id == attachment.id

    assert manager.detach(context, attached.id, attachment.id).status == "available"
    assert is_clean(backend, attached.id)


# terminate_connection


def test_terminate_takes_the_access_away(manager, context, backend, detaching):
    """When a detach has begun, the ACL goes; the volume stays detaching."""
    manager.terminate_connection(context, detaching.id, HOST_A)

    assert not backend.acls.get(detaching.id)
    assert manager.get_volume(context, detaching.id).status == "detaching"


def test_terminate_of_a_detach_is_no_undo_and_ends_a_session(manager, context, backend, detaching):
    """When the caller began the detach, a session is no reason to stop."""
    (attachment,) = manager.list_attachments(context, detaching.id)
    backend.login(attachment.connection_info, KEY_A)

    manager.terminate_connection(context, detaching.id, HOST_A)

    assert not backend.acls.get(detaching.id)


def test_terminate_can_be_repeated(manager, context, backend, terminated):
    """When the reply was lost and the call is repeated, it returns again."""
    before = backend_of(backend)

    assert manager.terminate_connection(context, terminated.id, HOST_A) is None
    assert before == backend_of(backend)


def test_terminate_on_a_reservation_undoes_the_connection_only(
    manager, context, backend, connected
):
    """When a caller gives up its connection, export and ACL go and the reservation stays."""
    assert manager.terminate_connection(context, connected.id, HOST_A) is None

    found = manager.get_volume(context, connected.id)
    assert (found.status, found.operation_id) == ("attaching", connected.operation_id)
    assert manager.get_operation(context, connected.operation_id).state == "waiting"
    assert is_clean(backend, connected.id)
    assert [] == [
        a.connection_info
        for a in manager.list_attachments(context, connected.id)
        if a.connection_info is not None
    ]


def test_terminate_on_a_reservation_does_not_cut_a_live_session(
    manager, context, backend, connected
):
    """When the initiator is logged in, undoing the connection is held back."""
    (attachment,) = manager.list_attachments(context, connected.id)
    backend.login(attachment.connection_info, KEY_A)

    with pytest.raises(exceptions.ConnectionInUse):
        manager.terminate_connection(context, connected.id, HOST_A)

    assert [KEY_A] == backend.sessions[connected.id]
    assert {KEY_A} == backend.acls[connected.id]


@pytest.mark.parametrize("state", ["connected", "detaching"])
def test_terminate_accepts_only_the_attachments_own_connector(
    manager, context, backend, request, state
):
    """When the connector is another initiator's: InvalidVolume."""
    found = request.getfixturevalue(state)

    with refused(manager, backend, exceptions.InvalidVolume):
        manager.terminate_connection(context, found.id, HOST_B)


@pytest.mark.parametrize("state", ["volume", "attached"])
def test_terminate_belongs_to_a_detach_or_a_reservation(manager, context, backend, request, state):
    """When the volume is available or in use: InvalidVolume, and nobody is cut off."""
    found = request.getfixturevalue(state)

    with refused(manager, backend, exceptions.InvalidVolume):
        manager.terminate_connection(context, found.id, HOST_A)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_refused_terminate_leaves_a_working_connection(
    manager, context, backend, faulty, detaching, when
):
    """When the backend refuses, the step is undone and the operation waits again."""
    faulty.faults = [Fault("terminate_connection", when, ConnectionFailed("it will not let go"))]
    with pytest.raises(ConnectionFailed, match="it will not let go"):
        manager.terminate_connection(context, detaching.id, HOST_A)
    found = manager.get_volume(context, detaching.id)
    assert (found.status, found.operation_id) == ("detaching", detaching.operation_id)
    assert manager.get_operation(context, detaching.operation_id).state == "waiting"
    assert {KEY_A} == backend.acls[detaching.id]

    manager.terminate_connection(context, detaching.id, HOST_A)

    assert manager.detach(context, detaching.id).status == "available"
    assert is_clean(backend, detaching.id)


def test_a_forced_terminate_goes_on_over_a_backend_that_refuses(
    manager, context, backend, faulty, driver, detaching
):
    """When force is given, the detach can be finished; what was refused is cleaned up later."""
    faulty.faults = [Fault("terminate_connection", "before", ConnectionFailed("no"))]

    with suppress(exceptions.RollbackIncomplete):
        manager.terminate_connection(context, detaching.id, HOST_A, force=True)

    arguments, options = driver.last("terminate_connection")
    assert True in (*arguments, *options.values())
    manager.recover()
    if manager.get_volume(context, detaching.id).status == "detaching":
        manager.detach(context, detaching.id)
    assert manager.get_volume(context, detaching.id).status == "available"
    assert is_clean(backend, detaching.id)


# detach


@pytest.mark.parametrize("state", ["reserved", "connected", "attached"])
def test_detach_needs_a_detach_that_has_begun(manager, context, backend, request, state):
    """When begin_detaching was not called: InvalidVolume."""
    found = request.getfixturevalue(state)

    with refused(manager, backend, exceptions.InvalidVolume):
        manager.detach(context, found.id)


def test_a_caller_that_skipped_terminate_leaves_no_acl(manager, context, backend, detaching):
    """When detach is called at once, it does whatever is still to do."""
    free = manager.detach(context, detaching.id)

    assert free.status == "available"
    assert is_clean(backend, detaching.id)


def test_a_repeated_detach_returns_the_volume(manager, context, attached, driver):
    """When the reply was lost and the call is repeated with its attachment, nothing happens."""
    (attachment,) = manager.list_attachments(context, attached.id)
    manager.begin_detaching(context, attached.id)
    first = manager.detach(context, attached.id, attachment.id)
    driver.forget()

    assert first == manager.detach(context, attached.id, attachment.id)
    assert driver.names == []


@pytest.mark.parametrize("state", ["detaching", "terminated"])
@pytest.mark.parametrize("call", ["terminate_connection", "remove_export"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_refused_detach_waits_and_can_be_repeated(
    manager, context, backend, faulty, request, state, call, when
):
    """When the backend refuses, the phase is undone and the next call finishes it."""
    found = request.getfixturevalue(state)
    if (state, call) == ("terminated", "terminate_connection"):
        call = "remove_export"
    before = backend_of(backend)
    faulty.faults = [Fault(call, when, ExportFailed("it will not let go"))]
    with pytest.raises(ExportFailed, match="it will not let go"):
        manager.detach(context, found.id)
    waiting = manager.get_volume(context, found.id)
    assert (waiting.status, waiting.operation_id) == ("detaching", found.operation_id)
    assert manager.get_operation(context, found.operation_id).state == "waiting"
    assert before == backend_of(backend)

    assert manager.detach(context, found.id).status == "available"
    assert is_clean(backend, found.id)


def test_location_is_gone_after_the_last_detach(manager, context, attached):
    """When nobody uses the volume any more, it has no location."""
    assert attached.provider_location
    manager.begin_detaching(context, attached.id)

    assert manager.detach(context, attached.id).provider_location is None


# roll_detaching


@pytest.mark.parametrize("state", ["detaching", "terminated"])
def test_roll_detaching_gives_the_working_connection_back(
    manager, context, backend, request, state
):
    """When the caller changes its mind, the host logs in as before."""
    found = request.getfixturevalue(state)
    (attachment,) = manager.list_attachments(context, found.id)

    back = manager.roll_detaching(context, found.id)

    assert (back.status, back.attach_status, back.operation_id) == ("in-use", "attached", None)
    backend.login(attachment.connection_info, KEY_A)
    (again,) = manager.list_attachments(context, found.id)
    assert (again.id, again.attach_status, again.connection_info) == (
        attachment.id,
        "attached",
        attachment.connection_info,
    )
    assert manager.get_operation(context, found.operation_id).state == "rolled_back"


@pytest.mark.parametrize("state", ["volume", "reserved", "connected", "attached"])
def test_roll_detaching_wants_a_detach_that_has_begun(manager, context, backend, request, state):
    """When the volume is not detaching: InvalidVolume."""
    found = request.getfixturevalue(state)

    with refused(manager, backend, exceptions.InvalidVolume):
        manager.roll_detaching(context, found.id)


def test_a_detach_can_begin_again_after_it_was_rolled_back(manager, context, backend, terminated):
    """When a detach was undone, the next one goes through."""
    manager.roll_detaching(context, terminated.id)
    manager.begin_detaching(context, terminated.id)

    assert manager.detach(context, terminated.id).status == "available"
    assert is_clean(backend, terminated.id)


# deadlines


def test_the_deadline_restarts_after_each_call(manager, context, volume):
    """When a call was made, the operation waits as long again for the next one."""
    owner = manager.reserve_volume(context, volume.id).operation_id
    deadlines = [manager.get_operation(context, owner).deadline]
    manager.initialize_connection(context, volume.id, HOST_A)
    deadlines.append(manager.get_operation(context, owner).deadline)
    manager.initialize_connection(context, volume.id, HOST_A)
    deadlines.append(manager.get_operation(context, owner).deadline)
    manager.terminate_connection(context, volume.id, HOST_A)
    deadlines.append(manager.get_operation(context, owner).deadline)

    assert sorted(set(deadlines)) == deadlines


def test_the_deadline_restarts_after_a_call_that_failed(
    manager, context, faulty, volume, reserved
):
    """When the backend refused a call, its caller has as long again to repeat it."""
    before = manager.get_operation(context, reserved.operation_id).deadline
    faulty.faults = [Fault("create_export", "before", ExportFailed("no"))]
    with pytest.raises(ExportFailed):
        manager.initialize_connection(context, volume.id, HOST_A)

    assert manager.get_operation(context, reserved.operation_id).deadline > before


def test_an_operation_may_wait_for_ever(open_manager, context, volume):
    """When reservation_deadline_seconds is None, an operation has no deadline."""
    patient = open_manager(reservation_deadline_seconds=None)
    owner = patient.reserve_volume(context, volume.id).operation_id

    assert patient.get_operation(context, owner).deadline is None
    patient.recover()
    assert patient.get_volume(context, volume.id).status == "attaching"


def test_ids_of_nothing_are_not_found_by_any_call(manager, context, backend):
    """When nothing has the volume's id, each of the calls says VolumeNotFound."""
    for name, arguments in {
        "reserve_volume": (),
        "initialize_connection": (HOST_A,),
        "attach": (INSTANCE_1, None, None),
        "begin_detaching": (),
        "terminate_connection": (HOST_A,),
        "detach": (),
        "unreserve_volume": (),
        "roll_detaching": (),
        "attach_volume": (HOST_A, INSTANCE_1),
        "detach_volume": (),
    }.items():
        with refused(manager, backend, exceptions.VolumeNotFound):
            getattr(manager, name)(context, new_id(), *arguments)
