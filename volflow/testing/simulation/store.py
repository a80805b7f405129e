"""The database as all processes see it: their statements and commits are points, and may break.

Each process has an engine of its own on one SQLite file. SQLite lets one write at a time and lets
others wait inside it, where nobody could hand on the baton: so they wait here, in fake time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oslo_db.exception import DBConnectionError, DBError
from sqlalchemy import event

from volflow.testing.simulation.plan import Strike
from volflow.testing.simulation.world import World

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from volflow.persistence.engine import Database
    from volflow.testing.simulation.scheduler import Actor

Act = Callable[[Any], None]
Committed = Callable[["Actor | None"], None]


class Store:
    """One SQLite file.

    :param committed: told of every commit, before anybody goes on.
    """

    def __init__(self, world: World, path: Path, committed: Committed) -> None:
        self.path = path
        self._world = world
        self._committed = committed
        self._writer: Any = None
        self._writing: Actor | None = None

    @property
    def url(self) -> str:
        """The file, for a manager."""
        return f"sqlite:///{self.path}"

    @contextmanager
    def watching(self, database: Database) -> Iterator[None]:
        """Make points of a process's statements and commits; its end ends its connections."""
        dialect, out = database.engine.dialect, _Out()
        listeners: dict[str, Callable[..., Any]] = {
            "before_cursor_execute": self._statement,
            "checkout": out.taken,
            "checkin": out.returned,
        }
        for name, listener in listeners.items():
            event.listen(database.engine, name, listener)
        wrapped = self._wrapped(dialect.do_commit, dialect.do_rollback, dialect.do_close)
        vars(dialect).update(wrapped)
        vars(database)["read"] = self._watched(database.read)
        try:
            yield
        finally:
            out.end()
            database.close()
            for name, listener in listeners.items():
                event.remove(database.engine, name, listener)
            for name in wrapped:
                del vars(dialect)[name]
            del vars(database)["read"]

    def _wrapped(self, commit: Act, rollback: Act, close: Act) -> dict[str, Act]:
        """The dialect's acts on a connection, as points."""

        def do_commit(connection: Any) -> None:
            self._commit(connection, commit)

        def do_rollback(connection: Any) -> None:
            rollback(connection)
            self._release(connection)

        def do_close(connection: Any) -> None:
            close(connection)
            self._release(connection)

        return {"do_commit": do_commit, "do_rollback": do_rollback, "do_close": do_close}

    def _watched(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """A transaction to read in, with a point after it: what was read may be old by then."""

        @contextmanager
        def watched() -> Iterator[Connection]:
            with read() as connection:
                yield connection
            if self._world.actor is not None:
                self._world.actor.notes["read"] = self._world.scheduler.now
            self._world.point("read")

        return watched

    def _statement(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if self._world.actor is None:
            return
        self._world.point(_label(statement))
        found = self._strike("statement")
        if found is not None:
            raise broken() if found.kind == "lost statement" else _failed()
        if statement == "BEGIN IMMEDIATE":
            self._stall("writing")
            self._begin(_raw(connection.connection))

    def _strike(self, place: str) -> Strike | None:
        found, actor = self._world.strike(place), self._world.actor
        if found is not None and actor is not None:
            actor.notes["database"] = True
        return found

    def _stall(self, place: str) -> None:
        """Stand still where others may take over meanwhile."""
        found, actor = self._world.strike(place), self._world.actor
        if found is not None and actor is not None:
            self._world.afflict(actor, found)
            self._world.pause(found.kind, 0)

    def _begin(self, connection: Any) -> None:
        while self._writer is not None:
            self._world.pause("wait to write", None, lambda: self._writer is None)
        self._writer, self._writing = connection, self._world.actor
        if self._writing is not None:
            self._writing.unstoppable = True

    def _commit(self, connection: Any, commit: Callable[[Any], None]) -> None:
        world = self._world
        world.point("COMMIT")
        found = self._strike("commit")
        kind = None if found is None else found.kind
        if kind == "broken commit":
            raise broken()
        if kind == "refused commit":
            raise sqlite3.OperationalError("database or disk is full")
        commit(connection)
        self._committed(world.actor)
        self._release(connection)
        if kind == "lost commit":
            raise broken()
        world.point("committed")
        self._stall("committed")

    def _release(self, connection: Any) -> None:
        if self._writer is not None and _raw(connection) is self._writer:
            if self._writing is not None:
                self._writing.unstoppable = False
            self._writer = self._writing = None


class _Out:
    """Connections that are out of their pool; a death may leave one lying about."""

    def __init__(self) -> None:
        self._found: dict[Any, Any] = {}

    def taken(self, connection: Any, record: Any, proxy: Any) -> None:
        self._found[record] = proxy

    def returned(self, connection: Any, record: Any) -> None:
        self._found.pop(record, None)

    def end(self) -> None:
        """Close them, before the garbage collector does at a moment of its own."""
        for proxy in list(self._found.values()):
            proxy.invalidate()


def broken() -> DBConnectionError:
    """What a connection that broke raises: what was asked may have happened or not."""
    return DBConnectionError(ConnectionResetError("the connection was reset"))


def _failed() -> DBError:
    """What oslo.db makes of a disk that fails."""
    return DBError(sqlite3.OperationalError("disk I/O error"))


def _raw(connection: Any) -> Any:
    """SQLite's own connection: the pool's and the engine's wrap it."""
    return getattr(connection, "dbapi_connection", None) or connection


@lru_cache(maxsize=1024)
def _label(statement: str) -> str:
    """The verb of a statement and its table."""
    words = statement.split()
    for before, after in pairwise(words):
        if before in ("FROM", "INTO", "UPDATE"):
            return f"{words[0]} {after}"
    return statement
