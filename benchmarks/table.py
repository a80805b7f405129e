"""What was measured, as tables in a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import SIMPLE
from rich.table import Table

from benchmarks.figures import Cost, Result

NONE = "-"


def tables(database: str, results: Mapping[str, Result]) -> list[Table]:
    """Times and costs, one line a peer."""
    processes = sorted({count for result in results.values() for count in result.throughput})
    taken = _table(
        f"{database}: ms of an attach and a detach, and of CPU; the ratio to volflow",
        ["both", "ratio", "attach", "detach", "CPU", "server"],
    )
    asked = _table(
        f"{database}: what each asks, and cycles a second of processes",
        ["commits", "statements", *(f"{count} proc." for count in processes)],
    )
    for result in results.values():
        taken.add_row(result.title, *times(result))
        asked.add_row(result.title, *costs(result, processes))
    return [taken, asked]


def _table(title: str, headings: list[str]) -> Table:
    found = Table(title=title, title_justify="left", box=SIMPLE)
    found.add_column("", no_wrap=True)
    for heading in headings:
        found.add_column(heading, justify="right")
    return found


def times(result: Result) -> list[str]:
    """What a peer takes."""
    speed = result.speed
    if speed is None:
        return [NONE] * 6
    figures = [
        speed.cycle_ms,
        speed.ratios.get("cycle"),
        speed.attach_ms,
        speed.detach_ms,
        speed.client_cpu_ms,
        speed.server_cpu_ms,
    ]
    return [number(figure) for figure in figures]


def costs(result: Result, processes: list[int]) -> list[str]:
    """What a peer asks of the database, and its cycles in a second."""
    counts = [both(result.attach, result.detach, name) for name in ("commits", "statements")]
    return counts + [number(result.throughput.get(count), 1) for count in processes]


def both(attach: Cost | None, detach: Cost | None, name: str) -> str:
    """A count of an attach and of a detach: ``3 + 3``."""
    if attach is None or detach is None:
        return NONE
    return f"{getattr(attach, name)} + {getattr(detach, name)}"


def number(value: float | None, digits: int = 2) -> str:
    """A figure, or what stands for none."""
    return NONE if value is None else f"{value:.{digits}f}"


def remarks(database: str, results: Mapping[str, Result]) -> list[str]:
    """What the table has no place for: failures, the memory, and how durable commits were."""
    lines = []
    for name, result in results.items():
        lines += [f"{name} ({what}): {why}" for what, why in result.failures.items()]
        if result.growth_mib is not None:
            grown = number(result.growth_mib)
            lines.append(f"{name}: memory grew by {grown} MiB in 10,000 operations")
    kept = {tuple(sorted(r.durability.items())) for r in results.values() if r.durability}
    for settings in sorted(kept):
        said = ", ".join(f"{key}={value}" for key, value in settings)
        who = [n for n, r in results.items() if tuple(sorted(r.durability.items())) == settings]
        lines.append(f"each connection of {', '.join(who)} says: {said}")
    return [f"{database}: {line}" for line in lines]
