"""One-shots: a whole attach or detach in one call; queries, wait and cancel."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.contract.lab import (
    HOST_A,
    HOST_B,
    INSTANCE_1,
    KEY_A,
    UNKNOWN,
    Call,
    Gate,
    is_clean,
    nothing_changes,
    refused,
)
from volflow import exceptions
from volflow.exceptions import ConnectionFailed, ExportFailed
from volflow.testing import Fault


def test_attach_volume_returns_the_attachment_with_its_connection(
    manager, context, volume, backend
):
    """When a volume is attached in one call, the host can log in with what it got."""
    found = manager.attach_volume(
        context, volume.id, HOST_A, INSTANCE_1, "a", "/dev/vdb", mode="ro"
    )

    assert (found.volume_id, found.instance_uuid, found.attached_host) == (
        volume.id,
        INSTANCE_1,
        "a",
    )
    assert (found.mountpoint, found.attach_mode, found.attach_status) == (
        "/dev/vdb",
        "ro",
        "attached",
    )
    assert found.connection_info["data"]["access_mode"] == "ro"
    backend.login(found.connection_info, KEY_A)
    assert manager.get_volume(context, volume.id).status == "in-use"


def test_detach_volume_returns_the_volume_free(manager, context, attached, backend):
    """When a volume is detached in one call, nothing is left."""
    free = manager.detach_volume(context, attached.id)

    assert (free.status, free.attach_status, free.operation_id) == ("available", "detached", None)
    assert free.provider_location is None
    assert is_clean(backend, attached.id)


@pytest.mark.parametrize("state", ["reserved", "attached", "detaching", "maintenance"])
def test_attach_volume_wants_an_available_volume(manager, context, backend, volume, state):
    """When the volume is in any other state: InvalidVolume names it; nothing is done."""
    if state == "reserved":
        manager.reserve_volume(context, volume.id)
    elif state == "maintenance":
        manager.set_maintenance(context, volume.id, True)
    else:
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")
        if state == "detaching":
            manager.begin_detaching(context, volume.id)

    with refused(manager, backend, exceptions.InvalidVolume) as caught:
        manager.attach_volume(context, volume.id, HOST_B, host_name="b")

    assert manager.get_volume(context, volume.id).status in str(caught.value)


def test_detach_volume_wants_a_volume_in_use(manager, context, backend, volume):
    """When the volume is available or reserved: InvalidVolume; nothing is done."""
    with refused(manager, backend, exceptions.InvalidVolume):
        manager.detach_volume(context, volume.id)
    manager.reserve_volume(context, volume.id)
    with refused(manager, backend, exceptions.InvalidVolume):
        manager.detach_volume(context, volume.id)


def test_detach_volume_of_an_unknown_attachment_is_not_found(manager, context, backend, attached):
    """When nothing has the attachment's id: AttachmentNotFound."""
    with refused(manager, backend, exceptions.AttachmentNotFound):
        manager.detach_volume(context, attached.id, UNKNOWN)


def test_a_refused_attach_rolls_everything_back_and_tells_the_first_error(
    manager, context, volume, backend, faulty
):
    """When the backend refuses, the caller hears why, and the operation keeps it."""
    faulty.faults = [Fault("initialize_connection", "after", ConnectionFailed("no more ACLs"))]

    with pytest.raises(ConnectionFailed, match="no more ACLs"):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    free = manager.get_volume(context, volume.id)
    assert (free.status, free.operation_id, free.provider_location) == ("available", None, None)
    assert is_clean(backend, volume.id)
    assert manager.list_attachments(context, volume.id) == []
    operation = manager.list_operations(context, volume_id=volume.id)[-1]
    assert operation.state == "rolled_back"
    assert ("ConnectionFailed", "no more ACLs") == tuple(operation.error)


def test_a_refused_detach_leaves_a_working_connection(manager, context, attached, backend, faulty):
    """When the backend refuses, the volume is in use again and the host can log in."""
    (before,) = manager.list_attachments(context, attached.id)
    faulty.faults = [Fault("remove_export", "after", ExportFailed("busy"))]

    with pytest.raises(ExportFailed, match="busy"):
        manager.detach_volume(context, attached.id)

    back = manager.get_volume(context, attached.id)
    assert (back.status, back.attach_status, back.operation_id) == ("in-use", "attached", None)
    assert back.provider_location == attached.provider_location
    backend.login(before.connection_info, KEY_A)


