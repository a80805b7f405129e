"""Advice: what an operation waits for, and the command that helps what stands still."""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import NamedTuple

from volflow.models import Operation, OperationKind, OperationState, Standing


class Help(NamedTuple):
    """A command that helps, and when it does: a sentence that has the command in it."""

    before: str
    command: str
    after: str

    def __str__(self) -> str:
        return "".join(self)


def helps(found: Operation, now: datetime) -> Help | None:
    """Say which command helps an operation that stands still."""
    recover = "volflow recover"
    match found.state:
        case OperationState.NEEDS_ATTENTION:
            return Help("", recover, ", once the backend answers or the host has logged out")
        case OperationState.QUEUED:
            return Help("", conducting(found.backend), ", where none lives")
        case OperationState.WAITING if found.overdue_by(now):
            if found.kind is not OperationKind.ATTACH:
                return Help("", recover, "")
            forced = f"volflow operation cancel {found.id} --force"
            return Help("", recover, f", once its host has logged out; if it is off, {forced}")
        case OperationState.WAITING:
            return Help("its caller's next call, or ", f"volflow operation cancel {found.id}", "")
        case OperationState.RUNNING | OperationState.REVERTING:
            if found.abandoned_by(now):
                return Help("", recover, ": its owner showed no life for its lease")
            return Help("", recover, ", if its owner is dead")
        case _:
            return None


def conducting(*backends: str) -> str:
    """The command that runs a conductor of some backends."""
    return " ".join(["volflow conductor run", *(f"--backend {shlex.quote(b)}" for b in backends)])


class Expected(NamedTuple):
    """What comes next.

    :ivar text: a sentence without its full stop; where there is a time, how far that is away
        follows it, such as ``in 4m`` or ``3m ago``.
    """

    text: str
    at: datetime | None = None


def expects(standing: Standing) -> Expected:
    """Say what an operation waits for, and until when."""
    found = standing.operation
    if found.settled:
        return Expected("nothing: it is settled")
    if standing.abandoned:
        lease = found.lease_expires_at
        return Expected("recovery takes it over: its owner's lease ended", lease)
    if standing.cancel_requested:
        return Expected("it was cancelled, and is undone at its next step")
    if standing.overdue:
        text = "recovery undoes it, unless its host is logged in: due"
        return Expected(text, found.deadline)
    match found.state:
        case OperationState.QUEUED:
            return Expected(f"a conductor of backend {found.backend} takes it")
        case OperationState.RUNNING:
            return Expected("its owner goes on: its lease ends", found.lease_expires_at)
        case OperationState.REVERTING:
            return Expected("its owner undoes it: its lease ends", found.lease_expires_at)
        case OperationState.WAITING if found.deadline is None:
            return Expected("its caller's next call, for as long as it takes")
        case OperationState.WAITING:
            return Expected("its caller's next call, or else its undo: due", found.deadline)
        case _:
            return Expected("recovery tries again what was refused: due", standing.retry_at)


def may_cancel(found: Operation) -> bool:
    """True where a request to cancel could be taken; a forced detach refuses it still."""
    return not found.settled and found.kind is not OperationKind.DELETE


def drivers_to_cancel(found: Operation) -> list[str]:
    """The backends whose drivers it takes: what is queued has changed the database alone."""
    return [] if found.state is OperationState.QUEUED else [found.backend]


def may_retry(standing: Standing) -> bool:
    """True where there is something to bring on that nobody runs now."""
    refused = standing.operation.state is OperationState.NEEDS_ATTENTION
    return refused or standing.abandoned or standing.overdue
