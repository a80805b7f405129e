"""What a soak came to, in figures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass
class Figures:
    """The result of a soak; times are in seconds.

    :ivar violations: what broke a guarantee, each as a sentence; none is how it should be.
    :ivar calls: ``name: how it ended`` -> how often; ``unanswered``: its worker died.
    :ivar operations: ``kind: state`` -> how many.
    :ivar takeovers: how often a run took an operation over from a dead or silent one.
    :ivar caught: stops that left an operation which others could take over meanwhile.
    :ivar fenced: commits of runs whose operation another run had taken over; nothing of such a
        commit is written.
    :ivar restarts: service -> how often it was killed and started again.
    :ivar orphans: operations whose worker was killed.
    :ivar settling: from the last death of their worker until they rested, without the time in
        which a service was away.
    :ivar settling_stopped: the same of operations whose worker was stopped, from the stop.
    :ivar settled_after: from the end of all trouble until everything was settled.
    :ivar samples: how often backend and database were looked at.
    """

    violations: list[str] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    operations: dict[str, int] = field(default_factory=dict)
    deaths: int = 0
    stops: int = 0
    caught: int = 0
    takeovers: int = 0
    fenced: int = 0
    restarts: dict[str, int] = field(default_factory=dict)
    orphans: int = 0
    settling: dict[str, float] = field(default_factory=dict)
    settling_stopped: dict[str, float] = field(default_factory=dict)
    settled_after: float | None = None
    samples: int = 0
    answers_repeated: int = 0

    @property
    def longest(self) -> float:
        """The longest time from a death, or a stop, until an operation of it rested."""
        return max(self.settling.get("max", 0.0), self.settling_stopped.get("max", 0.0))

    def as_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        rows = [
            ("calls", _counts(self.calls)),
            ("operations", _counts(self.operations)),
            ("deaths", f"{self.deaths}, with {self.orphans} operations under way"),
            ("stops", f"{self.stops}, {self.caught} of them in the middle of an operation"),
            ("restarts", _counts(self.restarts) or "none"),
            ("takeovers", str(self.takeovers)),
            ("fenced commits", str(self.fenced)),
            ("settled after a death", _seconds(self.settling)),
            ("settled after a stop", _seconds(self.settling_stopped)),
            ("longest time to settle", f"{self.longest:.2f} s"),
            ("settled after the end", f"{self.settled_after or 0:.2f} s"),
            ("looked at", f"{self.samples} times"),
            ("answers asked for again", str(self.answers_repeated)),
            ("violations", "none" if not self.violations else str(len(self.violations))),
        ]
        lines = [f"{name:<26}{text}" for name, text in rows]
        return "\n".join([*lines, *(f"  {sentence}" for sentence in self.violations)])


def percentiles(times: Sequence[float]) -> dict[str, float]:
    """The median, the 99th percentile and the longest."""
    if not times:
        return {}
    ordered = sorted(times)
    last = len(ordered) - 1
    return {
        "p50": round(ordered[round(0.5 * last)], 3),
        "p99": round(ordered[round(0.99 * last)], 3),
        "max": round(ordered[last], 3),
    }


def counted(names: Sequence[str]) -> dict[str, int]:
    """How often each is there, sorted by name."""
    return dict(sorted(Counter(names).items()))


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in found.items())


def _seconds(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f} s" for name, value in found.items()) or "nothing to do"
