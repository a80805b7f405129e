"""A schedule, written down: what callers do, what goes wrong where, and who goes on when.

It is what a random run records and what a replay is given, and small enough to be shrunk: each
entry names its moment by who comes to it and how many points that one had passed, so that leaving
one out moves few of the others.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self


class Moment(NamedTuple):
    """A point: whose, and its number; 0 for what happens only once under that name."""

    who: str
    number: int


@dataclass(frozen=True)
class Script:
    """What one caller does.

    :ivar number: its name, and the seed of its own choices.
    :ivar kind: which story it plays.
    :ivar start: when it begins, in microseconds.
    :ivar volume: which volume, from 0; ``host`` likewise.
    :ivar calls: after so many it goes away.
    """

    number: int
    kind: str
    start: int
    volume: int
    host: int
    calls: int = 99


@dataclass(frozen=True)
class Strike:
    """One fault that struck.

    :ivar kind: which, from the table of faults.
    :ivar number: what has to be known of it, in the unit that its kind names.
    """

    who: str
    step: int
    kind: str
    number: float

    @property
    def moment(self) -> Moment:
        """Where it struck."""
        return Moment(self.who, self.step)


@dataclass(frozen=True)
class Switch:
    """The baton handed on by one who could have gone on."""

    who: str
    step: int
    to: str


@dataclass(frozen=True)
class Schedule:
    """Everything that a run decides, beyond what its seed settles.

    :ivar seed: settles the volumes, the limits, and the dice of the code under test.
    """

    seed: int
    scripts: tuple[Script, ...] = ()
    strikes: tuple[Strike, ...] = ()
    switches: tuple[Switch, ...] = field(default=(), repr=False)

    def to_json(self) -> str:
        """The schedule as a document, one entry a line."""
        parts: dict[str, Any] = asdict(self)
        lines = [f' "seed": {parts.pop("seed")}']
        for name, entries in parts.items():
            rows = ",\n  ".join(json.dumps(entry) for entry in entries)
            lines.append(f' "{name}": [\n  {rows}\n ]' if entries else f' "{name}": []')
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote.

        :raises ValueError: it is none.
        """
        try:
            found = json.loads(text)
            return cls(
                int(found["seed"]),
                tuple(Script(**entry) for entry in found["scripts"]),
                tuple(Strike(**entry) for entry in found["strikes"]),
                tuple(Switch(**entry) for entry in found["switches"]),
            )
        except (KeyError, TypeError, ValueError) as e:
            raise ValueError(f"this is no schedule: {e!r}") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        :raises ValueError: it holds no schedule.
        """
        return cls.from_json(path.read_text())
