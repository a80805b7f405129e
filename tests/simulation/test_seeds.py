"""Schedules that no run played before: their seeds come from the time."""

from __future__ import annotations

import sys
import time

import pytest

from volflow.testing.simulation import Simulation, Template
from volflow.testing.simulation.simulation import FAULTS, OPERATIONS

GROUPS, SEEDS = 12, 10
COMMAND = "python -m volflow.testing.simulation"


@pytest.fixture
def first_seed(request: pytest.FixtureRequest) -> int:
    """Where this test's seeds begin: with ``--seed`` (other than 1) always at the same."""
    given: int = request.config.getoption("--seed")
    return given if given != 1 else time.time_ns() // 1_000_000


@pytest.mark.parametrize("group", range(GROUPS))
def test_no_schedule_breaks_a_promise(group: int, first_seed: int, template: Template) -> None:
    """When processes die, stall, and are refused and not heard, every guarantee holds."""
    begin = first_seed * GROUPS * SEEDS + group * SEEDS
    sys.stderr.write(f"seeds {begin} to {begin + SEEDS - 1}: {COMMAND} --from {begin}\n")
    for seed in range(begin, begin + SEEDS):
        outcome = Simulation(template, seed).run()
        again = f"{COMMAND} --seed {seed}"
        assert not outcome.violations, f"{outcome.violations[0]}\nagain: {again}"
        assert outcome.tally["operations"] >= OPERATIONS, again
        assert outcome.struck.total() >= FAULTS, again
