"""The end of a run: where its operation stands now, and what its caller hears."""

from __future__ import annotations

import logging
from typing import Any

from volflow.backoff import backoff
from volflow.exceptions import ConnectionInUse, RollbackIncomplete
from volflow.flows.phases import RESTORE, Phase, Undo
from volflow.models import OperationState
from volflow.persistence.work import FromNow
from volflow.tasks.run import Run

LOG = logging.getLogger(__name__)


def settle(run: Run, phase: Phase | Undo, succeeded: bool, deadline: float | None) -> None:
    """Write where the operation stands now, in the run's last commit.

    :param deadline: how long an operation waits for its caller, in seconds; None: for ever.
    """
    if phase.name == RESTORE:
        _rest_again(run)
        return
    state = state_after(run, phase, succeeded)
    values: dict[str, Any] = {"state": state.value, "deadline": None, "retry_at": None}
    if succeeded and not run.leftovers:
        values["error"] = None
    else:
        values |= run.error_values()
    if state is OperationState.WAITING:
        values["deadline"] = None if deadline is None else FromNow(deadline)
        values["arguments"] = _remaining_arguments(run, phase, succeeded)
    elif state is OperationState.NEEDS_ATTENTION:
        values["retry_at"] = FromNow(backoff(run.attempts))
    else:
        values["finished_at"] = FromNow()
    values["leftovers"] = run.leftovers or None
    run.work.set_operation(**values)
    run.work.event("operation", state.value)
    run.work.signal("settled", run.operation.id)
    run.commit(release=True)
    run.state = state
    LOG.info(
        "%s of volume %s: operation %s is %s",
        phase.name,
        run.volume.id,
        run.operation.id,
        state.value,
        extra={"request_id": run.operation.request_id},
    )


def _rest_again(run: Run) -> None:
    """Write that an operation whose volume was restored rests as it did before."""
    rests = run.arguments["rests"]
    run.set_argument("rests", None)
    run.work.set_operation(state=rests["state"], phase=rests["phase"])
    run.work.event("operation", rests["state"])
    if rests["state"] == OperationState.QUEUED:
        run.work.signal("queued", run.operation.backend)
    run.commit(release=True)
    run.state = OperationState(rests["state"])


def state_after(run: Run, phase: Phase | Undo, succeeded: bool) -> OperationState:
    """The state that follows from a run of a phase, or from an undo."""
    if run.leftovers:
        return OperationState.NEEDS_ATTENTION
    if isinstance(phase, Undo):
        ends = phase.phases is None
    else:
        ends = phase.settles if succeeded else phase.opens
    if not ends:
        return OperationState.WAITING
    return OperationState.SUCCEEDED if succeeded else OperationState.ROLLED_BACK


def raise_outcome(run: Run) -> None:
    """Raise what the caller of a run has to hear; nothing after a success.

    :raises RollbackIncomplete: an undo, or a step of a forced detach, is being refused.
    """
    error = run.first_error
    if not run.leftovers:
        if error is not None:
            raise error
        return
    if isinstance(error, ConnectionInUse):
        raise error
    raise RollbackIncomplete(
        f"volume {run.volume.id}: the backend refuses {'; '.join(run.leftovers)}; "
        "recovery goes on with it",
        error,
        run.leftovers,
    ) from error


def _remaining_arguments(run: Run, phase: Phase | Undo, succeeded: bool) -> dict[str, Any]:
    """The arguments without ``force``, which is one call's, and what an undone phase had added."""
    gone = {"force"}
    if not succeeded and "initialize_connection" in phase.name:
        gone |= {"connector", "handed_out"}
    return {k: v for k, v in run.arguments.items() if k not in gone}
