"""Time as a process sees it: what it reads, and how it waits.

Everything in volflow that reads a clock or sleeps does it here, so that a test (or a simulation)
gives a manager a time of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Clock:
    """This process's clocks; a subclass may bend them."""

    def microseconds(self) -> int:
        """Wall-clock time in microseconds since 1970; SQLite's, whose server is this process."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let this thread rest."""
        time.sleep(seconds)

    def wait_for(
        self,
        condition: threading.Condition,
        holds: Callable[[], bool],
        seconds: float | None = None,
    ) -> bool:
        """Wait, with the condition held, until something holds.

        :param seconds: how long at most; None: as long as it takes.
        :returns: whether it holds.
        """
        return condition.wait_for(holds, seconds)


SYSTEM_CLOCK = Clock()
