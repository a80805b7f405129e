"""Databases that are used again: what an engine has compiled is worth more than the engine.

Measured: with a new engine for each process a third of the time of a simulation went into
compiling statements that had been compiled before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from volflow import opening
from volflow.clock import SYSTEM_CLOCK, Clock
from volflow.persistence.engine import Database


class Stock:
    """Databases of one URL at a time, none of them in two processes at once."""

    def __init__(self) -> None:
        self._free: list[Database] = []

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let managers that are opened meanwhile take their databases from here."""
        with mock.patch.object(opening, "Database", self._take):
            yield

    def give_back(self, database: Database) -> None:
        """Take a database back whose connections are closed."""
        self._free.append(database)

    def _take(self, url: str, lease_seconds: float = 60, clock: Clock = SYSTEM_CLOCK) -> Database:
        if not self._free:
            return Database(url, lease_seconds, clock)
        database = self._free.pop()
        database.clock = clock
        return database
