"""The history of one volume's reservations, and what a volume that serves one attach is like.

A volume is free, or held: by an attach, from its reservation to the end of its detach, or by
maintenance. What callers heard of it, in whichever process, has to fit into one order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from volflow.exceptions import InvalidVolume
from volflow.models import AttachStatus, OperationState
from volflow.testing.simulation.linearizability import Event
from volflow.testing.simulation.network import Call
from volflow.testing.simulation.safety import OperationRow, Tables

MAINTENANCE = "maintenance"


class Register(NamedTuple):
    """A volume.

    :ivar holder: whose it is; None: free.
    :ivar held: everybody whose it was, or is.
    """

    holder: str | None = None
    held: frozenset[str] = frozenset()


class Action(NamedTuple):
    """What somebody did to it.

    :ivar what: ``take``, ``use``, ``release``, or ``refused``: it was found taken.
    :ivar who: the attach, by its operation's id, or maintenance.
    """

    what: str
    who: str = ""


def apply(register: Register, action: Action) -> Register | None:
    """The register after an action; None: the action cannot have been."""
    holder, held = register
    what, who = action
    match what:
        case "take" if who in held and who != MAINTENANCE:
            return register  # the same call again, which gets the same answer
        case "take" if holder in (None, who):
            return Register(who, held | {who})
        case "use" if holder == who:
            return register
        case "release" if holder == who:
            return Register(None, held)
        case "release" if who in held:
            return register  # it is released already
        case "refused" if holder is not None:
            return register
    return None


def history(volume_id: str, calls: Iterable[Call], tables: Tables) -> list[Event[Action]]:
    """What was done to a volume, as far as calls tell; recovery may have released it unheard."""
    attaches = {
        op.id: op
        for op in tables.operations.values()
        if op.volume_id == volume_id and op.kind == "attach"
    }
    by_attachment = {op.attachment_id: op.id for op in attaches.values()}
    events: list[Event[Action]] = []
    begun: dict[str, int] = {}
    for call in calls:
        if _volume_of(call, tables) == volume_id:
            for action, certain in _actions(call, by_attachment, tables):
                name = f"{call.request.name} {action.what}"
                events.append(Event(name, action, call.began, call.ended, certain))
                if action.what == "take":
                    # A call that stood still is heard of after its twin.
                    earliest = min(call.began, begun.get(action.who, call.began))
                    begun[action.who] = earliest
    for operation_id, began in begun.items():
        operation = attaches.get(operation_id)
        if operation is not None and _is_over(operation, tables):
            action = Action("release", operation_id)
            events.append(Event("recovery", action, began, None, certain=False))
    return events


def _is_over(operation: OperationRow, tables: Tables) -> bool:
    """True where an attach was undone, or its attachment was detached since."""
    attachment = tables.attachments.get(operation.attachment_id or "")
    gone = attachment is None or attachment.attach_status == AttachStatus.DETACHED
    return operation.state == OperationState.ROLLED_BACK or gone


def _volume_of(call: Call, tables: Tables) -> str | None:
    given = call.request.arguments
    if found := given.get("volume_id"):
        return str(found)
    operation = tables.operations.get(given.get("operation_id", ""))
    return None if operation is None else operation.volume_id


def _actions(
    call: Call, by_attachment: dict[str | None, str], tables: Tables
) -> Iterator[tuple[Action, bool]]:
    """What a call tells of its volume, and whether it is certain."""
    given, reply = call.request.arguments, call.reply
    ok = reply.error is None and not reply.lost
    claimed: set[str] = call.actor.notes.get("claimed", set())
    match call.request.verb:
        case "reserve_volume" | "attach_volume" | "submit_attach":
            who = given["operation_id"]
            if isinstance(reply.error, InvalidVolume) and who not in tables.operations:
                yield Action("refused"), True
            else:
                yield Action("take", who), ok
            if ok and call.request.verb == "attach_volume" and who in claimed:
                yield Action("use", who), True
        case "initialize_connection" if ok:
            for who in claimed & set(by_attachment.values()):
                yield Action("use", who), True
        case "attach" if ok:
            yield Action("use", by_attachment[reply.value.id]), True
        case "detach" | "detach_volume" if ok and given["attachment_id"] in by_attachment:
            yield Action("release", by_attachment[given["attachment_id"]]), True
        case "set_maintenance" if given["on"]:
            yield Action("take", MAINTENANCE), ok
        case "set_maintenance":
            yield Action("release", MAINTENANCE), False
