"""``python -m volflow.testing.matrix``: every death of every scenario, counted and reported.

A death at each database statement, around each commit and around each driver call of a scenario's
call; with ``--double`` also at each of those of the recovery that follows.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from volflow.testing.crash import Matrix, Tally
from volflow.testing.memory import MemoryDriver
from volflow.testing.scenarios import HOST_SCENARIOS, SCENARIOS

EVERY = [*SCENARIOS, *HOST_SCENARIOS]
SHOWN = 20
"""How many broken points are printed; the report has all."""


def explore(name: str, double: bool, step: int) -> Tally:
    """Go through one scenario.

    :param step: of the second deaths, only each so many-th; 1: all.
    """
    logging.disable(logging.CRITICAL)
    scenario = next(scenario for scenario in EVERY if scenario.name == name)
    with Matrix(scenario, MemoryDriver) as matrix:
        matrix.single()
        if double:
            matrix.double(step)
        return matrix.tally


def report(tallies: dict[str, Tally], seconds: float) -> dict[str, object]:
    """Sum up what was tried and what was found."""
    return {
        "scenarios": len(tallies),
        "single": sum(tally.single for tally in tallies.values()),
        "double": sum(tally.double for tally in tallies.values()),
        "states": sum(tally.states for tally in tallies.values()),
        "broken": sum(len(tally.broken) for tally in tallies.values()),
        "seconds": round(seconds, 1),
        "by_scenario": {name: asdict(tally) for name, tally in sorted(tallies.items())},
    }


def run(names: Iterable[str], double: bool, step: int, jobs: int) -> dict[str, Tally]:
    """Go through scenarios, so many at a time; each is named as it ends."""
    found: dict[str, Tally] = {}
    with ProcessPoolExecutor(jobs) as pool:
        begun = {pool.submit(explore, name, double, step): name for name in names}
        for future in as_completed(begun):
            name, tally = begun[future], future.result()
            found[name] = tally
            state = f"{len(tally.broken)} broken" if tally.broken else "clean"
            print(f"{name:<44}{tally.single:>6}{tally.double:>8}  {state}", flush=True)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and write the report; 1 where a guarantee broke."""
    parser = argparse.ArgumentParser(prog="python -m volflow.testing.matrix", description=__doc__)
    parser.add_argument("--double", action="store_true", help="a second death, in the recovery")
    parser.add_argument("--step", type=int, default=1, help="each so many-th second death only")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--report", type=Path, help="where to write what was found, as JSON")
    parser.add_argument("scenarios", nargs="*", help="only these")
    given = parser.parse_args(argv)
    names = given.scenarios or [scenario.name for scenario in EVERY]
    began = time.monotonic()
    found = run(names, given.double, given.step, given.jobs)
    summary = report(found, time.monotonic() - began)
    if given.report:
        given.report.parent.mkdir(parents=True, exist_ok=True)
        given.report.write_text(json.dumps(summary, indent=2) + "\n")
    broken = [line for tally in found.values() for line in tally.broken.items()]
    for point, guarantees in broken[:SHOWN]:
        print(f"{point}: {'; '.join(guarantees)}")
    print(
        f"{summary['scenarios']} scenarios, {summary['single']} single and {summary['double']} "
        f"double deaths, which left {summary['states']} different states; "
        f"{summary['broken']} broken, {summary['seconds']} s"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
