"""The unit of work: what a run changed since its last barrier, written in one transaction.

A run of a flow collects row changes, flow details and timeline events here, and no transaction
is open meanwhile. :meth:`UnitOfWork.commit` is the barrier: it writes everything at once, first
the fence, which checks that the run still owns its operation and extends its lease. Whatever was
collected and not committed never happened.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from oslo_db.exception import DBDuplicateEntry
from sqlalchemy import BigInteger, Select, bindparam, insert, select, union_all, update
from sqlalchemy.engine import Connection
from sqlalchemy.sql.dml import Insert, Update

from volflow.clock import Clock
from volflow.exceptions import Fenced
from volflow.persistence import schema
from volflow.persistence.engine import Database
from volflow.persistence.signals import Signal

Values = dict[str, Any]

_O = schema.operations.c
_LANDED = select(_O.run_id, _O.epoch, _O.revision).where(_O.id == bindparam("id"))


class FromNow(NamedTuple):
    """A time to be written: the database's clock plus so many seconds."""

    seconds: float = 0.0


class Stale(Exception):
    """What was read is no longer so; nothing was written. Read again and decide anew."""


class Cancelled(Exception):
    """The operation was cancelled; nothing was written since the last barrier."""


class Suspended(Exception):
    """The run was asked to stop at its next barrier; nothing was written since the last one."""


@dataclass
class _RowChange:
    table: str
    key: str
    values: Values
    expected: Values = field(default_factory=dict)
    new: bool = False


class Claim(NamedTuple):
    """How a run comes to own its operation with its first commit.

    :ivar new: the operation does not exist yet.
    :ivar epoch: the epoch that was read; the run's own is one higher.
    :ivar revision: the revision that was read.
    """

    new: bool
    epoch: int = 0
    revision: int = 0


