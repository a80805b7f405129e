"""A schedule that fails, made as short as can be while it fails in the same way.

Parts are left out in chunks, then in smaller ones, and one by one (delta debugging): callers
first, then faults, then switches. What remains is tried until nothing can be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from volflow.testing.simulation.plan import Schedule

Fails = Callable[[Schedule], bool]
GROUPS = ("switches", "scripts", "strikes")


class Shrinker:
    """Shrinks one schedule.

    :param fails: whether a schedule fails as the first one did.
    :param tries: how many schedules are played at most.
    :ivar best: the shortest that fails.
    """

    def __init__(self, schedule: Schedule, fails: Fails, tries: int = 600) -> None:
        self.best = schedule
        self.tries = 0
        self._fails = fails
        self._most = tries

    def run(self) -> Schedule:
        """Leave out what can be left out."""
        before = None
        while self.best != before and self.tries < self._most:
            before = self.best
            for group in GROUPS:
                self._thin(group)
            self._cut_short()
        return self.best

    def _thin(self, group: str) -> None:
        """Leave parts of one group out: all, halves, quarters, down to single ones."""
        size = len(getattr(self.best, group))
        while size:
            start = 0
            while start < len(parts := getattr(self.best, group)):
                rest = parts[:start] + parts[start + size :]
                if not self._try(replace(self.best, **{group: rest})):
                    start += size
            size = min(size, len(getattr(self.best, group))) // 2

    def _cut_short(self) -> None:
        """Let each caller go away as early as can be."""
        for number, script in enumerate(self.best.scripts):
            for calls in _fewer(script.calls):
                shorter = list(self.best.scripts)
                shorter[number] = replace(script, calls=calls)
                if self._try(replace(self.best, scripts=tuple(shorter))):
                    break

    def _try(self, schedule: Schedule) -> bool:
        if self.tries >= self._most:
            return False
        self.tries += 1
        if not self._fails(schedule):
            return False
        self.best = schedule
        return True


def _fewer(calls: int) -> Iterator[int]:
    """Smaller numbers of calls, the smallest first."""
    return iter(range(min(calls, 12)))
