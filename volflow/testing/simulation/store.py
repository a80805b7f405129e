"""The database as all processes see it: their statements and commits are points, and may break.

Each process has an engine of its own on one SQLite file. SQLite lets one write at a time and lets
others wait inside it, where nobody could hand on the baton: so they wait here, in fake time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
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
        dialect, read, out = database.engine.dialect, database.read, dict[Any, Any]()
        commit, rollback, close = dialect.do_commit, dialect.do_rollback, dialect.do_close

        def do_commit(connection: Any) -> None:
            self._commit(connection, commit)

        def do_rollback(connection: Any) -> None:
            rollback(connection)
            self._release(connection)

        def do_close(connection: Any) -> None:
            close(connection)
            self._release(connection)

        @contextmanager
        def watched_read(one_snapshot: bool = False) -> Iterator[Connection]:
            with read(one_snapshot) as connection:
                yield connection
            self._world.point("read")

        def checkout(connection: Any, record: Any, proxy: Any) -> None:
            out[record] = proxy

        def checkin(connection: Any, record: Any) -> None:
            out.pop(record, None)

        listeners: dict[str, Callable[..., Any]] = {
            "before_cursor_execute": self._statement,
            "checkout": checkout,
            "checkin": checkin,
        }
        for name, listener in listeners.items():
            event.listen(database.engine, name, listener)
        vars(dialect).update(do_commit=do_commit, do_rollback=do_rollback, do_close=do_close)
        vars(database)["read"] = watched_read
        try:
            yield
        finally:
            for proxy in list(out.values()):  # what a death left lying about
                proxy.invalidate()
            database.close()
            for name, listener in listeners.items():
                event.remove(database.engine, name, listener)
            for name in ("do_commit", "do_rollback", "do_close"):
                del vars(dialect)[name]
            del vars(database)["read"]

    def _statement(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if self._world.actor is None:
            return
        self._world.point(_label(statement))
        found = self._strike("statement")
        if found is not None:
            raise broken() if found.kind == "lost statement" else _failed()
        if statement == "BEGIN IMMEDIATE":
            self._begin(_raw(connection.connection))

    def _strike(self, place: str) -> Strike | None:
        found, actor = self._world.strike(place), self._world.actor
        if found is not None and actor is not None:
            actor.notes["database"] = True
        return found

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

    def _release(self, connection: Any) -> None:
        if self._writer is not None and _raw(connection) is self._writer:
            if self._writing is not None:
                self._writing.unstoppable = False
            self._writer = self._writing = None


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
    for before, after in zip(words, words[1:], strict=False):
        if before in ("FROM", "INTO", "UPDATE"):
            return f"{words[0]} {after}"
    return statement

