"""Fault points: every database statement, every commit, every driver call, counted.

A :class:`Points` is armed with a number and makes the process die (:class:`Crash`), or the
reply get lost, at the point of that number. Counting a scenario once tells how many points it
has, so that a test can go through all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from oslo_db.exception import DBConnectionError
from sqlalchemy import event

from volflow.testing.faults import Crash

if TYPE_CHECKING:
    from volflow.manager import VolumeManager
    from volflow.persistence.engine import Database


class Points:
    """Counts fault points, and strikes at one.

    :ivar reached: the names of the points passed so far, such as ``commit before`` or
        ``create_export after``.
    :ivar strike_at: the number of the point to strike at, from 0; None: never.
    :ivar error: what is raised there.
    """

    def __init__(self, strike_at: int | None = None) -> None:
        self.reached: list[str] = []
        self.strike_at = strike_at
        self.error: Callable[[str], BaseException] = Crash
        self.struck: str | None = None
        self._thread = threading.get_ident()

    def reach(self, name: str) -> None:
        """Pass a point; only the thread that made the object counts."""
        if threading.get_ident() != self._thread:
            return
        number = len(self.reached)
        self.reached.append(name)
        if number == self.strike_at:
            self.struck = name
            raise self.error(name)

    @property
    def death(self) -> tuple[int, str] | None:
        """The number and the name of the point at which it struck."""
        return None if self.struck is None else (self.strike_at or 0, self.struck)

    @property
    def effects(self) -> tuple[str, ...]:
        """What was done that outlives the process: commits and driver calls, in order.

        Dying at a statement, or just before a commit or a call, adds nothing.
        """
        return tuple(
            name
            for number, name in enumerate(self.reached)
            if not name.startswith("statement ")
            and not (number == self.strike_at and name.endswith(" before"))
        )

    @contextmanager
    def watching(self, database: Database) -> Iterator[None]:
        """Count the statements and commits of a database."""
        engine, dialect = database.engine, database.engine.dialect
        commit = dialect.do_commit

        def statement(*arguments: Any) -> None:
            self.reach("statement " + arguments[2].split(None, 1)[0])

        def do_commit(connection: Any) -> None:
            self.reach("commit before")
            commit(connection)
            self.reach("commit after")

        event.listen(engine, "before_cursor_execute", statement)
        vars(dialect)["do_commit"] = do_commit
        try:
            yield
        finally:
            del vars(dialect)["do_commit"]
            event.remove(engine, "before_cursor_execute", statement)


class PointedDriver:
    """A driver whose calls are fault points, before and after their effect."""

    def __init__(self, driver: Any, points: Points) -> None:
        self.driver = driver
        self.points = points

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.driver, name)
        if name.startswith("_") or not callable(found) or name in _UNCOUNTED:
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            self.points.reach(f"{name} before")
            result = found(*arguments, **options)
            self.points.reach(f"{name} after")
            return result

        return call


_UNCOUNTED = frozenset(
    {
        "do_setup",
        "check_for_setup_error",
        "initiator_of",
        "connector_of",
        "login",
        "logout",
        "restart_target",
    }
)


def lost_reply(name: str) -> BaseException:
    """The error of a connection that broke: what was asked may have happened or not."""
    return DBConnectionError(ConnectionResetError(f"the connection was reset: {name}"))


def watched(manager: VolumeManager, points: Points) -> Any:
    """Count the statements and commits of a manager."""
    return points.watching(manager.database)
