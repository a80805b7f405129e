"""The crash matrix: a scenario, a death at each of its points, recovery, the invariants.

A "process" is a manager of its own on the same database and the same backend. Its death is a
:class:`~volflow.testing.Crash` at one of its fault points; the next process recovers, and then
database and backend have to agree. A double crash kills the recovery, too.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from volflow.testing.faults import Crash
from volflow.testing.points import Points
from volflow.testing.scenarios import Scenario
from volflow.testing.stage import Place, Snapshot, Stage

__all__ = ["Matrix", "Place", "Point", "Stage", "Tally"]


class Point(NamedTuple):
    """No death, one, or two: the number and the name of each point."""

    scenario: str
    first: tuple[int, str] | None = None
    second: tuple[int, str] | None = None

    def __str__(self) -> str:
        deaths = [f"{death[0]} ({death[1]})" for death in self[1:] if death is not None]
        told = f"death at {' and then at '.join(deaths)}" if deaths else "no death"
        return f"{self.scenario}: {told}"


@dataclass
class Tally:
    """What was tried, and what was found.

    :ivar states: how many different states the deaths left, each of which was recovered from.
    :ivar ends: the status that the volume ended in -> how often.
    :ivar broken: a point -> the guarantees that did not hold.
    """

    single: int = 0
    double: int = 0
    states: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    broken: dict[str, list[str]] = field(default_factory=dict)


class Matrix:
    """Goes through all points of a scenario.

    On SQLite with a backend that can be copied, each point starts from a copy of one stage, and
    the second deaths from a copy of what the first one left. Deaths after the same commits and
    driver calls leave the same, which is recovered from once. Elsewhere all points share a place
    and a backend: each has a volume of its own, which has to be usable and deletable afterwards.

    :param make_backend: makes a driver with an empty backend.
    :param make_url: makes an empty server database; None: SQLite.
    """

    def __init__(
        self,
        scenario: Scenario,
        make_backend: Callable[[], Any],
        make_url: Callable[[], str] | None = None,
    ) -> None:
        self.scenario = scenario
        self.tally = Tally()
        self._make_backend = make_backend
        self._make_url = make_url
        self._root = Path(tempfile.mkdtemp(prefix="volflow-crash-"))
        self._home: tuple[Place, Any] | None = None
        self._saved: tuple[Stage, Snapshot] | None = None
        self._known: dict[tuple[str, ...], tuple[list[str], str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._root)

    def single(self, step: int = 1, start: int = 0) -> None:
        """Die at each point of the call."""
        for number in range(start, self.points(), step):
            stage = self._stage()
            dead = self._die(stage, number)
            self.tally.single += 1
            self._judge(stage, Point(self.scenario.name, dead.death), dead.effects)

    def double(
        self, step: int = 1, start: int = 0, first_step: int = 1, first_start: int = 0
    ) -> None:
        """Die at each point of the call, and at each point of the recovery that follows.

        :param step: which points of the recovery; ``first_step``: which of the call.
        """
        for number in range(first_start, self.points(), first_step):
            for second, stage, dead in self._dead(number, step, start):
                points = self.new_points(second)
                with suppress(Crash):
                    stage.recover(points)
                if points.struck is None:
                    self._leave(stage)
                    break
                self.tally.double += 1
                left = (*dead.effects, "death", *points.effects)
                self._judge(stage, Point(self.scenario.name, dead.death, points.death), left)

    def points(self) -> int:
        """How many points the call has; without a death it has to end well, too."""
        stage, points = self._stage(), self.new_points()
        stage.play(points)
        # Where nothing was refused all is in order at once: recovery would mend it.
        at_once = [] if self.scenario.faults else stage.look()
        self._judge(stage, Point(self.scenario.name), (*points.effects, "end"), at_once)
        return len(points.reached)

    def new_points(self, strike_at: int | None = None) -> Points:
        """What counts as a point: here statements, commits and driver calls."""
        return Points(strike_at)

    def new_stage(self, place: Place, backend: Any) -> Stage:
        """A volume in the scenario's first state."""
        return Stage(place, backend, self.scenario)

    def _dead(self, number: int, step: int, start: int) -> Iterator[tuple[int, Stage, Points]]:
        """Stage after stage on which the call died at this point, and the next second point."""
        stage = self._stage()
        points = self._die(stage, number)
        dead = stage.save() if self._saved is not None else None
        second = start
        while True:
            yield second, stage, points
            second += step
            if dead is not None:
                stage.restore(dead)
            else:
                stage = self._stage()
                self._die(stage, number)

    def _die(self, stage: Stage, number: int) -> Points:
        points = self.new_points(number)
        with suppress(Crash):
            stage.play(points)
        assert points.struck is not None, f"point {number} was not reached"
        return points

    def _judge(
        self, stage: Stage, point: Point, left: tuple[str, ...], also: Sequence[str] = ()
    ) -> None:
        """Recover from what a death left, and hold the guarantees against what is there then.

        :param left: what was done before it; ``also``: what is known to be wrong.
        """
        found, ended = self._settled(stage, point, left)
        self.tally.ends[ended] = self.tally.ends.get(ended, 0) + 1
        found = [*found, *also, *self._leave(stage)]
        if found:
            self.tally.broken[str(point)] = found
            self._home = None  # what is left there would break the points that follow, too

    def _settled(self, stage: Stage, point: Point, left: tuple[str, ...]) -> tuple[list[str], str]:
        """What is wrong after recovery, and the status in which the volume ends."""
        if self._saved is not None and left in self._known:
            return self._known[left]
        self.tally.states += 1
        self._known[left] = stage.settle(at_once=point.second is not None)
        return self._known[left]

    def _leave(self, stage: Stage) -> list[str]:
        """Use up the volume where the next stage is on the same place; return violations."""
        return [] if self._saved is not None else stage.clear()

    def _stage(self) -> Stage:
        """A stage; where it can be copied, the first one as it was."""
        if self._saved is not None:
            stage, saved = self._saved
            stage.restore(saved)
            return stage
        if self._home is None:
            directory = Path(tempfile.mkdtemp(dir=self._root))
            url = None if self._make_url is None else self._make_url()
            self._home = (Place(directory, url), self._make_backend())
        place, backend = self._home
        stage = self.new_stage(place, backend)
        if self._make_url is None and hasattr(backend, "__deepcopy__"):
            self._saved = (stage, stage.save())
        return stage
