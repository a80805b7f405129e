"""The overview: what needs somebody, what goes on, and who is there to do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oslo_context.context import RequestContext

from volflow.manager import VolumeManager
from volflow.models import (
    Backend,
    Conductor,
    Counts,
    OperationState,
    Page,
    Standing,
    Volume,
    VolumeStatus,
)

OPEN = {
    OperationState.NEEDS_ATTENTION: "Needs attention",
    OperationState.RUNNING: "Runs now",
    OperationState.REVERTING: "Is being undone",
    OperationState.WAITING: "Waits for its caller",
    OperationState.QUEUED: "Waits for a conductor",
}
"""The states of what is not settled and how they are told, the most urgent first."""


@dataclass(frozen=True)
class Overview:
    """What an operator looks at first.

    :ivar operations: the newest ones of each state in :data:`OPEN`.
    :ivar stranded: what somebody should have brought on by now, the oldest first.
    :ivar broken: volumes whose deletion was refused for good.
    """

    operations: Mapping[OperationState, Page[Standing]]
    stranded: Sequence[Standing]
    broken: Page[Volume]
    counts: Counts
    backends: Sequence[Backend]
    conductors: Sequence[Conductor]

    @property
    def abandoned(self) -> list[Standing]:
        """What nobody runs any more, though it is said to run."""
        return [standing for standing in self.stranded if standing.abandoned]

    @property
    def overdue(self) -> list[Standing]:
        """Whose caller did not come back, and which are not undone: a host may be logged in."""
        return [standing for standing in self.stranded if standing.overdue]

    @property
    def dead(self) -> list[Conductor]:
        """Conductors that died without a word."""
        return [conductor for conductor in self.conductors if not conductor.alive]

    @property
    def alone(self) -> list[str]:
        """Backends of what is queued that no living conductor serves."""
        served = {name for c in self.conductors if c.alive for name in c.backends}
        queued = self.operations[OperationState.QUEUED].items
        return sorted({standing.operation.backend for standing in queued} - served)

    @property
    def calm(self) -> bool:
        """True where nothing needs anybody."""
        needing = self.operations[OperationState.NEEDS_ATTENTION]
        unreadable = any(page.unreadable for page in self.operations.values())
        return not (
            needing.items
            or unreadable
            or self.stranded
            or self.broken.items
            or self.broken.unreadable
            or self.dead
            or self.alone
        )

    def going_on(self, state: OperationState) -> list[Standing]:
        """Those of a state that are told of neither as abandoned nor as overdue."""
        return [s for s in self.operations[state].items if not (s.abandoned or s.overdue)]


def look(manager: VolumeManager, context: RequestContext, shown: int) -> Overview:
    """Look at everything.

    :param shown: how many operations of a state, and volumes, at most.
    """
    return Overview(
        {s: manager.search_operations(context, state=s, limit=shown) for s in OPEN},
        manager.stranded_operations(context, shown),
        manager.search_volumes(context, status=VolumeStatus.ERROR, limit=shown),
        manager.counts(context),
        manager.list_backends(context),
        manager.list_conductors(context),
    )
