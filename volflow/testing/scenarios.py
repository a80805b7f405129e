"""The scenarios of the crash matrix: what a caller does to a volume, and how it may end."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from oslo_context.context import RequestContext

from volflow.exceptions import ConnectionFailed, ExportFailed, InvalidConnector
from volflow.manager import VolumeManager

BACKEND = "lab"
CONTEXT = RequestContext(overwrite=False)
HOST_A = {"initiator": "iqn.2004-10.org.example:a", "host": "a"}
HOST_B = {"initiator": "iqn.2004-10.org.example:b", "host": "b"}
Scene = Callable[[VolumeManager, str], Any]


def nothing(manager: VolumeManager, volume_id: str) -> None:
    """The volume is available."""


def attached(manager: VolumeManager, volume_id: str) -> None:
    manager.attach_volume(CONTEXT, volume_id, HOST_A, host_name="a")


def attached_twice(manager: VolumeManager, volume_id: str) -> None:
    attached(manager, volume_id)
    manager.attach_volume(CONTEXT, volume_id, HOST_B, host_name="b")


def reserved(manager: VolumeManager, volume_id: str) -> None:
    manager.reserve_volume(CONTEXT, volume_id)


def connected(manager: VolumeManager, volume_id: str) -> None:
    reserved(manager, volume_id)
    manager.initialize_connection(CONTEXT, volume_id, HOST_A)


def detaching(manager: VolumeManager, volume_id: str) -> None:
    attached(manager, volume_id)
    manager.begin_detaching(CONTEXT, volume_id)


def terminated(manager: VolumeManager, volume_id: str) -> None:
    detaching(manager, volume_id)
    manager.terminate_connection(CONTEXT, volume_id, HOST_A)


def attach(manager: VolumeManager, volume_id: str) -> None:
    manager.attach_volume(CONTEXT, volume_id, HOST_A, host_name="a")


def attach_second(manager: VolumeManager, volume_id: str) -> None:
    manager.attach_volume(CONTEXT, volume_id, HOST_B, host_name="b")


def attach_same_initiator(manager: VolumeManager, volume_id: str) -> None:
    manager.attach_volume(CONTEXT, volume_id, HOST_A, instance_uuid=str(uuid.uuid4()))


def detach(manager: VolumeManager, volume_id: str) -> None:
    manager.detach_volume(CONTEXT, volume_id)


def detach_first(manager: VolumeManager, volume_id: str) -> None:
    first = manager.list_attachments(CONTEXT, volume_id)[0]
    manager.detach_volume(CONTEXT, volume_id, first.id)


def detach_forced(manager: VolumeManager, volume_id: str) -> None:
    manager.detach_volume(CONTEXT, volume_id, force=True)


def call_reserve(manager: VolumeManager, volume_id: str) -> None:
    manager.reserve_volume(CONTEXT, volume_id)


def call_initialize(manager: VolumeManager, volume_id: str) -> None:
    manager.initialize_connection(CONTEXT, volume_id, HOST_A)


def call_attach(manager: VolumeManager, volume_id: str) -> None:
    manager.attach(CONTEXT, volume_id, None, "a", "/dev/vdb")


def call_unreserve(manager: VolumeManager, volume_id: str) -> None:
    manager.unreserve_volume(CONTEXT, volume_id)


def call_begin(manager: VolumeManager, volume_id: str) -> None:
    manager.begin_detaching(CONTEXT, volume_id)


def call_terminate(manager: VolumeManager, volume_id: str) -> None:
    manager.terminate_connection(CONTEXT, volume_id, HOST_A)


def call_detach(manager: VolumeManager, volume_id: str) -> None:
    manager.detach(CONTEXT, volume_id)


def call_roll(manager: VolumeManager, volume_id: str) -> None:
    manager.roll_detaching(CONTEXT, volume_id)


def cancel(manager: VolumeManager, volume_id: str) -> None:
    owner = manager.get_volume(CONTEXT, volume_id).operation_id
    assert owner is not None
    manager.cancel_operation(CONTEXT, owner)


def create(manager: VolumeManager, volume_id: str) -> None:
    manager.create_volume(CONTEXT, size_gib=1, backend=BACKEND)


def delete(manager: VolumeManager, volume_id: str) -> None:
    manager.delete_volume(CONTEXT, volume_id)


@dataclass(frozen=True)
class Scenario:
    """Before the call, the call, what the driver refuses in it, and what may be there after.

    :ivar ends: the volume's statuses that are in order once everything is recovered.
    """

    name: str
    before: Scene
    call: Scene
    ends: tuple[str, ...]
    faults: tuple[tuple[str, str, type[Exception]], ...] = ()
    multiattach: bool = False


SCENARIOS = [
    Scenario("attach", nothing, attach, ("available", "in-use")),
    Scenario("detach", attached, detach, ("in-use", "available")),
    Scenario("detach-forced", attached, detach_forced, ("in-use", "available")),
    Scenario("reserve", nothing, call_reserve, ("available", "attaching")),
    Scenario("initialize", reserved, call_initialize, ("attaching",)),
    Scenario("attach-call", connected, call_attach, ("attaching", "in-use")),
    Scenario("unreserve", connected, call_unreserve, ("attaching", "available")),
    Scenario("give-up", connected, call_terminate, ("attaching",)),
    Scenario("begin", attached, call_begin, ("in-use", "detaching")),
    Scenario("terminate", detaching, call_terminate, ("detaching",)),
    Scenario("detach-call", terminated, call_detach, ("detaching", "available")),
    Scenario("detach-at-once", detaching, call_detach, ("detaching", "available")),
    Scenario("roll", terminated, call_roll, ("detaching", "in-use")),
    Scenario("cancel-attach", connected, cancel, ("attaching", "available")),
    Scenario("cancel-detach", terminated, cancel, ("detaching", "in-use")),
    Scenario("create", nothing, create, ("available",)),
    Scenario("delete", nothing, delete, ("available", "deleted")),
    Scenario("second", attached, attach_second, ("in-use",), multiattach=True),
    Scenario("same-initiator", attached, attach_same_initiator, ("in-use",), multiattach=True),
    Scenario("detach-one", attached_twice, detach_first, ("in-use",), multiattach=True),
]
_ATTACH_STEPS = {
    "validate_connector": InvalidConnector,
    "create_export": ExportFailed,
    "initialize_connection": ConnectionFailed,
}
SCENARIOS += [
    Scenario(
        f"attach-refused-{when}-{step}",
        nothing,
        attach,
        ("available", "in-use"),
        ((step, when, error),),
    )
    for step, error in _ATTACH_STEPS.items()
    for when in ("before", "after")
]
for _step, _error in {
    "terminate_connection": ConnectionFailed,
    "remove_export": ExportFailed,
}.items():
    SCENARIOS.append(
        Scenario(
            f"detach-refused-{_step}",
            attached,
            detach,
            ("available", "in-use"),
            ((_step, "after", _error),),
        )
    )
    SCENARIOS.append(
        Scenario(
            f"detach-forced-refused-{_step}",
            attached,
            detach_forced,
            ("available", "in-use"),
            ((_step, "before", _error),),
        )
    )
SCENARIOS += [
    Scenario(
        "undo-refused",
        nothing,
        attach,
        ("available", "in-use"),
        (
            ("initialize_connection", "after", ConnectionFailed),
            ("terminate_connection", "before", ConnectionFailed),
        ),
    ),
    Scenario(
        "second-refused",
        attached,
        attach_second,
        ("in-use",),
        (("initialize_connection", "after", ConnectionFailed),),
        multiattach=True,
    ),
]
