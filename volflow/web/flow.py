"""Flow: the steps of an operation, each with a word for where it stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from volflow.models import FlowAttempt, StepStanding

_WORDS = {
    "PENDING": "not yet",
    "RUNNING": "runs now",
    "SUCCESS": "done",
    "FAILURE": "failed",
    "REVERTING": "being undone",
    "REVERTED": "undone",
    "REVERT_FAILURE": "its undo failed",
}

_FLOWS = {
    "PENDING": "not begun",
    "RUNNING": "under way",
    "SUSPENDED": "under way",
    "SUCCESS": "done",
    "FAILURE": "failed",
    "REVERTED": "undone",
}


class Step(NamedTuple):
    """One step: its stored name, and where it stands."""

    name: str
    word: str


@dataclass(frozen=True)
class Attempt:
    """One attempt of what a call runs, or a call that is still to come."""

    phase: str
    word: str
    steps: tuple[Step, ...]


def attempts(flows: Iterable[FlowAttempt]) -> list[Attempt]:
    """Put the states of flows into words."""
    return [
        Attempt(
            flow.phase,
            "still to be called" if flow.state is None else _FLOWS.get(flow.state, flow.state),
            tuple(Step(step.name, _word(step)) for step in flow.steps),
        )
        for flow in flows
    ]


def _word(step: StepStanding) -> str:
    if step.undo and step.state == "SUCCESS":
        return "to be undone"
    return _WORDS.get(step.state, step.state)
