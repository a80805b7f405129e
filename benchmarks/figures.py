"""What the measurements come to: medians of rounds, and ratios within each round.

Other work on the machine makes a round slow for all peers, since each round has a batch of each.
So a ratio is taken within its round, and the median of the rounds' ratios says more than the
ratio of two medians.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.watch import DURABLE, Counts


class Round(NamedTuple):
    """One batch of one peer; milliseconds a cycle, and of its attach and detach.

    :ivar server_cpu: of the database server's processes; None where there is no server.
    """

    cycle: float
    attach: float
    detach: float
    client_cpu: float
    server_cpu: float | None

    @property
    def cpu(self) -> float:
        """Of both together."""
        return self.client_cpu + (self.server_cpu or 0.0)


def summed_up(
    attaches: Sequence[float],
    detaches: Sequence[float],
    client_cpu: float,
    server_cpu: float | None,
) -> Round:
    """The round of a batch: medians of its cycles, means of its CPU time.

    :param attaches: seconds of each, as ``detaches``; the CPU seconds are the batch's.
    """
    cycles = [a + d for a, d in zip(attaches, detaches, strict=True)]
    each = 1000 / len(cycles)
    return Round(
        statistics.median(cycles) * 1000,
        statistics.median(attaches) * 1000,
        statistics.median(detaches) * 1000,
        client_cpu * each,
        None if server_cpu is None else server_cpu * each,
    )


@dataclass
class Speed:
    """What a cycle takes: medians of rounds, in milliseconds.

    :ivar ratios: of cycle, attach, detach and cpu (client and server together) to those of the
        reference, in the same rounds; empty without one.
    """

    cycle_ms: float
    attach_ms: float
    detach_ms: float
    client_cpu_ms: float
    server_cpu_ms: float | None
    ratios: dict[str, float]
    rounds: int
    cycles: int


def speed(rounds: Sequence[Round], reference: Sequence[Round], cycles: int) -> Speed:
    """Sum up the rounds of a peer.

    :param reference: the rounds of what it is compared with; empty: it is compared with nothing.
    """

    def middle(of: Callable[[Round], float]) -> float:
        return statistics.median(map(of, rounds))

    served = [r.server_cpu for r in rounds if r.server_cpu is not None]
    return Speed(
        cycle_ms=middle(lambda r: r.cycle),
        attach_ms=middle(lambda r: r.attach),
        detach_ms=middle(lambda r: r.detach),
        client_cpu_ms=middle(lambda r: r.client_cpu),
        server_cpu_ms=statistics.median(served) if served else None,
        ratios=ratios(rounds, reference),
        rounds=len(rounds),
        cycles=cycles,
    )


def ratios(rounds: Sequence[Round], reference: Sequence[Round]) -> dict[str, float]:
    """Medians of the ratios to the reference within each round."""
    if not reference:
        return {}
    pairs = list(zip(rounds, reference, strict=True))
    return {
        name: statistics.median(getattr(mine, name) / getattr(its, name) for mine, its in pairs)
        for name in ("cycle", "attach", "detach", "cpu")
    }


@dataclass
class Cost:
    """What an attach or a detach asks of the database."""

    commits: int
    statements: int


def cost(counts: Sequence[Counts]) -> Cost:
    """What most operations ask: what runs in the background beside some of them varies."""
    return Cost(
        min(statistics.multimode(c.commits for c in counts)),
        min(statistics.multimode(len(c.statements) for c in counts)),
    )


def durability(database: str, settings: Mapping[str, set[str]]) -> dict[str, str]:
    """What the connections said of themselves, as text; several values where they differ.

    :raises ValueError: a commit is not on the disk when it returns, so that it is no equal of
        the others; or nobody said anything.
    """
    found = {name: ", ".join(sorted(values)) for name, values in settings.items()}
    wrong = {n: found.get(n, "unknown") for n, v in DURABLE[database].items() if found.get(n) != v}
    if wrong:
        raise ValueError(f"its commits are less durable: {wrong}")
    return found


@dataclass
class Result:
    """All that is known of one peer on one database.

    :ivar failures: why a figure is missing, by what was measured.
    :ivar throughput: cycles in a second, by the number of processes.
    :ivar growth_mib: how much its memory grew over 10,000 operations.
    """

    title: str
    durable: bool
    speed: Speed | None = None
    attach: Cost | None = None
    detach: Cost | None = None
    durability: dict[str, str] = field(default_factory=dict)
    throughput: dict[int, float] = field(default_factory=dict)
    growth_mib: float | None = None
    failures: dict[str, str] = field(default_factory=dict)


def growth_mib(before: int, after: int, operations: int) -> float:
    """Bytes before and after some operations, as MiB in 10,000 of them."""
    return (after - before) / 2**20 * 10_000 / operations
