"""One simulation: a few processes, callers that come and go, faults, and what is left of it."""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from volflow.testing.simulation.answers import Answers
from volflow.testing.simulation.backend import Backend, Way
from volflow.testing.simulation.callers import Caller, Place
from volflow.testing.simulation.decisions import Dice, Replay
from volflow.testing.simulation.dice import loaded_dice
from volflow.testing.simulation.ending import Ending
from volflow.testing.simulation.faults import NAMES
from volflow.testing.simulation.ledger import Ledger
from volflow.testing.simulation.network import Network
from volflow.testing.simulation.plan import Moment, Schedule, Script
from volflow.testing.simulation.processes import Process, Processes
from volflow.testing.simulation.safety import Safety
from volflow.testing.simulation.scheduler import SECOND, Deadlock
from volflow.testing.simulation.store import Store
from volflow.testing.simulation.stories import STORIES, WEIGHTS
from volflow.testing.simulation.template import VOLUMES, Template, volume_id
from volflow.testing.simulation.world import Line, Violation, World

PROCESSES = ["p1", "p2", "p3"]
OPERATIONS = 20
FAULTS = 5
CALLERS = 200
"""A random run ends when it had so many operations and faults, or so many callers."""
AT_ONCE = 4
RUSH = 2_000
"""Within so many microseconds callers come who want the same volume as the one before."""
WEATHER_SECONDS = 4.0
STEPS = 60_000
"""A run that takes more points than this goes round in circles."""


@dataclass(frozen=True)
class Outcome:
    """What one simulation showed.

    :ivar fingerprint: a hash of its trace.
    :ivar tally: what was counted; ``struck`` is how often each fault did.
    """

    schedule: Schedule
    violations: tuple[Violation, ...]
    fingerprint: str
    tally: Counter[str]
    struck: Counter[str]
    trace: tuple[Line, ...] = field(repr=False)


class Simulation:
    """Plays one schedule, or one drawn from a seed.

    :param template: what it begins with; several simulations may share it, one after another.
    :param kinds: the faults that may strike in a run drawn from a seed.
    """

    def __init__(
        self,
        template: Template,
        seed: int,
        schedule: Schedule | None = None,
        kinds: Iterable[str] = NAMES,
    ) -> None:
        self._template = template
        self._seed = seed
        self._schedule = schedule
        self._dice = random.Random(f"{seed} callers")  # noqa: S311 - it has to be repeatable
        self._drawn = Dice(seed, kinds) if schedule is None else None
        self._rush = self._dice.choice([0.0, 0.2, 0.6])
        self._scripts: list[Script] = []
        self._playing = 0
        self._world = World(self._drawn or Replay(schedule or Schedule(seed)))

    def run(self) -> Outcome:
        """Play it to its end, and judge."""
        with (
            loaded_dice(self._seed, self._world.scheduler.is_playing),
            self._template.stock.in_use(),
            _nothing_collected(),
        ):
            return self._run(*self._template.copy())

    def _run(self, path: Path, backend: Backend) -> Outcome:
        world, chosen = self._world, self._dice.sample(range(len(VOLUMES)), 3)
        safety = Safety(world, path, backend)
        store = Store(world, path, safety.committed)
        way = Way(world, backend, safety, cautious=self._dice.random() < 0.5)
        processes = Processes(world, store, self._template.stock, way, PROCESSES)
        ledger = Ledger()
        answers = Answers(world, safety)
        network = Network(world, processes, answers.judge)
        volumes = {volume_id(number): VOLUMES[number].readonly for number in chosen}
        for number in chosen:
            world.names[volume_id(number)] = VOLUMES[number].name
        self._place = Place(self._seed, world, network, backend, ledger, volumes)
        self._safety, self._processes = safety, processes
        try:
            self._play(Ending(world, processes, way, backend, safety, ledger, answers))
        finally:
            for process in processes.all:
                processes.bury(process)
            world.scheduler.close()
            way.close()
            safety.close()
        world.tally["operations"] = len(safety.tables.operations) - safety.first
        world.tally["points"] = world.scheduler.steps
        return self._outcome()

    def _outcome(self) -> Outcome:
        world = self._world
        schedule = self._schedule
        if self._drawn is not None:
            schedule = self._drawn.written(self._scripts)
        assert schedule is not None
        return Outcome(
            schedule,
            tuple(world.violations),
            world.fingerprint(),
            world.tally,
            world.struck,
            tuple(world.trace),
        )

    def _play(self, ending: Ending) -> None:
        world = self._world
        self._arrive()
        self._weather(0)
        try:
            world.scheduler.run(self._is_over)
            if not world.violations:
                ending.heal(self._core())
                ending.settle()
        except Deadlock as e:
            world.violate("deadlock", str(e))
        if world.scheduler.steps > STEPS:
            world.violate("livelock", f"{world.scheduler.steps} points")
        if not world.violations:
            ending.judge()

    def _core(self) -> list[Process]:
        """Who is there at the end: it takes one process to settle everything."""
        everybody = self._processes.all
        dice = random.Random(f"{self._seed} core")  # noqa: S311 - it has to be repeatable
        return dice.sample(everybody, dice.choice([1, 1, 1, len(everybody)]))

    # Who comes

    def _arrive(self) -> None:
        if self._schedule is not None:
            for script in self._schedule.scripts:
                self._add(script)
            return
        for _ in range(AT_ONCE):
            self._draw()

    def _draw(self) -> None:
        kind = self._dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        rushes = self._dice.random() < self._rush
        begins = self._world.scheduler.now + self._dice.randrange(
            1, RUSH if rushes else 2 * SECOND
        )
        volume = self._dice.randrange(6)
        if rushes and self._scripts:
            volume = self._scripts[-1].volume
        host = self._dice.randrange(6)
        script = Script(len(self._scripts), kind, begins, volume, host)
        self._scripts.append(script)
        self._add(script)

    def _add(self, script: Script) -> None:
        self._playing += 1
        caller = Caller(script, self._place, STORIES[script.kind], self._ended)
        self._world.scheduler.at(script.start, caller.begin)

    def _ended(self) -> None:
        self._playing -= 1
        if self._schedule is None and not self._has_enough():
            self._draw()

    def _has_enough(self) -> bool:
        operations = len(self._safety.tables.operations) - self._safety.first
        full = operations >= OPERATIONS and self._world.struck.total() >= FAULTS
        return full or len(self._scripts) >= CALLERS

    def _is_over(self) -> bool:
        return not self._playing or self._world.scheduler.steps > STEPS

    def _weather(self, number: int) -> None:
        found = self._world.strike_at(Moment("weather", number), "weather")
        if found is not None:
            if found.kind == "restart":
                self._place.backend.restart_target()
            else:
                self._processes.strike_weather(found)
        self._world.scheduler.after(WEATHER_SECONDS, lambda: self._weather(number + 1))


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Keep the garbage collector from closing, at a moment of its own, what deaths left open."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
