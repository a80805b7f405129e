"""VolumeManager.reconcile of several backends, and of those that are down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.conftest import OpenManager
from tests.contract.harms import Place, lose_the_export
from tests.contract.lab import HOST_A, HOST_B, INSTANCE_1, KEY_A, KEY_B, UNKNOWN, Telling, refused
from volflow import DifferenceKind as Kind
from volflow import VolumeManager, exceptions
from volflow.exceptions import DriverError
from volflow.testing import MemoryDriver
from volflow.testing.invariants import violations


@pytest.fixture
def two(open_manager: OpenManager, place: Place) -> tuple[VolumeManager, MemoryDriver, str]:
    """A manager of two backends, the second one, and a volume that is attached there."""
    second = MemoryDriver()
    manager = open_manager(drivers={"lab": place.backend, "other": second})
    volume = manager.create_volume(place.context, 1, "other")
    manager.attach_volume(place.context, volume.id, HOST_A, host_name="a")
    return manager, second, volume.id


def test_each_backend_is_compared_with_its_own_volumes(
    place: Place, two: tuple[VolumeManager, MemoryDriver, str]
) -> None:
    """Without a name all are looked at, with one only that one; each has its own repair."""
    manager, second, volume_id = two
    assert [] == manager.reconcile(place.context)
    second.restart_target()
    lose_the_export(place)
    found = manager.reconcile(place.context)
    assert {("lab", place.attached), ("other", volume_id)} == {
        (d.backend, d.volume_id) for d in found
    }
    assert [volume_id] == [d.volume_id for d in manager.reconcile(place.context, backend="other")]

    (repaired,) = manager.reconcile(place.context, backend="other", repair=True)

    assert ("other", True) == (repaired.backend, repaired.repaired)
    assert {KEY_A} == second.acls[volume_id]
    assert {} == place.backend.exports
    assert [] == violations(manager, second, "other")


def test_an_export_of_another_backend_s_volume_is_named_and_left(
    place: Place, two: tuple[VolumeManager, MemoryDriver, str]
) -> None:
    """When it is not what that volume should have; recovery repairs nothing for it, either."""
    manager, second, volume_id = two
    place.backend.exports[volume_id] = "CHAP old secret"
    place.backend.acls[volume_id] = {KEY_B}
    (found,) = manager.reconcile(place.context, repair=True, force=True)
    assert (Kind.EXPORT_UNKNOWN, "lab", volume_id) == (found.kind, found.backend, found.volume_id)
    assert not found.repaired
    assert {KEY_B} == place.backend.acls[volume_id]
    assert () == manager.recover().cleaned
    assert [] == violations(manager, second, "other")


def test_two_backends_may_share_a_target(place: Place, open_manager: OpenManager) -> None:
    """When each lists the exports of both, nothing differs; and a lost one is made once."""
    manager = open_manager(drivers={"lab": place.backend, "other": place.backend})
    volume = manager.create_volume(place.context, 1, "other")
    manager.attach_volume(place.context, volume.id, HOST_B, host_name="b")
    assert [] == manager.reconcile(place.context)
    lose_the_export(place)
    assert 2 == len(manager.recover().cleaned)
    assert [] == manager.reconcile(place.context)


@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("name", ["elsewhere", "", "LAB"])
def test_a_backend_that_nobody_here_serves_is_refused(
    place: Place, name: str, repair: bool
) -> None:
    with refused(place.manager, place.backend, exceptions.BackendNotFound):
        place.reconcile(backend=name, repair=repair)


def test_a_process_without_drivers_compares_nothing(
    place: Place, open_manager: OpenManager
) -> None:
    lose_the_export(place)
    assert [] == open_manager(drivers={}).reconcile(place.context, repair=True)


@pytest.mark.parametrize(
    "options", [{"backend": 7}, {"repair": "yes"}, {"repair": None}, {"force": 1}], ids=str
)
def test_what_is_no_argument_is_refused(place: Place, options: dict[str, Any]) -> None:
    with refused(place.manager, place.backend, exceptions.InvalidInput):
        place.reconcile(**options)


class NoText(Exception):
    """It cannot be printed."""

    def __str__(self) -> str:
        raise ValueError("no text")


def raises(error: BaseException) -> Callable[[], Any]:
    def list_exports() -> Any:
        raise error

    return list_exports


def dies_half_way() -> Any:
    yield from MemoryDriver().list_exports()
    raise OSError("the connection was reset")


DOWN = {
    "of ours": raises(DriverError("the array is down")),
    "not a driver's": raises(exceptions.InvalidVolume("not mine to say")),
    "os": raises(OSError("the array is down")),
    "key": raises(KeyError("exports")),
    "no text": raises(NoText()),
    "half way": dies_half_way,
    "nothing": lambda: None,
    "no exports": lambda: [None, {"volume_id": "x"}],
    "no initiators": lambda: [type("E", (), {"volume_id": UNKNOWN, "initiators": None})()],
}


@pytest.mark.parametrize("down", DOWN.values(), ids=DOWN)
def test_a_backend_that_is_down_is_a_driver_error(
    place: Place,
    two: tuple[VolumeManager, MemoryDriver, str],
    down: Callable[[], Any],
) -> None:
    """Whatever its list raises or returns; the other backend can be reconciled by name."""
    manager, second, volume_id = two
    second.restart_target()
    place.backend.list_exports = down
    for repair in (False, True):
        with pytest.raises(DriverError) as heard:
            manager.reconcile(place.context, repair=repair)
        assert str(heard.value)
    (found,) = manager.reconcile(place.context, backend="other", repair=True)
    assert (volume_id, True) == (found.volume_id, found.repaired)


@pytest.mark.parametrize("down", DOWN.values(), ids=DOWN)
def test_recovery_goes_on_beside_a_backend_that_is_down(
    place: Place,
    two: tuple[VolumeManager, MemoryDriver, str],
    down: Callable[[], Any],
) -> None:
    """The other backend's volumes are compared, and what was cut off is resumed."""
    manager, second, volume_id = two
    second.restart_target()
    place.backend.list_exports = down
    report = manager.recover()
    assert 1 == len(report.cleaned)
    assert volume_id == manager.get_operation(place.context, report.cleaned[0]).volume_id
    assert {KEY_A} == second.acls[volume_id]


def test_many_volumes_are_looked_at_in_one_list(place: Place, driver: Telling) -> None:
    """The backend is asked a few times, and not once a volume."""
    for _ in range(20):
        volume = place.manager.create_volume(place.context, 1, "lab")
        place.manager.attach_volume(place.context, volume.id, HOST_A, INSTANCE_1)
    lose_the_export(place)
    driver.forget()
    assert 21 == len(place.reconcile())
    assert 2 >= [name for name, _, _ in driver.heard].count("list_exports")
