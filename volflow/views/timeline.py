"""An operation's timeline: its raw events, folded to one entry a step that ran."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from volflow.models import Event, OperationState

RESULTS = {
    "success": "done",
    "failure": "failed",
    "reverted": "undone",
    "refused": "refused",
    "notification failed": "not notified",
}
"""What an event that ends a step means; an unknown one is shown as it is."""

_ENDED = {state.value for state in OperationState} - {"running", "reverting"}


@dataclass
class StepRun:
    """One run of a step.

    :ivar undo: it ran backward.
    :ivar result: ``done failed undone refused running``; ``interrupted``: its process died or
        was fenced; ``held back``: a refusal before it keeps it from running.
    """

    step: str
    undo: bool
    began_at: datetime
    ended_at: datetime | None = None
    result: str = "running"
    error: str | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took; None where nobody saw its end."""
        return None if self.ended_at is None else (self.ended_at - self.began_at).total_seconds()


@dataclass
class CallRun:
    """What one process did for one call, under one epoch.

    :ivar taken_over: it went on with what another process had left.
    :ivar result: where the operation stood after it, or ``running``, or ``interrupted``.
    """

    run: int
    call: str | None
    began_at: datetime
    taken_over: bool = False
    ended_at: datetime | None = None
    result: str = "running"
    steps: list[StepRun] = field(default_factory=list)

    @property
    def seconds(self) -> float | None:
        """How long it took; None where nobody saw its end."""
        return None if self.ended_at is None else (self.ended_at - self.began_at).total_seconds()

    def hear(self, event: Event) -> None:
        """Take an event of a step."""
        if event.what in ("running", "reverting"):
            self.steps.append(StepRun(event.step, event.what == "reverting", event.at))
            return
        found = next(
            (s for s in reversed(self.steps) if s.step == event.step and s.ended_at is None), None
        )
        if found is None:
            found = StepRun(event.step, False, event.at)
            self.steps.append(found)
        found.ended_at = event.at
        found.result = RESULTS.get(event.what, event.what)
        found.error = event.detail

    def end(self, result: str, at: datetime | None) -> None:
        """Take the end of it; steps that are still open then never ended."""
        self.result, self.ended_at = result, at
        left = "held back" if result == OperationState.NEEDS_ATTENTION else "interrupted"
        for step in self.steps:
            if step.ended_at is None:
                step.result = left


def fold(events: Iterable[Event]) -> list[CallRun]:
    """Fold events, in their order, to calls and the steps that ran in them."""
    calls: list[CallRun] = []
    for event in events:
        last = calls[-1] if calls else None
        is_open = last is not None and last.result == "running"
        if last is None or last.run != event.epoch or not is_open:
            if last is not None and is_open:
                last.end("interrupted", None)
            last = CallRun(event.epoch, last.call if last else None, event.at)
            calls.append(last)
        if event.step != "operation":
            last.hear(event)
        elif event.what == "taken over":
            last.taken_over = True
        elif event.what == "begins":
            last.call = event.detail
        elif event.what in _ENDED:
            last.end(event.what, event.at)
    return calls


def timeline_json(calls: Sequence[CallRun]) -> list[dict[str, Any]]:
    """Make a timeline JSON."""
    return [
        {
            "run": call.run,
            "call": call.call,
            "taken_over": call.taken_over,
            "began_at": call.began_at,
            "ended_at": call.ended_at,
            "seconds": call.seconds,
            "result": call.result,
            "steps": [
                {
                    "step": step.step,
                    "undo": step.undo,
                    "began_at": step.began_at,
                    "ended_at": step.ended_at,
                    "seconds": step.seconds,
                    "result": step.result,
                    "error": step.error,
                }
                for step in call.steps
            ],
        }
        for call in calls
    ]
