"""volflow.testing: what a program's own tests may rely on."""

from __future__ import annotations

import pytest

from tests.contract.lab import HOST_A, KEY_A, scene
from volflow import exceptions
from volflow.drivers import VolumeDriver
from volflow.testing import Crash, Fault, FaultyDriver, MemoryDriver, pause_heartbeat


def test_a_memory_driver_is_a_driver_and_needs_nothing():
    """When it is made without arguments, it is a VolumeDriver with an empty backend."""
    driver = MemoryDriver()

    assert isinstance(driver, VolumeDriver)
    assert list(driver.list_exports()) == []


def test_a_memory_driver_outlives_the_process(open_manager, context, backend, volume):
    """When a manager is closed and another is opened, exports, ACLs and sessions are there."""
    first = open_manager()
    made = first.attach_volume(context, volume.id, HOST_A, host_name="a")
    backend.login(made.connection_info, KEY_A)
    first.close()
    open_manager()

    (export,) = backend.list_exports()

    assert (export.volume_id, export.initiators, export.sessions) == (
        volume.id,
        (KEY_A,),
        (KEY_A,),
    )


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
def test_a_fault_strikes_before_or_after_the_effect(context, when, there):
    """When a fault strikes, the effect has not happened yet, or it has."""
    backend = MemoryDriver()
    driver = FaultyDriver(backend, [Fault("create_volume", when, ValueError("struck"))])

    class Asked:
        id, size_gib = "v", 1

    with pytest.raises(ValueError, match="struck"):
        driver.create_volume(context, Asked)

    assert there == ("v" in backend.volumes)


def test_a_fault_names_its_parts():
    """When a fault is made by name, the names are those of the interface."""
    assert Fault(call="create_export", when="before", error=Crash)
    with pytest.raises(ValueError, match="when"):
        Fault("create_export", "during", Crash)


def test_faults_may_be_a_list_given_at_the_start(open_manager, context, backend):
    """When FaultyDriver(driver, faults) is used as the interface spells it, it refuses."""
    driver = FaultyDriver(backend, faults=[Fault("create_export", "before", ValueError("no"))])
    manager = open_manager(drivers={"lab": driver})
    made = manager.create_volume(context, 1, "lab")

    with pytest.raises(exceptions.DriverError, match="no"):
        manager.attach_volume(context, made.id, HOST_A, host_name="a")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_is_the_death_of_the_process(
    open_manager, manager, context, volume, faulty, backend, when
):
    """When a Crash strikes, no undo runs, and nothing more is written."""
    seen = []
    faulty.faults = [Fault("create_export", when, Crash)]
    dying = open_manager()
    faulty_strike = faulty._strike

    def strike(name, moment):
        try:
            faulty_strike(name, moment)
        except Crash:
            seen.append(scene(manager, backend))
            raise

    faulty._strike = strike
    with pytest.raises(Crash):
        dying.attach_volume(context, volume.id, HOST_A, host_name="a")

    assert seen == [scene(manager, backend)]
    assert not isinstance(Crash(), Exception)


def test_a_pause_is_a_function_of_the_manager(open_manager):
    """When pause_heartbeat(manager) is called as the interface spells it, it takes a manager."""
    with open_manager() as manager:
        pause_heartbeat(manager)
