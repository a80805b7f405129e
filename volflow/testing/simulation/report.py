"""What people read: the story of one simulation, and what many of them showed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from volflow.testing.simulation.campaign import Summary
from volflow.testing.simulation.plan import Schedule
from volflow.testing.simulation.world import Line

COMMAND = "python -m volflow.testing.simulation"


def story(trace: Iterable[Line], points: bool = False) -> Iterator[str]:
    """The lines of a trace that tell what happened.

    Where the baton went to another one, the point is shown at which the first one stood.

    :param points: show every point.
    """
    trace = list(trace)
    actors = {line.who for line in trace if line.loud} - {""}
    stands: Line | None = None
    for line in trace:
        if stands is not None and stands.who != line.who and stands.who in actors and not points:
            yield _row(stands, f"... {stands.what}")
        stands = None
        if line.loud or points:
            yield _row(line, line.what)
        else:
            stands = line


def _row(line: Line, what: str) -> str:
    return f"{line.at / 1e6:12.4f}  {line.who or '-':<32} {what}"


def parts(schedule: Schedule) -> str:
    """How long a schedule is."""
    counts = (
        (len(schedule.scripts), "callers"),
        (len(schedule.strikes), "faults"),
        (len(schedule.switches), "switches"),
    )
    return ", ".join(f"{number} {name}" for number, name in counts)


def counts(summary: Summary, seconds: float) -> Iterator[str]:
    """What a campaign did, in a few lines."""
    rate = summary.seeds / max(seconds, 1e-9)
    failed = len(summary.failed)
    yield f"{summary.seeds} schedules in {seconds:.0f} s, {rate:.1f}/s; {failed} failed"
    names = ("operations", "deaths", "takeovers", "fenced", "points")
    yield ", ".join(f"{summary.tally[name]} {name}" for name in names)
    if summary.operations is not None:
        yield f"each seed: {summary.operations} operations and {summary.faults} faults, or more"
    struck = sorted(summary.struck.items(), key=lambda item: -item[1])
    yield "faults: " + ", ".join(f"{number} {name}" for name, number in struck)
