"""Which tasks each call runs, and where its operation stands afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from volflow.flows import attach, detach, repair, volume
from volflow.models import OperationKind
from volflow.tasks.base import Step

RESTORE = "restore"
"""The phase that repairs the backend of a volume whose operation rests; it then rests again."""


class Phase(NamedTuple):
    """The part of an operation that one call runs.

    :ivar opens: the operation begins with it, so that its failure ends the operation.
    :ivar settles: the operation ends with it; else it waits for its caller's next call.
    :ivar caller_needed: it is of no use to anybody once its caller is dead: it is undone then.
    """

    name: str
    kind: OperationKind
    tasks: tuple[str, ...]
    opens: bool
    settles: bool
    caller_needed: bool = False


class Undo(NamedTuple):
    """A call that undoes phases of an operation.

    :ivar phases: whose flows it undoes; None: all, which settles the operation.
    """

    name: str
    phases: tuple[str, ...] | None


_STEPS: dict[OperationKind, Callable[[], list[Step]]] = {
    OperationKind.ATTACH: attach.attach_steps,
    OperationKind.DETACH: detach.detach_steps,
    OperationKind.CREATE: volume.create_steps,
    OperationKind.DELETE: volume.delete_steps,
    OperationKind.REPAIR: repair.repair_steps,
}


def steps(kind: OperationKind, names: Sequence[str]) -> list[Step]:
    """The tasks of these names, in the order of the flow."""
    found = [step for step in _STEPS[kind]() if step.name in names]
    if len(found) != len(names):
        missing = sorted(set(names) - {step.name for step in found})
        raise LookupError(f"the {kind} flow has no task {', '.join(missing)}")
    return found


_ON_THE_HOST = ("connect-host", "disconnect-host")
"""Tasks of operations that the host that uses the volume runs itself."""


def _one_shot(name: str, kind: OperationKind) -> Phase:
    tasks = [step.name for step in _STEPS[kind]()]
    chosen = tuple(task for task in tasks if task not in _ON_THE_HOST)
    return Phase(name, kind, chosen, opens=True, settles=True)


def _of_host(name: str, kind: OperationKind) -> Phase:
    tasks = tuple(step.name for step in _STEPS[kind]())
    return Phase(name, kind, tasks, True, True, caller_needed=kind is OperationKind.ATTACH)


def _parts(kind: OperationKind, parts: dict[str, tuple[str, ...]]) -> list[Phase]:
    first, *_, last = parts
    return [
        Phase(name, kind, tasks, opens=name == first, settles=name == last)
        for name, tasks in parts.items()
    ]


PHASES: dict[str, Phase] = {
    phase.name: phase
    for phase in (
        *_parts(OperationKind.ATTACH, attach.PHASES),
        *_parts(OperationKind.DETACH, detach.PHASES),
        _one_shot("attach_volume", OperationKind.ATTACH),
        _one_shot("detach_volume", OperationKind.DETACH),
        _of_host("connect_volume", OperationKind.ATTACH),
        _of_host("disconnect_volume", OperationKind.DETACH),
        _one_shot("create_volume", OperationKind.CREATE),
        _one_shot("delete_volume", OperationKind.DELETE),
        _one_shot("repair", OperationKind.REPAIR),
        Phase(RESTORE, OperationKind.REPAIR, repair.RESTORE, opens=False, settles=False),
    )
}

UNDOS: dict[str, Undo] = {
    undo.name: undo
    for undo in (
        Undo("unreserve_volume", None),
        Undo("roll_detaching", None),
        Undo("cancel_operation", None),
        Undo("expire", None),
        Undo("abandon", None),
        Undo("undo_initialize_connection", ("initialize_connection",)),
    )
}
"""``undo_initialize_connection`` is what terminate_connection does to an attaching volume."""
