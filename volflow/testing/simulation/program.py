"""The command: ``python -m volflow.testing.simulation``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from volflow.testing.simulation.campaign import Result, Summary, campaign
from volflow.testing.simulation.faults import KINDS, NAMES
from volflow.testing.simulation.plan import Schedule
from volflow.testing.simulation.report import COMMAND, counts, parts, story
from volflow.testing.simulation.shrinking import Shrinker
from volflow.testing.simulation.simulation import Outcome, Simulation
from volflow.testing.simulation.template import Template

SHRUNK = 3
"""How many of the seeds that fail are shrunk."""
PROGRESS_SECONDS = 10.0


def faults(context: click.Context, parameter: click.Parameter, value: str) -> frozenset[str]:
    """Read names of faults, with commas between them."""
    found = frozenset(filter(None, value.split(",")))
    if unknown := found - NAMES:
        raise click.BadParameter(f"there is no fault {min(unknown)!r}; see --list")
    return found


@click.command()
@click.option("--seeds", default=100, show_default=True, help="How many seeds to play.")
@click.option("--from", "first", type=int, help="The first seed; by default the time tells.")
@click.option("--seed", type=int, help="Play this one seed, and tell its story.")
@click.option("--jobs", default=2, show_default=True, help="How many processes play.")
@click.option("--replay", type=click.Path(path_type=Path), help="Play a schedule of a file.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write all figures there.")
@click.option("--save", type=click.Path(path_type=Path), default=".", help="Where schedules go.")
@click.option("--without", callback=faults, default="", help="Faults that do not strike.")
@click.option("--only", callback=faults, default="", help="Faults that may strike.")
@click.option("--points", is_flag=True, help="Tell every point in a story.")
@click.option("--list", "listing", is_flag=True, help="List the faults, and end.")
def main(
    seeds: int,
    first: int | None,
    seed: int | None,
    jobs: int,
    replay: Path | None,
    report: Path | None,
    save: Path,
    without: frozenset[str],
    only: frozenset[str],
    points: bool,
    listing: bool,
) -> None:
    """Play volflow with processes that die, a backend that refuses, and answers that get lost.

    Everything follows from the seed. A seed that breaks a promise is shrunk to its shortest
    schedule, told, and written to a file that --replay plays again. The exit code is then 1.
    """
    kinds = (only or NAMES) - without
    if listing:
        for kind in KINDS:
            click.echo(f"{kind.name:<20}{kind.what}")
    elif replay is not None:
        sys.exit(_replay(replay, points))
    elif seed is not None:
        sys.exit(_one(seed, kinds, save, points))
    else:
        first = int(time.time()) % 10**8 * 100 if first is None else first
        sys.exit(_many(range(first, first + seeds), kinds, jobs, report, save))


def _replay(path: Path, points: bool) -> int:
    try:
        schedule = Schedule.read(path)
    except (OSError, ValueError) as e:
        raise click.ClickException(f"{path} cannot be played: {e}") from None
    with Template() as template:
        outcome = Simulation(template, schedule.seed, schedule).run()
    _tell(outcome, points)
    return bool(outcome.violations)


def _one(seed: int, kinds: Iterable[str], save: Path, points: bool) -> int:
    with Template() as template:
        outcome = Simulation(template, seed, kinds=kinds).run()
        if outcome.violations:
            _shrink(template, outcome, save, points)
        else:
            _tell(outcome, points)
    return bool(outcome.violations)


def _many(
    seeds: Sequence[int], kinds: frozenset[str], jobs: int, report: Path | None, save: Path
) -> int:
    click.echo(f"seeds {seeds[0]} to {seeds[-1]}, {jobs} at a time: {COMMAND} --from {seeds[0]}")
    summary, began = Summary(), time.monotonic()
    shown = began
    for result in campaign(seeds, kinds, jobs):
        summary.add(result)
        if result.violations:
            click.echo(f"seed {result.seed}: {result.violations[0]}")
        if time.monotonic() - shown > PROGRESS_SECONDS:
            shown = time.monotonic()
            click.echo(f"{summary.seeds} of {len(seeds)}, {len(summary.failed)} failed", err=True)
    seconds = time.monotonic() - began
    for line in counts(summary, seconds):
        click.echo(line)
    if report is not None:
        report.write_text(json.dumps(_figures(summary, seconds), indent=1) + "\n")
    for failed in summary.failed[:SHRUNK]:
        _shrink_failed(failed, save)
    if summary.failed:
        click.echo(f"failed: {' '.join(str(r.seed) for r in summary.failed)}")
    return bool(summary.failed)


def _figures(summary: Summary, seconds: float) -> dict[str, Any]:
    return {
        "seeds": summary.seeds,
        "seconds": round(seconds, 1),
        "least": {"operations": summary.operations, "faults": summary.faults},
        "tally": dict(summary.tally),
        "faults": dict(summary.struck),
        "failed": {r.seed: [str(v) for v in r.violations] for r in summary.failed},
    }


def _shrink_failed(failed: Result, save: Path) -> None:
    assert failed.schedule is not None
    with Template() as template:
        outcome = Simulation(template, failed.seed, failed.schedule).run()
        if outcome.violations:
            _shrink(template, outcome, save, points=False)
        else:
            click.echo(f"seed {failed.seed} does not fail again: the simulation is not repeatable")


def _shrink(template: Template, outcome: Outcome, save: Path, points: bool) -> None:
    """Find the shortest schedule that breaks the same promise, tell it, and write it down."""
    rule = outcome.violations[0].rule

    def fails(schedule: Schedule) -> bool:
        found = Simulation(template, schedule.seed, schedule).run().violations
        return bool(found) and found[0].rule == rule

    shrinker = Shrinker(outcome.schedule, fails)
    shortest = shrinker.run()
    _tell(Simulation(template, shortest.seed, shortest).run(), points)
    path = save / f"simulation-{shortest.seed}.json"
    save.mkdir(parents=True, exist_ok=True)
    path.write_text(shortest.to_json())
    click.echo(f"shrunk from {parts(outcome.schedule)} to {parts(shortest)}")
    click.echo(f"again: {COMMAND} --replay {path}")


def _tell(outcome: Outcome, points: bool) -> None:
    for line in story(outcome.trace, points):
        click.echo(line)
    for violation in outcome.violations:
        click.echo(str(violation))
    click.echo(f"seed {outcome.schedule.seed}, trace {outcome.fingerprint}")
