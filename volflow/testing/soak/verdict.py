"""Holds database and backend against what callers were told, once everything is settled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oslo_context.context import RequestContext
from sqlalchemy import func, select

from volflow.exceptions import DatabaseError, Fenced, RollbackIncomplete
from volflow.manager import VolumeManager
from volflow.models import Operation, OperationState
from volflow.persistence import schema
from volflow.testing.invariants import violations
from volflow.testing.soak.callers import perform
from volflow.testing.soak.figures import Figures, counted
from volflow.testing.soak.journal import Answer, Call, History
from volflow.testing.soak.plan import BACKEND

_OPEN = (DatabaseError.__name__, Fenced.__name__, RollbackIncomplete.__name__)
"""Errors that leave open how the operation ends."""

_FENCED = "this run stopped and changed nothing more"
_LINES = 5


def judge(manager: VolumeManager, driver: Any, history: History, figures: Figures) -> None:
    """Fill in what was done, and add what broke a guarantee."""
    context = RequestContext(overwrite=False)
    operations = {found.id: found for found in manager.list_operations(context)}
    figures.operations = counted([f"{o.kind}: {o.state}" for o in operations.values()])
    figures.calls = counted(list(_outcomes(history)))
    figures.takeovers = _takeovers(manager)
    figures.violations += history.broken
    known = {found.id for found in manager.list_attachments(context, live=False)}
    figures.violations += [
        f"G5: a caller was told of attachment {told}, and the database has none"
        for told in history.told
        if told not in known
    ]
    for key, call in history.calls.items():
        figures.violations += _lost(call, history.answers[key], operations.get(key))
        if call.is_one_shot and key in operations and operations[key].settled:
            figures.answers_repeated += 1
            again = perform(manager, context, call)
            figures.violations += _inconsistent(call, [*history.answers[key], again])
    figures.violations += violations(manager, driver, BACKEND)


def complaints(logs: list[Path]) -> list[str]:
    """What workers logged as an error: nothing of what a soak does should be one."""
    found: list[str] = []
    for path in logs:
        lines = path.read_text(errors="replace").splitlines()
        errors = [line for line in lines if " ERROR " in line or line.startswith("Traceback")]
        found += [f"{path.name}: {line}" for line in errors[:_LINES]]
    return found


def fenced(logs: list[Path]) -> int:
    """How many commits of workers were fenced: callers', and recovery's, of which none hears."""
    return sum(path.read_text(errors="replace").count(_FENCED) for path in logs)


def _outcomes(history: History) -> Iterator[str]:
    for key, call in history.calls.items():
        last = history.answers[key][-1:] or [Answer(None, "unanswered")]
        yield f"{call.name}: {last[0].error or 'returned'}"
    for name, error in history.steps:
        yield f"{name}: {error or 'returned'}"


def _lost(call: Call, answers: list[Answer], found: Operation | None) -> Iterator[str]:
    """G5: what was accepted is there, and settled."""
    if found is not None:
        if not found.settled:
            yield f"G1: {call.name} {call.key} is {found.state}"
    elif any(answer.error is None for answer in answers):
        yield f"G5: {call.name} {call.key} was accepted, and the database has no such operation"


def _inconsistent(call: Call, answers: list[Answer]) -> Iterator[str]:
    """G5: the same operation id, the same answer."""
    final = {(a.value, a.error) for a in answers if a.error not in _OPEN}
    if len(final) > 1:
        yield f"G5: {call.name} {call.key} had the answers {sorted(map(str, final))}"


def _takeovers(manager: VolumeManager) -> int:
    query = select(func.count()).where(
        schema.events.c.step == "operation", schema.events.c.what == "taken over"
    )
    with manager.database.read() as connection:
        return int(connection.execute(query).scalar_one())


def unsettled(manager: VolumeManager) -> list[str]:
    """Operations that are not settled, each as a sentence."""
    context = RequestContext(overwrite=False)
    states = (s for s in OperationState if s not in ("succeeded", "rolled_back"))
    return [
        f"G1: {o.kind} {o.id} of volume {o.volume_id} is {o.state}: {o.error} {o.leftovers}"
        for state in states
        for o in manager.list_operations(context, state=state)
    ]