class UnitOfWork:
    """Collects the changes of one run and writes them under its fence.

    :param claim: how the first commit takes the operation; None: ``epoch`` and ``revision``
        are this run's own already.
    :ivar admit: asked at the beginning of the first commit whether the operation may run now;
        what it raises leaves :meth:`commit`, and nothing is written.
    :ivar far: signals wake other processes, too.
    """

    def __init__(
        self,
        database: Database,
        operation_id: str,
        owner: str,
        lease_seconds: float,
        claim: Claim | None,
        epoch: int,
        revision: int,
    ) -> None:
        self._database = database
        self._owner = owner
        self._lease_seconds = lease_seconds
        self._claim = claim
        self._rows: dict[tuple[str, str], _RowChange] = {}
        self._operation: Values = {}
        self._events: list[tuple[float, str, str, str | None]] = []
        self._signals: list[Signal] = []
        self._run_id = new_id()
        self.operation_id = operation_id
        self.epoch = epoch
        self.revision = revision
        self.cancellable = True
        self.admit: Callable[[Connection], None] | None = None
        self.far = False
        self.commits = 0

    @property
    def clock(self) -> Clock:
        """The time of the process that this run belongs to."""
        return self._database.clock

    @property
    def started(self) -> bool:
        """True once something was committed: the operation is durable and ours."""
        return self.commits > 0

    def set_operation(self, **values: Any) -> None:
        """Change columns of the operation's own row with the next commit."""
        self._operation.update(values)

    def insert(self, table: str, key: str, **values: Any) -> None:
        """Add a row."""
        self._rows[table, key] = _RowChange(table, key, values, new=True)

    def update(self, table: str, key: str, expected: Values, **values: Any) -> None:
        """Change a row that has to look as ``expected`` when it is written; else Stale.

        Changes of one row between two commits become one statement with the first
        expectation.
        """
        change = self._rows.setdefault((table, key), _RowChange(table, key, {}, dict(expected)))
        change.values.update(values)

    def event(self, step: str, what: str, detail: str | None = None) -> None:
        """Add a line to the operation's timeline, as of now."""
        self._events.append((self.clock.monotonic(), step, what, detail))

    def signal(self, what: str, name: str) -> None:
        """Wake who waits for something, with the next commit."""
        self._signals.append(Signal(what, name))

    def commit(self, release: bool = False) -> None:
        """Write everything in one transaction, the fence first.

        :param release: the run ends here: give up owner and lease.
        :raises Fenced: another run owns the operation; nothing was written.
        :raises Cancelled: somebody asked to cancel it; nothing was written.
        :raises Stale: a row no longer looks as expected; nothing was written.
        :raises DatabaseError: the database could not be written; nothing was lost.
        """
        operation = self._operation | self._ownership(release) | {"run_id": self._run_id}
        revision = self.revision + 1
        try:
            self._database.write(
                lambda connection: self._write(connection, operation, revision),
                landed=lambda connection: self._landed(connection, revision),
            )
        except DBDuplicateEntry as e:
            # Also the answer to a repeated INSERT whose first reply was lost.
            with self._database.read() as connection:
                if not self._landed(connection, revision):
                    raise Stale(f"a row of {self.operation_id} exists already") from e
        self.revision = revision
        self._claim = None
        self.commits += 1
        self._rows.clear()
        self._operation.clear()
        self._events.clear()
        signals, self._signals = self._signals, []
        self._database.signals.tell(signals)

    def _ownership(self, release: bool) -> Values:
        if release:
            return {"owner": None, "lease_expires_at": None}
        return {
            "owner": self._owner,
            "lease_expires_at": FromNow(self._lease_seconds),
            "lease_length": int(self._lease_seconds * 1e6),
        }

    def _write(self, connection: Connection, operation: Values, revision: int) -> None:
        rows = list(self._rows.values())
        if self._claim is not None and self.admit is not None:
            self.admit(connection)
        if self._claim is not None and self._claim.new:
            # The volume of a create comes first: the operation refers to it.
            rows.sort(key=lambda change: not (change.new and change.table == "volumes"))
            while rows and rows[0].new and rows[0].table == "volumes":
                _apply(connection, rows.pop(0))
            values = operation | {"epoch": self.epoch, "revision": revision}
            _apply(connection, _RowChange("operations", self.operation_id, values, new=True))
        elif not self._fence(connection, operation, revision):
            if self._landed(connection, revision):
                return  # a commit that was still on its way when its connection broke
            self._diagnose(connection)
        for change in rows:
            _apply(connection, change)
        if self._events:
            self._write_events(connection)
        if self.far:
            self._database.signals.send(connection, self._signals)

    def _fence(self, connection: Connection, operation: Values, revision: int) -> bool:
        seen = self._claim or Claim(False, self.epoch, self.revision)
        expected: Values = {"epoch": seen.epoch, "revision": seen.revision}
        if self.cancellable:
            expected["cancel_requested"] = False
        values = operation | {"epoch": self.epoch, "revision": revision}
        return (
            conditional_update(connection, "operations", self.operation_id, values, expected) == 1
        )

    def _diagnose(self, connection: Connection) -> None:
        table = schema.operations.c
        row = connection.execute(
            select(table.epoch, table.cancel_requested, table.owner).where(
                table.id == self.operation_id
            )
        ).one_or_none()
        if self._claim is not None:
            raise Stale(f"operation {self.operation_id} was taken by {row and row.owner}")
        if row is not None and row.epoch == self.epoch and row.cancel_requested:
            raise Cancelled(self.operation_id)
        raise Fenced(
            f"operation {self.operation_id} is owned by {(row and row.owner) or 'nobody'} now; "
            "this run stopped and changed nothing more"
        )

    def _write_events(self, connection: Connection) -> None:
        now = self.clock.monotonic()
        values: Values = {"operation_id": self.operation_id, "epoch": self.epoch}
        for n, (at, step, what, detail) in enumerate(self._events):
            values[f"age_{n}"] = int((now - at) * 1e6)
            values |= {f"step_{n}": step, f"what_{n}": what, f"detail_{n}": detail}
        connection.execute(_events_statement(len(self._events)), values)

    def _landed(self, connection: Connection, revision: int) -> bool:
        row = connection.execute(_LANDED, {"id": self.operation_id}).one_or_none()
        if row is None or (row.run_id, row.epoch) != (self._run_id, self.epoch):
            return False
        return bool(row.revision >= revision)


