"""Who goes on, and what strikes: drawn at random and written down, or read from a schedule."""

from __future__ import annotations

import random
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Protocol

from volflow.testing.simulation.faults import KINDS, Kind
from volflow.testing.simulation.plan import Moment, Schedule, Script, Strike, Switch
from volflow.testing.simulation.scheduler import Actor

PACES = (0.0, 0.02, 0.1, 0.3, 0.6)
"""How often an actor that could go on does not: a seed draws one of them."""
TEMPERS = (0.0, 0.5, 1.0, 2.0)
"""By how much a seed multiplies the frequency of a fault: some faults it does not know at all."""

Permits = Callable[[str], bool]


class Decisions(Protocol):
    """What a scheduler and the world ask."""

    def is_restless(self, actor: Actor) -> bool: ...
    def choose(self, actor: Actor, able: list[Actor]) -> Actor: ...
    def rank(self, name: str) -> int: ...

    def strike(self, moment: Moment, place: str, permits: Permits) -> Strike | None:
        """The fault that strikes here, or None.

        :param permits: whether a kind may strike here and now.
        """


class Ranks:
    """Gives every name a rank of its own: its place among those who can go on."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def rank(self, name: str) -> int:
        return zlib.crc32(f"{self._seed} {name}".encode())


class Dice(Ranks):
    """Draws, and writes down what it drew.

    :param kinds: the faults that may strike.
    """

    def __init__(self, seed: int, kinds: Iterable[str]) -> None:
        super().__init__(seed)
        self._random = random.Random(f"{seed} decisions")  # noqa: S311 - it has to be repeatable
        self._pace = self._random.choice(PACES)
        self._gaps: dict[str, float] = {}
        self._left: dict[str, float] = {}
        self._places: dict[str, list[Kind]] = defaultdict(list)
        self._strikes: list[Strike] = []
        self._switches: list[Switch] = []
        self.seed = seed
        self._enable(frozenset(kinds))

    def _enable(self, kinds: frozenset[str]) -> None:
        tempers = {kind.name: self._random.choice(TEMPERS) for kind in KINDS}
        for kind in KINDS:
            temper = tempers[kind.name]
            if kind.name in kinds and temper:
                self._places[kind.place].append(kind)
                self._gaps[kind.name] = kind.gap / temper
                self._left[kind.name] = self._draw(kind)

    def _draw(self, kind: Kind) -> float:
        return self._random.expovariate(1 / self._gaps[kind.name])

    def _number(self, kind: Kind) -> float:
        """A number of the kind's; small ones are more frequent, since what is near collides."""
        share = self._random.random()
        if kind.least >= 0:
            share *= share
        return round(kind.least + share * (kind.most - kind.least), 3)

    def is_restless(self, actor: Actor) -> bool:
        return self._random.random() < self._pace

    def choose(self, actor: Actor, able: list[Actor]) -> Actor:
        chosen = self._random.choice(able)
        if chosen is not actor:
            self._switches.append(Switch(actor.name, actor.steps, chosen.name))
        return chosen

    def strike(self, moment: Moment, place: str, permits: Permits) -> Strike | None:
        for kind in self._places[place]:
            self._left[kind.name] -= 1
            if self._left[kind.name] <= 0 and permits(kind.name):
                self._left[kind.name] = self._draw(kind)
                found = Strike(*moment, kind.name, self._number(kind))
                self._strikes.append(found)
                return found
        return None

    def written(self, scripts: Iterable[Script]) -> Schedule:
        """The schedule of what happened."""
        return Schedule(self.seed, tuple(scripts), tuple(self._strikes), tuple(self._switches))


class Replay(Ranks):
    """Reads a schedule; an entry whose moment does not come is passed over."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(schedule.seed)
        self._switches = {(s.who, s.step): s.to for s in schedule.switches}
        self._strikes: dict[Moment, list[Strike]] = defaultdict(list)
        self._places = {kind.name: kind.place for kind in KINDS}
        for strike in schedule.strikes:
            self._strikes[strike.moment].append(strike)

    def is_restless(self, actor: Actor) -> bool:
        return (actor.name, actor.steps) in self._switches

    def choose(self, actor: Actor, able: list[Actor]) -> Actor:
        wanted = self._switches.get((actor.name, actor.steps))
        return next((a for a in able if a.name == wanted), actor)

    def strike(self, moment: Moment, place: str, permits: Permits) -> Strike | None:
        for strike in self._strikes.get(moment, ()):
            if self._places.get(strike.kind) == place and permits(strike.kind):
                return strike
        return None
