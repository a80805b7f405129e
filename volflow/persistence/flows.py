"""TaskFlow's persistence on the unit of work: where the barrier is.

The engine saves an atom's RUNNING or REVERTING state before it runs or reverts it. For a task
whose effect is outside the database that save commits the unit of work: whatever was collected
so far, and the name of the effect that is about to happen, are durable before it happens. All
other saves only collect.

What is stored of a flow is the state and the intention of each atom. Results and failures stay
in memory: no later step needs them after a death, and no secret can leak through them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection as SqlConnection
from sqlalchemy.engine import RowMapping
from taskflow import states
from taskflow.exceptions import NotFound
from taskflow.persistence import base
from taskflow.persistence.models import AtomDetail, FlowDetail, TaskDetail

from volflow.exceptions import DatabaseError
from volflow.persistence import schema
from volflow.persistence.work import UnitOfWork, new_id

Atoms = dict[str, tuple[str, str]]
"""``{task name: (state, intention)}``, in the order of the flow."""

_BY_OPERATION = (
    select(*schema.as_stored(schema.flows))
    .where(schema.flows.c.operation_id == bindparam("operation_id"))
    .order_by(schema.flows.c.seq)
)


@dataclass
class StoredFlow:
    """One attempt of a phase."""

    id: str
    operation_id: str
    seq: int
    phase: str
    name: str
    state: str
    atoms: Atoms
    stored: bool = True

    @classmethod
    def new(
        cls, operation_id: str, seq: int, phase: str, name: str, tasks: Iterable[str]
    ) -> StoredFlow:
        """An attempt that has not begun."""
        atoms = dict.fromkeys(tasks, (states.PENDING, states.EXECUTE))
        return cls(new_id(), operation_id, seq, phase, name, states.PENDING, atoms, stored=False)

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


def of_operation(connection: SqlConnection, operation_id: str) -> list[StoredFlow]:
    """The flows of an operation, first attempt first.

    :raises DatabaseError: one of them makes no sense to this release.
    """
    rows = connection.execute(_BY_OPERATION, {"operation_id": operation_id}).mappings().all()
    return [_stored(row) for row in rows]


def _stored(row: RowMapping) -> StoredFlow:
    try:
        found = schema.understood(schema.flows, row)
        atoms = {name: (pair[0], pair[1]) for name, pair in found["atoms"].items()}
        strange = {word for pair in atoms.values() for word in pair} - _WORDS
    except (ValueError, TypeError, AttributeError, LookupError) as e:
        raise DatabaseError(
            f"flow {row['seq']} of operation {row['operation_id']} makes no sense: {e}"
        ) from None
    if strange:
        raise DatabaseError(
            f"flow {row['seq']} of operation {row['operation_id']} is {', '.join(sorted(strange))}"
        )
    return StoredFlow(**{**found, "atoms": atoms})


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


def collect(work: UnitOfWork, flow: StoredFlow, kept: Mapping[str, tuple[str, str]]) -> None:
    """Put the flow, as it stands, into the unit of work.

    :param kept: tasks that the engine believes done and that are not (their effect is a
        leftover): they are stored in the state where a retry begins.
    """
    values: dict[str, Any] = {
        "state": flow.state,
        "atoms": {name: list(kept.get(name, pair)) for name, pair in flow.atoms.items()},
    }
    if flow.stored:
        work.update("flows", flow.id, {}, **values)
        return
    work.insert(
        "flows",
        flow.id,
        operation_id=flow.operation_id,
        seq=flow.seq,
        phase=flow.phase,
        name=flow.name,
        **values,
    )


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
