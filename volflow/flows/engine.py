"""One flow through TaskFlow's serial engine, with its saves on a run's unit of work."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from taskflow import states
from taskflow.engines.action_engine.engine import SerialActionEngine
from taskflow.exceptions import WrappedFailure
from taskflow.patterns.linear_flow import Flow

from volflow.exceptions import VolflowError
from volflow.persistence.flows import FlowStore, StoredFlow, detail
from volflow.persistence.work import Cancelled, Stale
from volflow.tasks.base import Step
from volflow.tasks.run import Run

_OPTIONS = {"gather_statistics": False}


class _Expected(logging.Filter):
    """Drops the engine's traceback for what leaves it by our own doing, at a barrier."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, (Stale, Cancelled, VolflowError, WrappedFailure))


logging.getLogger("taskflow.engines.action_engine.engine").addFilter(_Expected())


def drive(run: Run, flow: StoredFlow, steps: Sequence[Step]) -> bool:
    """Run the flow until it has succeeded or is reverted.

    :returns: True where it succeeded; False where it was reverted, and then
        ``run.first_error`` says why, unless it was arranged to be undone.
    :raises Stale, Cancelled, Fenced, DatabaseError: from a barrier; nothing was reverted.
    """
    run.begin(flow, steps)
    engine = SerialActionEngine(
        Flow(flow.name).add(*steps), detail(flow), FlowStore(flow, run), _OPTIONS
    )
    engine.compile()
    engine.storage.inject({"run": run}, transient=True)
    try:
        engine.run()
    except Exception:
        if flow.state != states.REVERTED:
            raise
    return flow.state == states.SUCCESS
