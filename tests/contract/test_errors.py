"""The errors: one tree, plain to make, and the first one is the one that is told."""

from __future__ import annotations

import pickle

import pytest

from tests.contract.lab import HOST_A, HOST_B, is_clean
from volflow import exceptions
from volflow.testing import Fault

TREE = {
    "NotFound": "VolflowError",
    "VolumeNotFound": "NotFound",
    "AttachmentNotFound": "NotFound",
    "OperationNotFound": "NotFound",
    "BackendNotFound": "NotFound",
    "InvalidInput": "VolflowError",
    "InvalidConnector": "InvalidInput",
    "InvalidUUID": "InvalidInput",
    "InvalidVolumeAttachMode": "InvalidInput",
    "InvalidVolume": "VolflowError",
    "OperationConflict": "VolflowError",
    "DriverError": "VolflowError",
    "ExportFailed": "DriverError",
    "ConnectionFailed": "DriverError",
    "TransientDriverError": "DriverError",
    "RollbackIncomplete": "VolflowError",
    "ConnectionInUse": "VolflowError",
    "Fenced": "VolflowError",
    "DatabaseError": "VolflowError",
    "BoardError": "VolflowError",
}


@pytest.mark.parametrize("name", TREE)
def test_an_error_has_its_place_in_the_tree(name):
    """When a program catches a class, it catches those below it, too."""
    assert issubclass(getattr(exceptions, name), getattr(exceptions, TREE[name]))
    assert issubclass(exceptions.VolflowError, Exception)


@pytest.mark.parametrize("name", [*TREE, "VolflowError"])
def test_an_error_is_made_of_one_message(name):
    """When an error is made of a message alone, it says that, also after pickling."""
    error = getattr(exceptions, name)("what happened")

    assert str(error) == "what happened"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), "what happened")


def test_invalid_volume_names_the_state_and_what_was_expected(manager, context, attached):
    """When the state forbids a call, the sentence has the volume, its state and the wanted one."""
    with pytest.raises(exceptions.InvalidVolume) as caught:
        manager.reserve_volume(context, attached.id)

    for word in (attached.id, "in-use", "available"):
        assert word in str(caught.value)


class PoolFull(exceptions.ExportFailed):
    """An error of a driver's own."""


class Foreign(Exception):
    """An error of a library that a driver uses."""


def test_a_drivers_own_error_class_reaches_the_caller(manager, context, volume, faulty):
    """When a driver raises a subclass of DriverError, the caller can catch it by its class."""
    faulty.faults = [Fault("create_export", "before", PoolFull("full"))]

    with pytest.raises(PoolFull, match="full"):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")


@pytest.mark.parametrize("call", ["validate_connector", "create_export", "initialize_connection"])
def test_a_foreign_error_becomes_a_driver_error_with_its_cause(
    manager, context, volume, faulty, backend, call
):
    """When a driver raises what is no DriverError, the original is the __cause__."""
    original = Foreign("socket closed")
    faulty.faults = [Fault(call, "before", original)]

    with pytest.raises(exceptions.DriverError, match="socket closed") as caught:
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    assert caught.value.__cause__ is original
    assert is_clean(backend, volume.id)


@pytest.mark.parametrize(
    "kind", [exceptions.InvalidVolume, exceptions.VolumeNotFound, exceptions.Fenced]
)
def test_an_error_of_ours_that_is_no_driver_error_is_foreign_to_a_driver(
    manager, context, volume, faulty, backend, kind
):
    """When a driver raises another class of ours, it is DriverError with the original cause."""
    original = kind("from a driver")
    faulty.faults = [Fault("create_export", "before", original)]

    with pytest.raises(exceptions.DriverError, match="from a driver") as caught:
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    assert caught.value.__cause__ is original
    assert manager.get_volume(context, volume.id).status == "available"


CALLS = [
    "create_export",
    "initialize_connection",
    "terminate_connection",
    "remove_export",
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_transient_error_is_retried(manager, context, volume, faulty, backend, call, when):
    """When the backend is busy once, the caller does not notice."""
    faulty.faults = [Fault(call, when, exceptions.TransientDriverError("busy"))]

    manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    manager.detach_volume(context, volume.id)

    assert faulty.calls.count(call) == 2
    assert is_clean(backend, volume.id)


def test_a_transient_error_that_stays_is_told(manager, context, volume, faulty, backend):
    """When the backend is busy each time, TransientDriverError, and what was done is undone."""
    faulty.faults = [
        Fault("initialize_connection", "after", exceptions.TransientDriverError("busy"), None)
    ]

    with pytest.raises(exceptions.TransientDriverError, match="busy"):
        manager.attach_volume(context, volume.id, HOST_A, host_name="a")

    assert faulty.calls.count("initialize_connection") > 1
    assert manager.get_volume(context, volume.id).status == "available"
    assert is_clean(backend, volume.id)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_attach_is_settled_by_recovery(
    open_manager, context, volume, faulty, backend, error
):
    """When Ctrl-C ends the process in the middle, the next one settles the volume."""
    first = open_manager()
    faulty.faults = [Fault("initialize_connection", "after", error("stop"))]
    with pytest.raises(error):
        first.attach_volume(context, volume.id, HOST_A, host_name="a")
    first.close()

    second = open_manager()
    second.recover()

    found = second.get_volume(context, volume.id)
    assert found.operation_id is None
    assert (found.status == "in-use") == (volume.id in backend.exports)


def test_an_error_leaves_the_manager_usable(manager, context, volume, faulty):
    """When many calls failed, the next good one works."""
    for _ in range(20):
        faulty.faults = [Fault("create_export", "before", Foreign("no"))]
        with pytest.raises(exceptions.DriverError):
            manager.attach_volume(context, volume.id, HOST_B, host_name="b")

    assert manager.attach_volume(context, volume.id, HOST_A, host_name="a")
