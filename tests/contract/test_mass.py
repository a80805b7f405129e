"""Many volumes by one call: each ends by itself, and all are told of."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.contract.conftest import OpenManager
from tests.contract.lab import HOST_A, HOST_B, INSTANCE_1
from volflow import RequestContext, Volume, VolumeManager, exceptions
from volflow.mass import each
from volflow.testing import Fault, FaultyDriver, MemoryDriver
from volflow.testing.invariants import violations

MANY = 24


@pytest.fixture
def many(manager: VolumeManager, context: RequestContext) -> list[str]:
    return [manager.create_volume(context, 1, "lab").id for _ in range(MANY)]


def test_all_volumes_of_a_host_go_to_another(
    manager: VolumeManager, context: RequestContext, backend: MemoryDriver, many: list[str]
) -> None:
    """When the host has died, say."""
    attached = list(manager.attach_volumes(context, many, HOST_A, host_name="a", jobs=4))
    assert set(many) == {o.volume_id for o in attached if o.error is None}
    other = manager.create_volume(context, 1, "lab").id
    manager.attach_volume(context, other, HOST_B, host_name="b")

    moved = list(manager.move_volumes(context, "a", HOST_B, "b"))

    assert set(many) == {o.volume_id for o in moved}
    assert all(o.result and o.result.attached_host == "b" for o in moved)
    assert MANY + 1 == len(manager.list_attachments(context))
    assert [] == violations(manager, backend, "lab")


def test_what_moves_stays_as_it_was(
    manager: VolumeManager, context: RequestContext, volume: Volume
) -> None:
    """When an instance has it, read-only, at a mount point."""
    manager.attach_volume(context, volume.id, HOST_A, INSTANCE_1, "a", "/dev/vdc", "ro")
    (moved,) = manager.move_volumes(context, "a", HOST_B, "b")
    found = moved.result
    assert found is not None
    assert ("b", INSTANCE_1, "/dev/vdc", "ro") == (
        found.attached_host,
        found.instance_uuid,
        found.mountpoint,
        found.attach_mode,
    )


@pytest.mark.parametrize(
    ("call", "step", "status"),
    [("remove_export", "detach", "in-use"), ("create_export", "attach", "available")],
)
def test_a_step_that_is_refused_is_told_with_what_is_left(
    manager: VolumeManager,
    context: RequestContext,
    faulty: FaultyDriver,
    attached: Volume,
    call: str,
    step: str,
    status: str,
) -> None:
    faulty.faults += [Fault(call, "before", exceptions.ExportFailed("full"))]
    (moved,) = manager.move_volumes(context, "a", HOST_B, "b")
    assert (step, None) == (moved.step, moved.result)
    assert "full" in str(moved.error)
    assert status == manager.get_volume(context, attached.id).status


def test_no_host_is_not_every_host(manager: VolumeManager, context: RequestContext) -> None:
    """When a name is missing, nothing is detached of attachments that have none either."""
    for host in (None, ""):
        with pytest.raises(exceptions.InvalidInput, match="host_name"):
            manager.detach_volumes(context, host)  # type: ignore[arg-type]
        with pytest.raises(exceptions.InvalidInput, match="host_name"):
            manager.move_volumes(context, host, HOST_B, "b")  # type: ignore[arg-type]


def test_what_is_refused_is_told_and_keeps_no_other_from_going_on(
    manager: VolumeManager, context: RequestContext, faulty: FaultyDriver, many: list[str]
) -> None:
    faulty.faults += [
        Fault("create_export", "before", exceptions.ExportFailed("full")) for _ in range(2)
    ]
    found = list(manager.attach_volumes(context, many, HOST_A, host_name="a", jobs=3))
    refused = [o for o in found if o.error is not None]
    assert MANY == len(found)
    assert 2 == len(refused)
    for outcome in refused:
        assert outcome.result is None
        assert "full" in str(outcome.error)
        assert "available" == manager.get_volume(context, outcome.volume_id).status


def test_the_same_call_again_does_the_rest(
    manager: VolumeManager, context: RequestContext, faulty: FaultyDriver, many: list[str]
) -> None:
    list(manager.attach_volumes(context, many, HOST_A, host_name="a"))
    faulty.faults += [
        Fault("remove_export", "before", exceptions.ExportFailed("busy")) for _ in range(5)
    ]
    first = list(manager.detach_volumes(context, "a"))
    assert 5 == sum(o.error is not None for o in first)
    again = list(manager.detach_volumes(context, "a"))
    assert {o.volume_id for o in first if o.error} == {o.volume_id for o in again}
    assert [] == manager.list_attachments(context)


def test_every_attachment_of_a_volume_goes(
    open_manager: OpenManager, manager: VolumeManager, context: RequestContext, shared: object
) -> None:
    """When two instances of a host have it."""
    volume_id = shared.id  # type: ignore[attr-defined]
    for instance in ("1" * 8, "2" * 8):
        manager.attach_volume(
            context, volume_id, HOST_A, f"{instance}-1111-4111-8111-111111111111", "a"
        )
    assert 2 == len(list(manager.detach_volumes(context, "a", jobs=1)))
    assert "available" == manager.get_volume(context, volume_id).status


def test_no_more_go_on_at_a_time_than_were_asked_for() -> None:
    going, most, lock = 0, 0, threading.Lock()

    def call() -> None:
        nonlocal going, most
        with lock:
            going += 1
            most = max(most, going)
        threading.Event().wait(0.01)
        with lock:
            going -= 1

    assert 20 == len(list(each(((str(n), [("call", call)]) for n in range(20)), 3)))
    assert most <= 3


def test_who_stops_listening_stops_the_rest() -> None:
    """What has begun ends."""
    begun: list[int] = []

    def calls() -> Iterator[tuple[str, object]]:
        for number in range(100):
            yield str(number), [("call", lambda number=number: begun.append(number))]

    found = each(calls(), 2)  # type: ignore[arg-type]
    next(found)
    found.close()
    assert len(begun) < 10


@pytest.mark.parametrize("jobs", [0, -1, 1.5, "4", True])
def test_a_number_of_jobs_that_is_none_is_refused(
    manager: VolumeManager, context: RequestContext, jobs: object
) -> None:
    with pytest.raises(exceptions.InvalidInput, match="jobs"):
        manager.detach_volumes(context, "a", jobs=jobs)  # type: ignore[arg-type]
