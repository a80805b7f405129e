"""One flow through TaskFlow's serial engine, with its saves on a run's unit of work.

The engine is TaskFlow's serial one with what a single thread does not need taken off its
storage: reader-writer locks around every access, and retries around every save (a save here
collects in memory, and what a barrier raises is meant). Nothing of its logic is replaced. Flows
and their compilations are kept: the tasks are stateless.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from inspect import unwrap
from typing import Any, NamedTuple

from taskflow import states
from taskflow.engines.action_engine.compiler import PatternCompiler
from taskflow.engines.action_engine.engine import SerialActionEngine
from taskflow.exceptions import WrappedFailure
from taskflow.patterns.linear_flow import Flow
from taskflow.storage import Storage

from volflow.exceptions import VolflowError
from volflow.flows.phases import steps
from volflow.models import OperationKind
from volflow.persistence.flows import FlowStore, StoredFlow, detail
from volflow.persistence.queue import Full
from volflow.persistence.work import Cancelled, Stale, Suspended
from volflow.tasks.base import Step
from volflow.tasks.run import Run

_OPTIONS = {"gather_statistics": False}


class _Expected(logging.Filter):
    """Drops the engine's traceback for what leaves it by our own doing, at a barrier."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(
            error, (Cancelled, Full, Stale, Suspended, VolflowError, WrappedFailure)
        )


logging.getLogger("taskflow.engines.action_engine.engine").addFilter(_Expected())


class _NoLock:
    """A reader-writer lock for one thread."""

    @contextlib.contextmanager
    def read_lock(self) -> Iterator[None]:
        yield

    write_lock = read_lock


_WRAPPED = (
    "ensure_atoms",
    "set_atom_state",
    "set_atom_intention",
    "get_atom_state",
    "get_atom_intention",
    "get_atoms_states",
    "get_atom_uuid",
    "save",
    "_get",
    "_save_atom_detail",
    "_save_flow_detail",
    "fetch_mapped_args",
)
"""Methods of TaskFlow's Storage that are wrapped in locks or retries, among others."""


def _one_thread_storage() -> type[Storage] | None:
    """TaskFlow's Storage without its wrappers; None where it is not built as we know it."""
    methods = vars(Storage)
    if any(not hasattr(methods.get(name), "__wrapped__") for name in _WRAPPED):
        return None
    plain = {n: unwrap(m) for n, m in methods.items() if hasattr(m, "__wrapped__")}

    def with_connection(self: Any, save: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return save(self._backend.get_connection(), *args, **kwargs)

    plain["_with_connection"] = with_connection
    return type("OneThreadStorage", (Storage,), plain)


_STORAGE = _one_thread_storage()
if _STORAGE is None:
    warnings.warn(
        "TaskFlow's storage is not built as volflow knows it; its own is used, which is slower",
        RuntimeWarning,
        stacklevel=2,
    )


class Kept(NamedTuple):
    """A flow and its compilation, which every run of the same tasks shares."""

    flow: Flow
    steps: tuple[Step, ...]
    compilation: Any

    def compile(self) -> Any:
        """Stand in for the engine's compiler."""
        return self.compilation


@lru_cache(maxsize=64)
def kept_flow(kind: OperationKind, names: tuple[str, ...]) -> Kept:
    """The flow of these tasks, compiled.

    :raises LookupError: the flow of this kind has no such task.
    """
    found = tuple(steps(kind, names))
    flow = Flow(kind.value).add(*found)
    return Kept(flow, found, PatternCompiler(flow).compile())


class OneThreadEngine(SerialActionEngine):
    """TaskFlow's serial engine for a flow that one thread drives."""

    def __init__(self, kept: Kept, stored: StoredFlow, run: Run) -> None:
        super().__init__(kept.flow, detail(stored), FlowStore(stored, run), _OPTIONS)
        vars(self)["_compiler"] = kept

    @cached_property
    def storage(self) -> Storage:
        """TaskFlow's storage of the flow detail, for one thread."""
        if _STORAGE is None:
            return super().storage
        found = _STORAGE(self._flow_detail, backend=self._backend, scope_fetcher=self._scopes)
        vars(found)["_lock"] = _NoLock()
        return found

    def _scopes(self, atom_name: str) -> Any:
        return self._runtime.fetch_scopes_for(atom_name) if self._compiled else None


def begin(run: Run, flow: StoredFlow) -> None:
    """Do the first step of a flow, whose effect is on the database alone, and leave the rest.

    The flow is then one that was interrupted: it is resumed, and undone, like any other.
    """
    kept = kept_flow(OperationKind(flow.name), tuple(flow.atoms))
    run.begin(flow, kept.steps)
    first = kept.steps[0]
    assert not first.outside
    for state in (states.RUNNING, states.SUCCESS):
        if state == states.SUCCESS:
            first.execute(run)
        flow.atoms[first.name] = (state, states.EXECUTE)
        run.moved(flow, first.name, state)
    flow.state = states.SUSPENDED


def drive(run: Run, flow: StoredFlow) -> bool:
    """Run the flow until it has succeeded or is reverted.

    :returns: True where it succeeded; False where it was reverted, and then
        ``run.first_error`` says why, unless it was arranged to be undone.
    :raises Stale, Cancelled, Suspended, Fenced, DatabaseError: from a barrier; nothing was
        reverted.
    """
    kept = kept_flow(OperationKind(flow.name), tuple(flow.atoms))
    run.begin(flow, kept.steps)
    engine = OneThreadEngine(kept, flow, run)
    engine.compile()
    engine.storage.inject({"run": run}, transient=True)
    try:
        engine.run()
    except Exception:
        if flow.state != states.REVERTED:
            raise
    return flow.state == states.SUCCESS
