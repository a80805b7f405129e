"""A lost reply is no failure: the same call with the same id gives the same answer."""

from __future__ import annotations

import pytest
from sqlalchemy import event

from tests.contract.lab import (
    HOST_A,
    HOST_B,
    INSTANCE_1,
    INSTANCE_2,
    Call,
    Gate,
    is_clean,
    new_id,
    nothing_changes,
    refused,
    until,
)
from volflow import exceptions
from volflow.exceptions import ConnectionFailed, ExportFailed
from volflow.testing import Crash, Fault


@pytest.fixture
def key():
    """An operation id of the caller's."""
    return new_id()


def test_reserve_with_an_id_is_that_operation(manager, context, volume, key):
    """When the caller names a UUID, the operation has it, and a repetition the same answer."""
    first = manager.reserve_volume(context, volume.id, operation_id=key)
    assert key == first.operation_id

    assert first == manager.reserve_volume(context, volume.id, operation_id=key)


def test_reserve_without_an_id_is_refused_the_second_time(manager, context, volume, backend):
    """When a second caller comes without the id: InvalidVolume."""
    manager.reserve_volume(context, volume.id)

    with refused(manager, backend, exceptions.InvalidVolume):
        manager.reserve_volume(context, volume.id)


def test_reserve_with_another_id_is_refused(manager, context, volume, backend, key):
    """When a second caller comes with an id of its own: InvalidVolume."""
    manager.reserve_volume(context, volume.id, operation_id=key)

    with refused(manager, backend, exceptions.InvalidVolume):
        manager.reserve_volume(context, volume.id, operation_id=new_id())


def test_a_late_repetition_of_reserve_does_not_reserve_again(manager, context, volume, key):
    """When the operation was undone meanwhile, its id reserves nothing any more."""
    manager.reserve_volume(context, volume.id, operation_id=key)
    manager.unreserve_volume(context, volume.id)

    Call(manager.reserve_volume, context, volume.id, operation_id=key).outcome()

    assert manager.get_volume(context, volume.id).status == "available"


def test_a_late_repetition_of_reserve_keeps_the_connection(manager, context, volume, backend, key):
    """When the caller went on meanwhile, the repetition returns the volume and changes nothing."""
    manager.reserve_volume(context, volume.id, operation_id=key)
    manager.initialize_connection(context, volume.id, HOST_A)

    with nothing_changes(manager, backend):
        again = manager.reserve_volume(context, volume.id, operation_id=key)

    assert (again.status, again.operation_id) == ("attaching", key)


def test_begin_with_an_id_is_that_operation(manager, context, attached, key):
    """When begin_detaching is repeated with its id, it returns the same volume."""
    first = manager.begin_detaching(context, attached.id, operation_id=key)
    assert key == first.operation_id

    assert first == manager.begin_detaching(context, attached.id, operation_id=key)


def test_begin_without_an_id_is_refused_the_second_time(manager, context, attached, backend):
    """When a second caller comes without the id: InvalidVolume."""
    manager.begin_detaching(context, attached.id)

    with refused(manager, backend, exceptions.InvalidVolume):
        manager.begin_detaching(context, attached.id)


def test_an_attach_repeated_with_its_id_returns_the_same_attachment(
    manager, context, volume, driver, key
):
    """When the reply was lost, the second call returns it and does nothing twice."""
    arguments = (context, volume.id, HOST_A, INSTANCE_1, "a", "/dev/vdb", "rw", key)
    first = manager.attach_volume(*arguments)
    driver.forget()

    second = manager.attach_volume(*arguments)

    assert first == second
    assert first.connection_info == second.connection_info
    assert driver.names == []


def test_an_attach_repeated_in_another_process_returns_the_same_attachment(
    open_manager, manager, context, volume, key
):
    """When the process died after the commit, its successor gets the answer."""
    first = manager.attach_volume(context, volume.id, HOST_A, host_name="a", operation_id=key)
    manager.close()

    assert first == open_manager().attach_volume(
        context, volume.id, HOST_A, host_name="a", operation_id=key
    )


def test_a_connector_with_its_keys_in_another_order_is_the_same(manager, context, volume, key):
    """When the repetition builds its connector anew, the order of the keys is no conflict."""
    first = manager.attach_volume(context, volume.id, HOST_A, host_name="a", operation_id=key)
    turned = dict(reversed(HOST_A.items()))

    assert first == manager.attach_volume(
        context, volume.id, turned, host_name="a", operation_id=key
    )


def test_a_detach_repeated_with_its_id_returns_the_volume(manager, context, attached, driver, key):
    """When the reply was lost, the second call returns the volume and does nothing twice."""
    first = manager.detach_volume(context, attached.id, operation_id=key)
    driver.forget()

    assert first == manager.detach_volume(context, attached.id, operation_id=key)
    assert driver.names == []