def test_a_refused_undo_is_rollback_incomplete_with_the_first_error(
    manager, context, volume, backend, faulty
):
    """When the undo is refused, too, the error carries the first one and what is left."""
    first = ConnectionFailed("the first error")
    faulty.faults = [
        Fault("initialize_connection", "after", first),
        Fault("terminate_connection", "before", ConnectionFailed("the second"), times=None),
    ]

    with pytest.raises(exceptions.RollbackIncomplete) as caught:
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    assert caught.value.__cause__ is caught.value.first_error
    assert isinstance(caught.value.__cause__, ConnectionFailed)
    assert str(caught.value.__cause__) == "the first error"
    assert caught.value.leftovers
    held = manager.get_volume(context, volume.id)
    assert held.status == "attaching"
    operation = manager.get_operation(context, held.operation_id)
    assert operation.state == "needs_attention"
    assert ("ConnectionFailed", "the first error") == tuple(operation.error)


def test_a_leftover_keeps_the_volume_from_being_used(manager, context, volume, backend, faulty):
    """When something is left, the volume can be neither reserved nor deleted."""
    faulty.faults = [
        Fault("initialize_connection", "after", ConnectionFailed("first")),
        Fault("terminate_connection", "before", ConnectionFailed("second"), times=None),
    ]
    with pytest.raises(exceptions.RollbackIncomplete):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    for call, arguments in (
        ("reserve_volume", ()),
        ("delete_volume", ()),
        ("attach_volume", (HOST_B, None, "b")),
    ):
        with refused(manager, backend, exceptions.InvalidVolume):
            getattr(manager, call)(context, volume.id, *arguments)


def test_a_forced_detach_goes_over_a_backend_that_refuses(
    manager, context, attached, backend, faulty, driver
):
    """When force is given and the backend refuses, recovery cleans up once it does not."""
    faulty.faults = [Fault("terminate_connection", "before", ConnectionFailed("no"))]

    with pytest.raises(exceptions.RollbackIncomplete) as caught:
        manager.detach_volume(context, attached.id, force=True)

    assert isinstance(caught.value.__cause__, ConnectionFailed)
    held = manager.get_volume(context, attached.id)
    assert held.status == "detaching"
    assert manager.get_operation(context, held.operation_id).state == "needs_attention"
    report = manager.recover()
    assert held.operation_id in report.cleaned
    assert manager.get_volume(context, attached.id).status == "available"
    assert is_clean(backend, attached.id)


def test_a_forced_detach_that_is_not_refused_is_a_detach(
    manager, context, attached, backend, driver
):
    """When force is given and the backend works, the driver hears it and all is free."""
    assert manager.detach_volume(context, attached.id, force=True).status == "available"

    arguments, options = driver.last("terminate_connection")
    assert True in (*arguments, *options.values())
    assert is_clean(backend, attached.id)


def test_a_rollback_does_not_cut_a_live_session(manager, context, volume, backend, faulty, driver):
    """When the host logged in before the attach failed, its session lives until it ends."""
    info = {}

    def log_in(context, volume, *_):
        found = backend.initialize_connection(volume, HOST_A)
        backend.login(found, KEY_A)
        info.update(found)

    driver.on["initialize_connection"] = lambda volume, connector: log_in(None, volume)
    faulty.faults = [Fault("initialize_connection", "after", ConnectionFailed("too late"))]

    with pytest.raises((exceptions.RollbackIncomplete, exceptions.ConnectionInUse)) as caught:
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    assert [KEY_A] == backend.sessions[volume.id]
    assert {KEY_A} == backend.acls[volume.id]
    if isinstance(caught.value, exceptions.RollbackIncomplete):
        assert "too late" in str(caught.value.__cause__)
    manager.recover()
    assert [KEY_A] == backend.sessions[volume.id]
    backend.logout(volume.id, KEY_A)
    manager.recover()
    assert manager.get_volume(context, volume.id).status == "available"
    assert is_clean(backend, volume.id)


