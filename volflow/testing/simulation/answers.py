"""What callers hear: only errors that the interface names, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Iterator

from volflow.exceptions import (
    AttachmentNotFound,
    ConnectionInUse,
    DatabaseError,
    DriverError,
    Fenced,
    InvalidConnector,
    InvalidInput,
    InvalidVolume,
    NotFound,
    OperationConflict,
    OperationNotFound,
    RollbackIncomplete,
    TransientDriverError,
    VolflowError,
    VolumeNotFound,
)
from volflow.models import OperationState
from volflow.testing.simulation.backend import Refusal
from volflow.testing.simulation.network import Call
from volflow.testing.simulation.safety import Safety
from volflow.testing.simulation.world import World

_TAG = re.compile(r"\(refusal (.+?:\d+)\)")
_KEYED = {
    "reserve_volume": "attach",
    "attach_volume": "attach",
    "submit_attach": "attach",
    "begin_detaching": "detach",
    "detach_volume": "detach",
    "submit_detach": "detach",
}
_ONE_SHOTS = frozenset({"attach_volume", "detach_volume"})
_NOTIFICATIONS = frozenset({"attach_volume", "detach_volume"})
_UNKNOWN = (Fenced, DatabaseError, RollbackIncomplete, ConnectionInUse, VolumeNotFound)
"""What says nothing of how the operation ends; the last: its volume was deleted since."""
_READING = frozenset({"get_volume", "list_attachments", "get_operation", "get_attachment"})


class Answers:
    """Judges every call that returns.

    :ivar calls: all of them, oldest first.
    """

    def __init__(self, world: World, safety: Safety) -> None:
        self.calls: list[Call] = []
        self._world = world
        self._safety = safety

    def judge(self, call: Call) -> None:
        """Hear what a call gave."""
        self.calls.append(call)
        if call.reply.lost:
            self._world.tell("(the process died)")
            return
        error = call.reply.error
        self._world.tell(f"-> {'ok' if error is None else repr(error)}")
        complaint = self._error(call, error) if error is not None else self._value(call)
        if complaint:
            self._world.violate("G7 answer" if error else "G5 answer", complaint)

    def _value(self, call: Call) -> str | None:
        """What is wrong with a success: its operation has to be there, and where it should."""
        verb, given = call.request.verb, call.request.arguments
        operation = self._safety.tables.operations.get(given.get("operation_id", ""))
        if verb not in _KEYED:
            return None
        if operation is None or operation.kind != _KEYED[verb]:
            return f"{call.request.name} succeeded, and its operation is {operation}"
        if verb in _ONE_SHOTS and operation.state != OperationState.SUCCEEDED:
            return f"{call.request.name} succeeded, and its operation is {operation.state}"
        if verb == "attach_volume" and call.reply.value.id != operation.attachment_id:
            return f"{call.request.name} returned an attachment of another operation"
        return None

    def _error(self, call: Call, error: VolflowError) -> str | None:
        """What is wrong with an error."""
        key = call.request.arguments.get("operation_id", "")
        operation = self._safety.tables.operations.get(key)
        verb, unknown = call.request.verb, isinstance(error, _UNKNOWN)
        if (
            verb in _KEYED
            and operation is not None
            and operation.state == OperationState.SUCCEEDED
            and not unknown
            and not self._is_older(call, key)
        ):
            return f"{call.request.name} raised {error!r}, and its operation succeeded"
        if not self._has_reason(call, error):
            return f"{call.request.name} raised {error!r} for no reason"
        return None

    def _is_older(self, call: Call, key: str) -> bool:
        """True where a call was answered by what it saw before another one began the operation."""
        seen: int = call.actor.notes.get("read", 0)
        return self._safety.begun.get(key, 0) > seen

    def _has_reason(self, call: Call, error: VolflowError) -> bool:
        verb, notes = call.request.verb, call.actor.notes
        match error:
            case DatabaseError():
                return "database" in notes
            case Fenced():
                # It was to be undone, and another process was first.
                return "fenced" in notes or "was cancelled" in str(error)
            case RollbackIncomplete():
                first = error.first_error
                told = isinstance(first, VolflowError) and self._has_reason(call, first)
                return bool(error.leftovers) and (first is None or told)
            case ConnectionInUse():
                return "logged in" in str(error) or "cannot tell" in str(error)
            case DriverError() | InvalidConnector():
                return self._is_first(call, error)
            case InvalidInput():
                return verb == "cancel_operation"
            case OperationConflict():
                return verb == "create_volume"
            case VolumeNotFound() | AttachmentNotFound() | OperationNotFound():
                return True
            case InvalidVolume():
                return verb not in _READING
        return not isinstance(error, NotFound)

    def _is_first(self, call: Call, error: VolflowError) -> bool:
        """True where a refusal is the first of this call, or one that another call met."""
        if "cannot be changed now" in str(error):
            return True
        struck = self._world.struck
        if "exported" in str(error) and (struck["restart"] or struck["late"] or struck["orphan"]):
            return True  # the export went, or came, between two steps
        found = _TAG.search(str(error))
        if found is None:
            return False
        if found[1].rpartition(":")[0] != call.actor.name:
            return True
        runs: list[list[Refusal]] = call.actor.notes.get("refusals", [])
        return f"refusal {found[1]}" in {tag for run in runs for tag in _first_ones(run)}


def _first_ones(refusals: list[Refusal]) -> Iterator[str]:
    """The sentences that a run may end with: of the first refusal that it did not repeat.

    The connector is validated before a run has its operation: it is validated anew, where
    another run was first.
    """
    for refusal in refusals:
        if refusal.method not in _NOTIFICATIONS:
            yield refusal.tag
            if (
                refusal.error is not TransientDriverError
                and refusal.method != "validate_connector"
            ):
                return
