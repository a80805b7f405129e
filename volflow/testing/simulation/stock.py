"""Databases that are used again: what an engine has compiled is worth more than the engine.

Measured: with a new engine for each process a third of the time of a simulation went into
compiling statements that had been compiled before, and a tenth into checking, at each opening,
the schema and the keys of a file that is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from volflow import manager, opening
from volflow.clock import Clock
from volflow.opening import Store
from volflow.persistence.engine import Database


class Stock:
    """Stores of one URL at a time, none of them in two processes at once."""

    def __init__(self) -> None:
        self._free: list[Store] = []
        self._given: dict[Database, Store] = {}

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let managers that are opened meanwhile take their stores from here."""
        with mock.patch.object(manager, "open_store", self._open):
            yield

    def give_back(self, database: Database) -> None:
        """Take a database back whose connections are closed."""
        self._free.append(self._given.pop(database))

    def _open(
        self, url: str, keys: Any, locks: Any, lease_seconds: float, clock: Clock
    ) -> Store:
        if self._free:
            store = self._free.pop()
            store.database.clock = clock
        else:
            store = opening.open_store(url, keys, locks, lease_seconds, clock)
        self._given[store.database] = store
        return store
