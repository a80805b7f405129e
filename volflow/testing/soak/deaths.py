"""What became of the operations whose worker was killed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from volflow.exceptions import DatabaseError
from volflow.models import OperationState
from volflow.persistence import schema
from volflow.persistence.engine import Database

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

    def settling_seconds(self, database: Database) -> list[float | None]:
        """How long after the death each orphan came to rest, by its timeline; None: never."""
        with database.read() as connection:
            return [
                _rested(connection, orphan, death.at)
                for death in self.found
                for orphan in death.orphans or ()
            ]


def _rested(connection: Connection, operation_id: str, after: float) -> float | None:
    query = select(func.min(_E.at)).where(
        _E.operation_id == operation_id,
        _E.at > int(after * 1e6),
        _E.step == "operation",
        _E.what.in_(_RESTS),
    )
    found = connection.execute(query).scalar()
    return None if found is None else found.timestamp() - after
