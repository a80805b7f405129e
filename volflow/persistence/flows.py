"""TaskFlow's persistence on the unit of work: where the barrier is.

The engine saves an atom's RUNNING or REVERTING state before it runs or reverts it. For a task
whose effect is outside the database that save commits the unit of work: whatever was collected
so far, and the name of the effect that is about to happen, are durable before it happens. All
other saves only collect.

What is stored of a flow is the state and the intention of each atom, in a column of its
operation, which each commit writes anyhow. Results and failures stay in memory: no later step
needs them after a death, and no secret can leak through them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from taskflow import states
from taskflow.exceptions import NotFound
from taskflow.persistence import base
from taskflow.persistence.models import AtomDetail, FlowDetail, TaskDetail

from volflow.exceptions import DatabaseError
from volflow.persistence.work import new_id

Atoms = dict[str, tuple[str, str]]
"""``{task name: (state, intention)}``, in the order of the flow."""


@dataclass
class StoredFlow:
    """One attempt of a phase."""

    id: str
    phase: str
    name: str
    state: str
    atoms: Atoms

    @classmethod
    def new(cls, phase: str, name: str, tasks: Iterable[str]) -> StoredFlow:
        """An attempt that has not begun."""
        atoms = dict.fromkeys(tasks, (states.PENDING, states.EXECUTE))
        return cls(new_id(), phase, name, states.PENDING, atoms)

    @property
    def to_undo(self) -> bool:
        """True while any of its tasks may have an effect."""
        return any(state not in _NO_EFFECT for state, _ in self.atoms.values())


_WORDS = frozenset(
    {
        states.PENDING,
        states.RUNNING,
        states.SUCCESS,
        states.FAILURE,
        states.REVERTING,
        states.REVERTED,
        states.REVERT_FAILURE,
        states.EXECUTE,
        states.IGNORE,
        states.REVERT,
    }
)
"""The states and intentions of a task."""

_NO_EFFECT = frozenset({states.PENDING, states.REVERTED})


def read(document: str | None, operation_id: str) -> list[StoredFlow]:
    """The flows of an operation, first attempt first, from its column.

    :raises DatabaseError: they make no sense to this release.
    """
    if document is None:
        return []
    try:
        found = [_flow(entry) for entry in json.loads(document)]
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as e:
        raise DatabaseError(f"the flows of operation {operation_id} make no sense: {e}") from None
    words = {word for flow in found for pair in flow.atoms.values() for word in pair}
    if strange := words - _WORDS:
        raise DatabaseError(f"a flow of operation {operation_id} is {', '.join(sorted(strange))}")
    return found


def _flow(entry: Any) -> StoredFlow:
    key, phase, name, state = (entry[field] for field in ("id", "phase", "name", "state"))
    if not all(isinstance(text, str) for text in (key, phase, name, state)):
        raise ValueError("a name is no text")
    atoms = {task: (word, intention) for task, (word, intention) in entry["atoms"].items()}
    if not all(isinstance(word, str) for pair in atoms.values() for word in pair):
        raise ValueError("a state is no text")
    return StoredFlow(key, phase, name, state, atoms)


def written(flows: Iterable[StoredFlow], kept: Mapping[str, Atoms]) -> str:
    """The column of an operation that has these flows.

    :param kept: by a flow's id, tasks that the engine believes done and that are not (their
        effect is a leftover): they are stored in the state where a retry begins.
    """
    document = [
        {
            "id": flow.id,
            "phase": flow.phase,
            "name": flow.name,
            "state": flow.state,
            "atoms": flow.atoms | kept.get(flow.id, {}),
        }
        for flow in flows
    ]
    return json.dumps(document, separators=(",", ":"))


def arrange_forward(flow: StoredFlow) -> None:
    """Prepare to resume: a task that was running runs again, after a barrier of its own.

    Left RUNNING the engine would run it without saving, so without the barrier.
    """
    for name, (state, _) in flow.atoms.items():
        if state != states.SUCCESS:
            flow.atoms[name] = (states.PENDING, states.EXECUTE)
    flow.state = states.SUSPENDED


def arrange_undo(flow: StoredFlow) -> None:
    """Prepare to undo: every task that may have run is SUCCESS with the intention REVERT.

    It is the one arrangement from which the engine reverts last to first: it does not revert
    what is PENDING, and reverts what was RUNNING out of turn.
    """
    for name, (state, _) in flow.atoms.items():
        if state not in _NO_EFFECT:
            flow.atoms[name] = (states.SUCCESS, states.REVERT)
    flow.state = states.RUNNING


class Listener(Protocol):
    """What a run wants to know of the engine's saves."""

    def moved(self, flow: StoredFlow, task: str, state: str) -> None:
        """A task changed its state; RUNNING and REVERTING come before it runs or reverts.

        What this raises leaves the engine, and nothing is reverted.
        """


class FlowStore(base.Backend):
    """The TaskFlow backend of one flow of one run."""

    def __init__(self, flow: StoredFlow, listener: Listener) -> None:
        super().__init__({})
        self._connection = _Saves(self, flow, listener)

    def get_connection(self) -> base.Connection:
        return self._connection

    def close(self) -> None:
        """There is nothing to close."""


def detail(flow: StoredFlow) -> FlowDetail:
    """The flow detail to give to the engine."""
    found = FlowDetail(flow.name, flow.id)
    found.state = flow.state
    for name, (state, intention) in flow.atoms.items():
        atom = TaskDetail(name, new_id())
        atom.state, atom.intention = state, intention
        found.add(atom)
    return found


class _Saves(base.Connection):
    """Receives the engine's saves."""

    def __init__(self, backend: FlowStore, flow: StoredFlow, listener: Listener) -> None:
        self._backend = backend
        self._flow = flow
        self._listener = listener

    @property
    def backend(self) -> base.Backend:
        return self._backend

    def close(self) -> None:
        """The connection lives as long as its backend."""

    def update_flow_details(self, flow_detail: FlowDetail) -> FlowDetail:
        self._flow.state = flow_detail.state or states.PENDING
        return flow_detail

    def update_atom_details(self, atom_detail: AtomDetail) -> AtomDetail:
        name = atom_detail.name
        after = (atom_detail.state or states.PENDING, atom_detail.intention)
        before = self._flow.atoms[name]
        self._flow.atoms[name] = after
        if after[0] != before[0]:
            self._listener.moved(self._flow, name, after[0])
        return atom_detail

    # What the engine of one flow never asks for.

    def upgrade(self) -> None:
        """The schema is migrated by volflow."""

    def validate(self) -> None:
        """The schema is checked when the database is opened."""

    def clear_all(self) -> NoReturn:
        _unused()

    def save_logbook(self, book: Any) -> NoReturn:
        _unused()

    def destroy_logbook(self, book_uuid: str) -> NoReturn:
        _unused()

    def get_logbook(self, book_uuid: str, lazy: bool = False) -> NoReturn:
        _unused()

    def get_logbooks(self, lazy: bool = False) -> NoReturn:
        _unused()

    def get_flows_for_book(self, book_uuid: str) -> NoReturn:
        _unused()

    def get_flow_details(self, fd_uuid: str, lazy: bool = False) -> NoReturn:
        _unused()

    def get_atom_details(self, ad_uuid: str) -> NoReturn:
        _unused()

    def get_atoms_for_flow(self, fd_uuid: str) -> NoReturn:
        _unused()


def _unused() -> NoReturn:
    raise NotFound("this backend holds one flow, which the engine was given already")
