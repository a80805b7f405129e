"""A seed settles everything."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import uuid

import pytest

from volflow.testing.simulation import Schedule, Simulation, Template
from volflow.testing.simulation.faults import NAMES

SEEDS = range(7, 10)
PROGRAM = """
import sys
from volflow.testing.simulation import Simulation, Template
with Template() as template:
    for seed in map(int, sys.argv[2:]):
        print(Simulation(template, seed, kinds=sys.argv[1].split(",")).run().fingerprint)
"""


@pytest.fixture(scope="module")
def fingerprints(template: Template) -> list[str]:
    return [Simulation(template, seed).run().fingerprint for seed in SEEDS]


def test_another_process_goes_the_same_way(fingerprints: list[str]) -> None:
    """When strings hash otherwise, and faults come in another order, the traces are the same."""
    kinds = ",".join(sorted(NAMES, reverse=True))
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, kinds, *map(str, SEEDS)],
        env=os.environ | {"PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert fingerprints == found.stdout.split()


def test_what_other_threads_draw_is_no_matter(fingerprints: list[str], template: Template) -> None:
    """When somebody else in the process draws ids and jitter, the trace is the same."""
    over = threading.Event()

    def draw() -> None:
        while not over.wait(0.001):
            uuid.uuid4()
            random.uniform(0, random.random())

    other = threading.Thread(target=draw)
    other.start()
    try:
        found = Simulation(template, SEEDS[0]).run().fingerprint
    finally:
        over.set()
        other.join()
    assert found == fingerprints[0]


def test_seeds_go_different_ways(fingerprints: list[str]) -> None:
    assert len(set(fingerprints)) == len(SEEDS)


def test_a_schedule_that_was_written_down_is_played_again(template: Template) -> None:
    """When a schedule went through a file, its replay has the same trace."""
    drawn = Simulation(template, 11).run()
    schedule = Schedule.from_json(drawn.schedule.to_json())
    assert drawn.schedule == schedule

    replayed = Simulation(template, 11, schedule).run()

    assert drawn.fingerprint == replayed.fingerprint
    assert drawn.struck == replayed.struck


@pytest.mark.parametrize("text", ["", "[]", '{"seed": 1}', '{"seed": 1, "scripts": [{"a": 1}]}'])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="schedule"):
        Schedule.from_json(text)