def new_id() -> str:
    """A random UUID in its usual spelling."""
    return str(uuid.uuid4())


def _apply(connection: Connection, change: _RowChange) -> None:
    if change.new:
        values = {"id": change.key, **change.values}
        connection.execute(_insert_statement(change.table, _shape(values)), _bound(values))
    elif (
        conditional_update(connection, change.table, change.key, change.values, change.expected)
        != 1
    ):
        raise Stale(f"{change.table} {change.key} changed meanwhile")


def conditional_update(
    connection: Connection, table: str, key: str, values: Values, expected: Values
) -> int:
    """Change the row of this id where it looks as ``expected``; return how many did: 0 or 1."""
    shape = tuple((name, value is None) for name, value in expected.items())
    statement = _update_statement(table, _shape(values), shape)
    seen = {f"seen_{k}": v for k, v in expected.items() if v is not None}
    found: int = connection.execute(statement, {"key": key, **seen, **_bound(values)}).rowcount
    return found


def _shape(values: Mapping[str, Any]) -> tuple[tuple[str, bool], ...]:
    return tuple((name, isinstance(value, FromNow)) for name, value in values.items())


def _bound(values: Mapping[str, Any]) -> Values:
    return {
        f"new_{k}": int(v.seconds * 1e6) if isinstance(v, FromNow) else v
        for k, v in values.items()
    }


def _assignments(table: str, shape: tuple[tuple[str, bool], ...]) -> dict[str, Any]:
    columns = schema.metadata.tables[table].c
    return {
        name: schema.now() + bindparam(f"new_{name}", type_=BigInteger)
        if from_now
        else bindparam(f"new_{name}", type_=columns[name].type)
        for name, from_now in shape
    }


_TOLD = ("step", "what", "detail")


@lru_cache(maxsize=64)
def _events_statement(count: int) -> Insert:
    """One statement for all events of a commit.

    One that is executed several times is sent by psycopg as a pipeline. That ends with a Flush,
    after which PostgreSQL (15) does not end a transaction that sits idle: a process that is
    stopped there, or whose host is gone, would hold its rows for ever.
    """
    columns = schema.events.c

    def row(n: int) -> Select[Any]:
        return select(
            bindparam("operation_id", type_=columns.operation_id.type),
            schema.now() - bindparam(f"age_{n}", type_=BigInteger),
            bindparam("epoch", type_=columns.epoch.type),
            *(bindparam(f"{name}_{n}", type_=columns[name].type) for name in _TOLD),
        )

    names = ["operation_id", "at", "epoch", *_TOLD]
    return insert(schema.events).from_select(names, union_all(*map(row, range(count))))


@lru_cache(maxsize=512)
def _insert_statement(table: str, shape: tuple[tuple[str, bool], ...]) -> Insert:
    return insert(schema.metadata.tables[table]).values(_assignments(table, shape))


@lru_cache(maxsize=512)
def _update_statement(
    table: str, shape: tuple[tuple[str, bool], ...], expected: tuple[tuple[str, bool], ...]
) -> Update:
    columns = schema.metadata.tables[table].c
    conditions = [columns.id == bindparam("key")]
    for name, is_null in expected:
        conditions.append(
            columns[name].is_(None) if is_null else columns[name] == bindparam(f"seen_{name}")
        )
    return (
        update(schema.metadata.tables[table]).where(*conditions).values(_assignments(table, shape))
    )
