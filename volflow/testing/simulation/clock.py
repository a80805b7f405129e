"""The time that a simulated process lives by."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from volflow.clock import Clock

if TYPE_CHECKING:
    from volflow.testing.simulation.world import World

BEGINNING = 1_700_000_000_000_000
"""Where the wall clock stands at first, in microseconds since 1970."""


class SimulatedClock(Clock):
    """The clock of all processes: they share a host, and SQLite's time is theirs."""

    def __init__(self, world: World) -> None:
        self._world = world

    def microseconds(self) -> int:
        """Wall-clock time; it may jump."""
        return BEGINNING + self._world.scheduler.now + self._world.jumped

    def monotonic(self) -> float:
        return self._world.scheduler.now / 1e6

    def sleep(self, seconds: float) -> None:
        self._world.pause("sleep", seconds)

    def wait_for(
        self,
        condition: threading.Condition,
        holds: Callable[[], bool],
        seconds: float | None = None,
    ) -> bool:
        scheduler = self._world.scheduler
        until = None if seconds is None else scheduler.now + seconds * 1e6
        while not holds():
            left = None if until is None else (until - scheduler.now) / 1e6
            if scheduler.current is None or (left is not None and left <= 0):
                return False
            condition.release()
            try:
                self._world.pause("wait", left, holds)
            finally:
                condition.acquire()
        return True
