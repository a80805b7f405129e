"""What became of the operations whose worker was killed, or stopped past its lease."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime

from oslo_context.context import RequestContext
from sqlalchemy import select

from volflow.exceptions import DatabaseError
from volflow.manager import VolumeManager
from volflow.models import OperationState
from volflow.persistence import schema
from volflow.persistence.engine import Database

SHOWN = 10

_O, _E = schema.operations.c, schema.events.c
_RUNS = (OperationState.RUNNING.value, OperationState.REVERTING.value)
_RESTS = tuple(state.value for state in OperationState if state.value not in _RUNS)


@dataclass(frozen=True)
class Death:
    """A SIGKILL, or a SIGSTOP that lasts longer than a lease.

    :ivar at: when, in seconds since 1970.
    :ivar signal: ``SIGKILL`` or ``SIGSTOP``.
    :ivar orphans: the operations that the process ran and that others can take; None: the
        database could not tell.
    """

    at: float
    signal: str
    orphans: tuple[str, ...] | None


@dataclass
class Deaths:
    """All of them.

    :ivar outages: from when until when a service was away, in seconds since 1970.
    """

    found: list[Death] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)

    def record(self, signal: str, orphans: tuple[str, ...] | None) -> None:
        """Write one down that came just now."""
        self.found.append(Death(time.time(), signal, orphans))

    def settling(self, database: Database, signal: str) -> dict[str, float | None]:
        """Orphan -> seconds from the last such death until it rested; None: it never did.

        Time in which a service was away does not count: nothing can settle without it.
        """
        last = {
            orphan: death.at
            for death in self.found
            for orphan in death.orphans or ()
            if death.signal == signal
        }
        rests = _rests(database)
        return {orphan: self._rested(rests.get(orphan, []), at) for orphan, at in last.items()}

    def _rested(self, rests: list[float], after: float) -> float | None:
        first = min((at for at in rests if at > after), default=None)
        return None if first is None else self.served(after, first)

    def served(self, begin: float, end: float) -> float:
        """Seconds between two times in which every service was there."""
        away, last = 0.0, begin
        for down, up in sorted(self.outages):
            away += max(0.0, min(up, end) - max(down, last))
            last = max(last, up)
        return end - begin - away


def runs_of(database: Database, pid: int) -> dict[str, str] | None:
    """``{operation: volume}`` of what a process runs; None: the database cannot tell now."""
    query = select(_O.id, _O.volume_id).where(_O.owner.like(f"%:{pid}-%"), _O.state.in_(_RUNS))
    try:
        with database.read() as connection:
            return {row.id: row.volume_id for row in connection.execute(query)}
    except DatabaseError:
        return None


def _rests(database: Database) -> dict[str, list[float]]:
    """Operation -> when it came to rest, in seconds since 1970."""
    query = select(_E.operation_id, _E.at).where(_E.step == "operation", _E.what.in_(_RESTS))
    found: dict[str, list[float]] = defaultdict(list)
    with database.read() as connection:
        for row in connection.execute(query).all():
            found[row.operation_id].append(row.at.timestamp())
    return found


def slowest(manager: VolumeManager, deaths: Deaths, settling: dict[str, float | None]) -> str:
    """The timelines of the operations that took longest, for who wonders why."""
    context = RequestContext(overwrite=False)
    lines: list[str] = []
    longest = sorted(settling, key=lambda orphan: settling[orphan] or math.inf, reverse=True)
    for orphan in longest[:SHOWN]:
        lines.append(f"operation {orphan} rested {settling[orphan]} s after the last of these")
        lines += [
            f"  {datetime.fromtimestamp(death.at, UTC)} {death.signal}"
            for death in deaths.found
            if orphan in (death.orphans or ())
        ]
        lines += [
            f"  {event.at} epoch {event.epoch} {event.step} {event.what} {event.detail or ''}"
            for event in manager.operation_timeline(context, orphan)
        ]
    return "\n".join([*lines, ""])