@pytest.mark.parametrize("call", ["attach_volume", "detach_volume"])
def test_a_one_shot_needs_the_backends_driver_in_this_process(
    open_manager, context, attached, volume, manager, backend, call
):
    """When the process has no driver of the backend: BackendNotFound; nothing is done."""
    other = manager.create_volume(context, 1, "lab")
    blind = open_manager(drivers={})

    with refused(manager, backend, exceptions.BackendNotFound):
        if call == "attach_volume":
            blind.attach_volume(context, other.id, HOST_A, host_name="a")
        else:
            blind.detach_volume(context, attached.id)


def test_submitting_without_a_board_is_invalid_input(manager, context, attached, backend):
    """When the manager has no board, submit_attach and submit_detach say so."""
    with refused(manager, backend, exceptions.InvalidInput):
        manager.submit_attach(context, attached.id, HOST_A, host_name="a")
    with refused(manager, backend, exceptions.InvalidInput):
        manager.submit_detach(context, attached.id)


@pytest.mark.parametrize(
    ("error", "change"),
    [
        (exceptions.InvalidInput, {"host_name": 7}),
        (exceptions.InvalidUUID, {"instance_uuid": "seven"}),
        (exceptions.InvalidUUID, {"operation_id": "seven"}),
        (exceptions.InvalidVolumeAttachMode, {"mode": "rwx"}),
        (exceptions.InvalidConnector, {"connector": None}),
        (exceptions.VolumeNotFound, {"volume_id": UNKNOWN}),
    ],
)
def test_a_wrong_argument_of_attach_volume_does_nothing(
    manager, context, volume, backend, error, change
):
    """When an argument is wrong, the error says which, and nothing is done."""
    arguments = {"volume_id": volume.id, "connector": HOST_A, "host_name": "a", **change}

    with refused(manager, backend, error):
        manager.attach_volume(context, **arguments)


def test_rw_on_a_readonly_volume_is_refused_in_one_call_too(manager, context, backend):
    """When the volume is readonly: InvalidVolumeAttachMode for rw; nothing is done."""
    made = manager.create_volume(context, 1, "lab", readonly=True)

    with refused(manager, backend, exceptions.InvalidVolumeAttachMode):
        manager.attach_volume(context, made.id, HOST_A, host_name="a")


def test_a_connector_the_driver_cannot_use_leaves_an_available_volume(
    manager, context, volume, backend
):
    """When the driver refuses the connector: InvalidConnector, and nothing is left."""
    with pytest.raises(exceptions.InvalidConnector):
        manager.attach_volume(context, volume.id, {"host": "a"}, host_name="a")

    free = manager.get_volume(context, volume.id)
    assert (free.status, free.operation_id) == ("available", None)
    assert is_clean(backend, volume.id)
    assert manager.list_attachments(context, volume.id) == []


# wait, get, list


def test_wait_returns_a_settled_operation(manager, context, attached):
    """When the operation has succeeded, wait returns it at once."""
    (*_, operation) = manager.list_operations(context, volume_id=attached.id)

    assert operation == manager.wait(operation.id)
    assert operation == manager.get_operation(context, operation.id)


def test_wait_ends_when_the_operation_settles(open_manager, manager, context, volume):
    """When another thread rolls the operation back, a waiting thread gets it."""
    owner = manager.reserve_volume(context, volume.id).operation_id
    waiting = Call(open_manager().wait, owner, timeout=30)

    manager.unreserve_volume(context, volume.id)

    assert waiting.value().state == "rolled_back"


def test_wait_returns_what_needs_attention(manager, context, attached, faulty):
    """When an operation is held back by the backend, wait does not wait for it."""
    faulty.faults = [Fault("terminate_connection", "before", ConnectionFailed("no"), times=None)]
    with pytest.raises(exceptions.RollbackIncomplete):
        manager.detach_volume(context, attached.id, force=True)
    owner = manager.get_volume(context, attached.id).operation_id

    assert manager.wait(owner, timeout=30).state == "needs_attention"


def test_wait_gives_up_after_its_timeout(manager, context, volume):
    """When an operation waits for its caller for longer: TimeoutError."""
    owner = manager.reserve_volume(context, volume.id).operation_id

    with pytest.raises(TimeoutError):
        manager.wait(owner, timeout=0.01)


