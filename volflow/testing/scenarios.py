"""The scenarios of the crash matrix: what a caller does to a volume, and how it may end."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from oslo_context.context import RequestContext
from sqlalchemy import text

from volflow.exceptions import ConnectionFailed, ExportFailed, InvalidConnector
from volflow.manager import VolumeManager
from volflow.models import DriverVolume

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


def restarted(before: Scene) -> Scene:
    """The target daemon has lost everything that it exported."""

    def scene(manager: VolumeManager, volume_id: str) -> None:
        before(manager, volume_id)
        manager.drivers[BACKEND].restart_target()

    return scene


def expired(before: Scene) -> Scene:
    """The operation's caller was waited for long enough."""

    def scene(manager: VolumeManager, volume_id: str) -> None:
        before(manager, volume_id)
        by_hand(
            manager,
            volume_id,
            "UPDATE operations SET deadline = 1 WHERE volume_id = :id AND deadline IS NOT NULL",
        )

    return scene


def by_hand(manager: VolumeManager, volume_id: str, statement: str) -> None:
    """What an operator's hand, or time, does to a volume's rows."""
    manager.database.write(lambda c: c.execute(text(statement), {"id": volume_id}))


def in_doubt(manager: VolumeManager, volume_id: str) -> None:
    """A driver call of unknown outcome has had its effect long after its operation ended."""
    export_by_hand(manager, volume_id)
    by_hand(manager, volume_id, "UPDATE volumes SET compare_at = 1 WHERE id = :id")


def after_doubt(before: Scene) -> Scene:
    """A driver call of unknown outcome can have no effect any more, and may have had one."""

    def scene(manager: VolumeManager, volume_id: str) -> None:
        before(manager, volume_id)
        ended = "UPDATE volumes SET compare_at = 1, unsure_until = 1 WHERE id = :id"
        by_hand(manager, volume_id, ended)

    return scene


def export_by_hand(manager: VolumeManager, volume_id: str) -> None:
    """The backend exports a volume that no attachment needs."""
    driver, known = manager.drivers[BACKEND], manager.get_volume(CONTEXT, volume_id)
    volume = DriverVolume(
        **{f.name: getattr(known, f.name) for f in fields(known)},
        provider_auth="CHAP user1234567890123456 secret1234567890",
    )
    update = driver.create_export(CONTEXT, volume, HOST_A)
    driver.initialize_connection(replace(volume, **(update or {})), HOST_A)


def stuck_by_hand(before: Scene) -> Scene:
    """A hand has taken the volume from the operation that was bringing it on."""

    def scene(manager: VolumeManager, volume_id: str) -> None:
        before(manager, volume_id)
        by_hand(manager, volume_id, "UPDATE volumes SET operation_id = NULL WHERE id = :id")

    return scene


def recover(manager: VolumeManager, volume_id: str) -> None:
    manager.recover()


def reconcile(manager: VolumeManager, volume_id: str) -> None:
    manager.reconcile(CONTEXT, repair=True)


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


def connect(manager: VolumeManager, volume_id: str) -> None:
    manager.connect_volume(CONTEXT, volume_id)


def connect_twice(manager: VolumeManager, volume_id: str) -> None:
    connect(manager, volume_id)
    connect(manager, volume_id)


def disconnect(manager: VolumeManager, volume_id: str) -> None:
    manager.disconnect_volume(CONTEXT, volume_id)


def disconnect_first(manager: VolumeManager, volume_id: str) -> None:
    first, *_ = manager.list_attachments(CONTEXT, volume_id)
    manager.disconnect_volume(CONTEXT, volume_id, first.id)


def create(manager: VolumeManager, volume_id: str) -> None:
    manager.create_volume(CONTEXT, size_gib=1, backend=BACKEND)


def delete(manager: VolumeManager, volume_id: str) -> None:
    manager.delete_volume(CONTEXT, volume_id)


@dataclass(frozen=True)
class Scenario:
    """Before the call, the call, what the driver refuses in it, and what may be there after.

    :ivar ends: the volume's statuses that are in order once everything is recovered.
    :ivar by_hand: its first state was made by a hand, so that an operator has to reconcile it.
    :ivar restarts: the target daemon was restarted in its first state.
    :ivar on_host: the processes are those of the host that uses the volume.
    :ivar asks_sessions: it ends by itself only where the backend tells who is logged in.
    """

    name: str
    before: Scene
    call: Scene
    ends: tuple[str, ...]
    faults: tuple[tuple[str, str, type[Exception]], ...] = ()
    multiattach: bool = False
    by_hand: bool = False
    restarts: bool = False
    asks_sessions: bool = False
    on_host: bool = False


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
SCENARIOS += [
    Scenario("expire-reserved", expired(reserved), recover, ("available",)),
    Scenario("expire-attach", expired(connected), recover, ("available",), asks_sessions=True),
    Scenario("expire-detach", expired(terminated), recover, ("in-use",)),
    Scenario("restart-attached", restarted(attached), recover, ("in-use",), restarts=True),
    Scenario(
        "restart-two",
        restarted(attached_twice),
        recover,
        ("in-use",),
        multiattach=True,
        restarts=True,
    ),
    Scenario("restart-connected", restarted(connected), recover, ("attaching",), restarts=True),
    Scenario("restart-detaching", restarted(detaching), recover, ("detaching",), restarts=True),
    Scenario("restart-terminated", restarted(terminated), recover, ("detaching",), restarts=True),
    Scenario(
        "restart-roll", restarted(terminated), call_roll, ("detaching", "in-use"), restarts=True
    ),
    Scenario(
        "restart-detach", restarted(attached), detach, ("available", "in-use"), restarts=True
    ),
    Scenario("compare", in_doubt, recover, ("available",), asks_sessions=True),
    Scenario("doubt-attached", after_doubt(attached), recover, ("in-use",)),
    Scenario("doubt-detaching", after_doubt(terminated), recover, ("detaching",)),
    Scenario(
        "reconcile-export",
        export_by_hand,
        reconcile,
        ("available",),
        by_hand=True,
        asks_sessions=True,
    ),
    Scenario(
        "reconcile-attaching",
        stuck_by_hand(connected),
        reconcile,
        ("available",),
        by_hand=True,
        asks_sessions=True,
    ),
    Scenario(
        "reconcile-detaching", stuck_by_hand(terminated), reconcile, ("in-use",), by_hand=True
    ),
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
HOST_SCENARIOS = [
    Scenario("host-attach", nothing, connect, ("available", "in-use"), on_host=True),
    Scenario("host-detach", connect, disconnect, ("in-use", "available"), on_host=True),
    Scenario("host-second", connect, connect, ("in-use",), multiattach=True, on_host=True),
    Scenario(
        "host-detach-one",
        connect_twice,
        disconnect_first,
        ("in-use",),
        multiattach=True,
        on_host=True,
    ),
    Scenario(
        "host-attach-refused",
        nothing,
        connect,
        ("available", "in-use"),
        (("connect_volume", "after", ConnectionFailed),),
        on_host=True,
    ),
    Scenario(
        "host-detach-refused",
        connect,
        disconnect,
        ("in-use", "available"),
        (("terminate_connection", "after", ConnectionFailed),),
        on_host=True,
    ),
]
"""Scenarios of processes of the host that uses the volume; its backend lets hosts log in."""