@pytest.mark.parametrize(
    "change",
    [
        {"connector": HOST_B},
        {"instance_uuid": INSTANCE_2},
        {"host_name": "b"},
        {"mountpoint": "/dev/vdc"},
        {"mode": "ro"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_id_with_other_arguments_is_a_conflict(manager, context, volume, backend, key, change):
    """When the id comes back with another argument: OperationConflict; nothing is done."""
    arguments = {
        "connector": HOST_A,
        "instance_uuid": INSTANCE_1,
        "host_name": "a",
        "mountpoint": "/dev/vdb",
        "mode": "rw",
        "operation_id": key,
    }
    manager.attach_volume(context, volume.id, **arguments)

    with refused(manager, backend, exceptions.OperationConflict):
        manager.attach_volume(context, volume.id, **{**arguments, **change})


def test_an_id_on_another_volume_is_a_conflict(manager, context, volume, backend, key):
    """When the id comes back with another volume, by any call: OperationConflict."""
    other = manager.create_volume(context, 1, "lab")
    manager.attach_volume(context, volume.id, HOST_A, host_name="a", operation_id=key)

    with refused(manager, backend, exceptions.OperationConflict):
        manager.attach_volume(context, other.id, HOST_A, host_name="a", operation_id=key)
    with refused(manager, backend, exceptions.OperationConflict):
        manager.reserve_volume(context, other.id, operation_id=key)


def test_an_id_of_an_attach_is_no_id_of_a_detach(manager, context, volume, backend, key):
    """When an attach's id is used for a detach of its volume: OperationConflict."""
    manager.attach_volume(context, volume.id, HOST_A, host_name="a", operation_id=key)

    with refused(manager, backend, exceptions.OperationConflict):
        manager.detach_volume(context, volume.id, operation_id=key)
    with refused(manager, backend, exceptions.OperationConflict):
        manager.begin_detaching(context, volume.id, operation_id=key)


def test_a_forced_detach_is_not_the_same_as_one_that_is_not(
    manager, context, attached, backend, key
):
    """When the id comes back with another force: OperationConflict."""
    manager.detach_volume(context, attached.id, operation_id=key)

    with refused(manager, backend, exceptions.OperationConflict):
        manager.detach_volume(context, attached.id, force=True, operation_id=key)


@pytest.mark.parametrize(
    "error", [ExportFailed("the pool is full"), ValueError("the pool is full")]
)
def test_an_operation_that_rolled_back_raises_its_error_again(
    manager, context, volume, faulty, driver, key, error
):
    """When the id comes back, the stored error does, too, and the backend is not asked."""
    faulty.faults = [Fault("create_export", "before", error)]
    with pytest.raises(exceptions.DriverError) as first:
        manager.attach_volume(context, volume.id, HOST_A, host_name="a", operation_id=key)
    driver.forget()

    with pytest.raises(exceptions.DriverError) as second:
        manager.attach_volume(context, volume.id, HOST_A, host_name="a", operation_id=key)

    assert type(first.value) is type(second.value)
    assert str(first.value) == str(second.value)
    assert "the pool is full" in str(second.value)
    assert driver.names == []


def test_a_repetition_waits_for_the_one_that_runs(
    open_manager, manager, context, volume, driver, key
):
    """When the first call still runs, the second one waits and returns the same."""
    gate = Gate()
    driver.on["create_export"] = gate.stop

    def attach(on):
        return Call(on.attach_volume, context, volume.id, HOST_A, host_name="a", operation_id=key)

    first = attach(manager)
    gate.wait()
    same, other = attach(manager), attach(open_manager())
    gate.opened.set()

    assert first.value() == same.value() == other.value()
    assert driver.names.count("create_export") == 1
    assert len(manager.list_attachments(context, volume.id)) == 1


def test_a_repetition_hears_the_error_of_the_one_that_runs(
    open_manager, manager, context, volume, driver, faulty, key
):
    """When the first call fails while the second waits, both raise the same."""
    gate = Gate()
    driver.on["create_export"] = gate.stop
    faulty.faults = [Fault("initialize_connection", "before", ConnectionFailed("no"))]
    options = {"host_name": "a", "operation_id": key}
    first = Call(manager.attach_volume, context, volume.id, HOST_A, **options)
    gate.wait()
    second = Call(open_manager().attach_volume, context, volume.id, HOST_A, **options)
    gate.opened.set()

    assert isinstance(first.outcome(), ConnectionFailed)
    assert isinstance(second.outcome(), ConnectionFailed)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["create_export", "initialize_connection"])
def test_a_repetition_takes_over_from_a_dead_owner(
    open_manager, context, volume, faulty, backend, key, call, when
):
    """When the first owner died, the same call in another process finishes the attach."""
    first = open_manager()
    faulty.faults = [Fault(call, when, Crash)]
    with pytest.raises(Crash):
        first.attach_volume(context, volume.id, HOST_A, host_name="a", operation_id=key)
    first.close()

    found = open_manager().attach_volume(
        context, volume.id, HOST_A, host_name="a", operation_id=key
    )

    assert found.attach_status == "attached"
    backend.login(found.connection_info, HOST_A["initiator"])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["terminate_connection", "remove_export"])
def test_a_repeated_detach_takes_over_from_a_dead_owner(
    open_manager, context, attached, faulty, backend, key, call, when
):
    """When the first owner died, the same call in another process finishes the detach."""
    first = open_manager()
    faulty.faults = [Fault(call, when, Crash)]
    with pytest.raises(Crash):
        first.detach_volume(context, attached.id, operation_id=key)
    first.close()

    found = open_manager().detach_volume(context, attached.id, operation_id=key)

    assert found.status == "available"
    assert is_clean(backend, attached.id)


def test_a_repetition_that_waited_for_the_lock_in_vain_finds_what_others_did(
    open_manager, context, volume, faulty, key, monkeypatch
):
    """When whoever had the lock has settled the operation, its answer is the call's."""
    first, second, other = open_manager(), open_manager(), open_manager()
    faulty.faults = [Fault("create_export", "after", Crash)]
    with pytest.raises(Crash):
        first.attach_volume(context, volume.id, HOST_A, host_name="a", operation_id=key)
    first.close()

    def resume(*given, **options):
        other.recover()
        raise exceptions.VolumeLocked("the volume cannot be changed now")

    monkeypatch.setattr(second._joiner._runner, "resume", resume)
    found = second.attach_volume(context, volume.id, HOST_A, host_name="a", operation_id=key)

    assert found.attach_status == "attached"


@pytest.mark.parametrize("call", ["reserve", "attach", "begin", "detach"])
def test_an_operation_id_has_to_be_a_uuid(manager, context, volume, backend, call):
    """When the operation id is none: InvalidUUID; nothing is done."""
    if call in ("begin", "detach"):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    calls = {
        "reserve": lambda: manager.reserve_volume(context, volume.id, "first"),
        "attach": lambda: manager.attach_volume(
            context, volume.id, HOST_A, host_name="a", operation_id="first"
        ),
        "begin": lambda: manager.begin_detaching(context, volume.id, operation_id="first"),
        "detach": lambda: manager.detach_volume(context, volume.id, operation_id="first"),
    }

    with refused(manager, backend, exceptions.InvalidUUID):
        calls[call]()


def test_a_detach_that_ends_between_two_reads_of_another_is_its_answer(
    manager, open_manager, context, attached, monkeypatch
):
    """When the attachment was not detached yet as it was read, and the volume is free then."""
    (attachment,) = manager.list_attachments(context, attached.id)
    manager.begin_detaching(context, attached.id)
    other, read = open_manager(), manager._records.attachment

    def read_before(attachment_id):
        monkeypatch.undo()
        found = read(attachment_id)
        other.detach(context, attached.id, attachment_id)
        return found

    monkeypatch.setattr(manager._records, "attachment", read_before)
    assert "available" == manager.detach(context, attached.id, attachment.id).status


JOINED = {
    "initialize_connection": ("create_export", (HOST_A,)),
    "attach": ("attach_volume", (INSTANCE_1, "a", None)),
    "unreserve_volume": ("remove_export", ()),
    "terminate_connection": ("terminate_connection", (HOST_A,)),
    "detach": ("remove_export", ()),
    "roll_detaching": ("initialize_connection", ()),
}


@pytest.mark.parametrize("call", JOINED)
def test_a_call_joins_the_same_call_that_runs(
    open_manager, manager, context, volume, driver, call
):
    """When a call of the six is repeated while it runs, both return the same; one effect."""
    step, arguments = JOINED[call]
    if call in ("initialize_connection", "attach", "unreserve_volume"):
        manager.reserve_volume(context, volume.id)
        if call != "initialize_connection":
            manager.initialize_connection(context, volume.id, HOST_A)
    else:
        attachment = manager.attach_volume(context, volume.id, HOST_A, host_name="a")
        manager.begin_detaching(context, volume.id)
        if call == "detach":
            arguments = (attachment.id,)
        if call == "roll_detaching":
            manager.terminate_connection(context, volume.id, HOST_A)
    driver.forget()
    gate = Gate()
    driver.on[step] = gate.stop

    first = Call(getattr(manager, call), context, volume.id, *arguments)
    gate.wait()
    other = open_manager()
    looks: list[str] = []
    event.listen(
        other.database.engine, "before_cursor_execute", lambda *given: looks.append(given[2])
    )
    second = Call(getattr(other, call), context, volume.id, *arguments)
    until(lambda: len(looks) > 3, "the second one waits for the first, and looks how it is")
    gate.opened.set()

    assert first.value() == second.value()
    if call != "attach":  # its step is a notification, which comes at least once
        assert driver.names.count(step) == 1
