"""A death at every point of every scenario, and what the next process makes of it."""

from __future__ import annotations

import logging

import pytest

from volflow.testing import MemoryDriver
from volflow.testing.crash import Matrix
from volflow.testing.scenarios import HOST_SCENARIOS, SCENARIOS, Scenario


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@pytest.mark.parametrize(
    "scenario", [*SCENARIOS, *HOST_SCENARIOS], ids=lambda scenario: scenario.name
)
def test_a_death_at_any_point_leaves_nothing_behind(scenario: Scenario) -> None:
    """When the process dies before any statement, around any commit or any driver call."""
    with Matrix(scenario, MemoryDriver) as matrix:
        matrix.single()
    assert {} == matrix.tally.broken
    assert matrix.tally.single > 8
