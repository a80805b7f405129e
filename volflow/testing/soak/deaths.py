"""What became of the operations whose worker was killed."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from oslo_context.context import RequestContext
from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from volflow.exceptions import DatabaseError
from volflow.manager import VolumeManager
from volflow.models import OperationState
from volflow.persistence import schema
from volflow.persistence.engine import Database

SHOWN = 10

_O, _E = schema.operations.c, schema.events.c
_RUNS = (OperationState.RUNNING.value, OperationState.REVERTING.value)
_RESTS = tuple(state.value for state in OperationState if state.value not in _RUNS)


@dataclass
class Death:
    """One SIGKILL.

    :ivar at: when, in seconds since 1970.
    :ivar orphans: the operations that the process ran; None: the database could not tell.
    """

    at: float
    orphans: list[str] | None


@dataclass
class Deaths:
    """All of them."""

    found: list[Death] = field(default_factory=list)

    def record(self, database: Database, pid: int) -> None:
        """Look what the process ran that was killed just now."""
        at = time.time()
        query = select(_O.id).where(_O.owner.like(f"%:{pid}-%"), _O.state.in_(_RUNS))
        try:
            with database.read() as connection:
                self.found.append(Death(at, list(connection.execute(query).scalars())))
        except DatabaseError:
            self.found.append(Death(at, None))

    def settling(self, database: Database) -> dict[str, float | None]:
        """Orphan -> seconds from its last death until it rested, by its timeline; None: never."""
        last = {orphan: death.at for death in self.found for orphan in death.orphans or ()}
        with database.read() as connection:
            return {orphan: _rested(connection, orphan, at) for orphan, at in last.items()}


def _rested(connection: Connection, operation_id: str, after: float) -> float | None:
    query = select(func.min(_E.at)).where(
        _E.operation_id == operation_id,
        _E.at > int(after * 1e6),
        _E.step == "operation",
        _E.what.in_(_RESTS),
    )
    found = connection.execute(query).scalar()
    return None if found is None else found.timestamp() - after


def slowest(manager: VolumeManager, deaths: Deaths, settling: dict[str, float | None]) -> str:
    """The timelines of the operations that took longest, for who wonders why."""
    context = RequestContext(overwrite=False)
    lines: list[str] = []
    longest = sorted(settling, key=lambda orphan: settling[orphan] or math.inf, reverse=True)
    for orphan in longest[:SHOWN]:
        lines.append(f"operation {orphan} rested {settling[orphan]} s after its last death")
        lines += [
            f"  {datetime.fromtimestamp(death.at, UTC)} a death"
            for death in deaths.found
            if orphan in (death.orphans or ())
        ]
        lines += [
            f"  {event.at} epoch {event.epoch} {event.step} {event.what} {event.detail or ''}"
            for event in manager.operation_timeline(context, orphan)
        ]
    return "\n".join([*lines, ""])
