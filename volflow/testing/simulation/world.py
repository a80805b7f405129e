"""What everything in a simulation shares: its time, its decisions, and what it saw."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from volflow.testing.simulation.clock import SimulatedClock
from volflow.testing.simulation.decisions import Decisions
from volflow.testing.simulation.plan import Moment, Strike
from volflow.testing.simulation.scheduler import SECOND, Actor, Scheduler


class Line(NamedTuple):
    """One line of the trace.

    :ivar at: microseconds since the beginning.
    :ivar who: the actor; empty for the director.
    :ivar loud: it belongs into the story that people read.
    """

    at: int
    who: str
    what: str
    loud: bool


class Violation(NamedTuple):
    """A promise that was broken.

    :ivar rule: which; two schedules fail alike where it is the same.
    """

    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


class World:
    """The ground that a simulation stands on.

    :ivar calm: nothing goes wrong any more.
    :ivar jumped: how far the wall clock was set, in microseconds; ``set_back`` counts only the
        jumps to the past, past each other.
    :ivar tally: what was counted, by name; ``struck`` is how often each fault did.
    :ivar names: short names of ids, for people.
    :ivar identities: what differs between two runs of one schedule -> what is told in its place.
    :ivar queued: told when an operation was queued.
    """

    def __init__(self, decisions: Decisions) -> None:
        self.decisions = decisions
        self.scheduler = Scheduler(decisions)
        self.clock = SimulatedClock(self)
        self.calm = False
        self.jumped = self.set_back = 0
        self.tally: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        self.violations: list[Violation] = []
        self.trace: list[Line] = []
        self.names: dict[str, str] = {}
        self.identities: dict[str, str] = {f"process {os.getpid()}": "a process"}
        self.afflict: Callable[[Actor, Strike], None] = _nothing
        self.queued: Callable[[], None] = _nobody

    @property
    def actor(self) -> Actor | None:
        """Who has the baton; None: the director."""
        return self.scheduler.current

    def point(self, label: str) -> None:
        """Come to a point: something may strike, and somebody else may go on."""
        if self._step(label) is not None:
            self.scheduler.pass_on()

    def pause(
        self, label: str, seconds: float | None, holds: Callable[[], bool] | None = None
    ) -> None:
        """Stand still until something holds, or for a while."""
        if self._step(label) is not None:
            self.scheduler.park(seconds, holds)

    def strike(self, place: str, permits: Callable[[str], bool] | None = None) -> Strike | None:
        """What strikes the actor here, at its latest point."""
        actor = self.actor
        if actor is None:
            return None
        return self.strike_at(Moment(actor.name, actor.steps), place, permits)

    def strike_at(
        self, moment: Moment, place: str, permits: Callable[[str], bool] | None = None
    ) -> Strike | None:
        """What strikes at a moment."""
        if self.calm:
            return None
        found = self.decisions.strike(moment, place, permits or _always)
        if found is not None:
            self.struck[found.kind] += 1
            self.tell(f"! {found.kind}" + (f" {found.number:g}" if found.number else ""))
        return found

    def tell(self, what: str, loud: bool = True) -> None:
        """Add a line to the trace."""
        actor = self.scheduler.current
        who = "" if actor is None else actor.name
        if loud:
            for identity, name in self.identities.items():
                what = what.replace(identity, name)
        self.trace.append(Line(self.scheduler.now, who, what, loud))

    def jump(self, seconds: float) -> None:
        """Set the wall clock."""
        self.jumped += int(seconds * SECOND)
        self.set_back += max(0, -int(seconds * SECOND))

    def short(self, key: str) -> str:
        """A name for an id that people can tell from others."""
        return self.names.get(key, key[:8])

    def violate(self, rule: str, text: str) -> None:
        """Note a broken promise; the simulation ends with it."""
        self.tell(f"VIOLATION of {rule}: {text}")
        self.violations.append(Violation(rule, text))
        self.scheduler.broken = True

    def fingerprint(self) -> str:
        """A hash of the trace: the same for two runs that went the same way."""
        digest = hashlib.blake2b(digest_size=16)
        for line in self.trace:
            digest.update(f"{line.at} {line.who} {line.what}\n".encode())
        return digest.hexdigest()

    def _step(self, label: str) -> Actor | None:
        actor = self.scheduler.step()
        if actor is None:
            return None
        self.trace.append(Line(self.scheduler.now, actor.name, label, loud=False))
        found = self.strike("point", self._permits)
        if found is not None:
            self.afflict(actor, found)
        return actor

    def _permits(self, kind: str) -> bool:
        """Nobody stands still with SQLite's write lock: all would, as the guarantee says."""
        actor = self.actor
        return kind == "death" or (actor is not None and not actor.unstoppable)


def _always(kind: str) -> bool:
    return True


def _nobody() -> None:
    """Nobody conducts."""


def _nothing(actor: Actor, strike: Strike) -> None:
    raise AssertionError(f"nobody knows what {strike.kind} does")