def test_wait_for_nothing_is_not_found(manager):
    """When nothing has the operation's id: OperationNotFound."""
    with pytest.raises(exceptions.OperationNotFound):
        manager.wait(UNKNOWN, timeout=1)


def test_operations_are_listed_by_state_and_volume_in_pages(manager, context, volume):
    """When a program pages through the operations, it sees each that fits, once."""
    other = manager.create_volume(context, 1, "lab")
    waiting = manager.reserve_volume(context, volume.id).operation_id
    manager.attach_volume(context, other.id, HOST_A, host_name="a")
    everything = [o.id for o in manager.list_operations(context)]
    assert len(everything) == len(set(everything)) == 4

    assert [waiting] == [o.id for o in manager.list_operations(context, state="waiting")]
    mine = manager.list_operations(context, volume_id=volume.id)
    assert {volume.id} == {o.volume_id for o in mine}
    assert len(mine) == 2
    seen, marker = [], None
    while page := manager.list_operations(context, limit=3, marker=marker):
        assert len(page) <= 3
        seen += [o.id for o in page]
        marker = page[-1].id
    assert everything == seen


# cancel_operation


@pytest.mark.parametrize("connected", [False, True])
def test_cancel_undoes_a_waiting_attach_now(manager, context, volume, backend, connected):
    """When the operation waits for its caller, cancel returns it rolled back."""
    owner = manager.reserve_volume(context, volume.id).operation_id
    if connected:
        manager.initialize_connection(context, volume.id, HOST_A)

    assert manager.cancel_operation(context, owner).state == "rolled_back"
    assert manager.get_volume(context, volume.id).status == "available"
    assert is_clean(backend, volume.id)


def test_cancel_undoes_a_waiting_detach_now(manager, context, attached, backend):
    """When a detach waits for its caller, cancel gives the connection back."""
    (before,) = manager.list_attachments(context, attached.id)
    owner = manager.begin_detaching(context, attached.id).operation_id
    manager.terminate_connection(context, attached.id, HOST_A)

    assert manager.cancel_operation(context, owner).state == "rolled_back"
    assert manager.get_volume(context, attached.id).status == "in-use"
    backend.login(before.connection_info, KEY_A)


def test_cancel_flags_a_running_operation_which_undoes_itself(
    open_manager, manager, context, volume, backend, driver
):
    """When the operation runs, it ends rolled back at its next barrier."""
    gate = Gate()
    driver.on["create_export"] = gate.stop
    running = Call(manager.attach_volume, context, volume.id, HOST_A, host_name="a")
    gate.wait()
    owner = manager.get_volume(context, volume.id).operation_id

    flagged = open_manager().cancel_operation(context, owner)
    gate.opened.set()

    assert flagged.id == owner
    assert flagged.state not in ("succeeded", "needs_attention")
    assert isinstance(running.outcome(), exceptions.VolflowError)
    assert manager.wait(owner, timeout=30).state == "rolled_back"
    assert manager.get_volume(context, volume.id).status == "available"
    assert is_clean(backend, volume.id)


def test_cancel_of_a_settled_operation_returns_it_unchanged(manager, context, attached, backend):
    """When the operation has succeeded, nothing is undone."""
    (*_, operation) = manager.list_operations(context, volume_id=attached.id)

    with nothing_changes(manager, backend):
        assert operation == manager.cancel_operation(context, operation.id)


def test_cancel_of_a_forced_detach_is_invalid_input(manager, context, attached, faulty, backend):
    """When a detach was forced, it only goes forward."""
    faulty.faults = [Fault("terminate_connection", "before", ConnectionFailed("no"), times=None)]
    with suppress(exceptions.RollbackIncomplete):
        manager.detach_volume(context, attached.id, force=True)
    owner = manager.get_volume(context, attached.id).operation_id

    with refused(manager, backend, exceptions.InvalidInput):
        manager.cancel_operation(context, owner)


def test_cancel_of_nothing_is_not_found(manager, context, backend):
    """When nothing has the operation's id: OperationNotFound."""
    with refused(manager, backend, exceptions.OperationNotFound):
        manager.cancel_operation(context, UNKNOWN)
