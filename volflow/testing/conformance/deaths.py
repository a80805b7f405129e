"""The crash matrix against the driver: a process dies at every point of every scenario."""

from __future__ import annotations

import pytest

from volflow.testing.conformance.bench import Bench
from volflow.testing.conformance.hooks import Hooks
from volflow.testing.conformance.stage import LiveMatrix
from volflow.testing.crash import Tally
from volflow.testing.scenarios import SCENARIOS, Scenario

TWICE = [scenario for scenario in SCENARIOS if scenario.name in ("attach", "detach")]

SHOWN = 20
"""How many violations a report has."""


class DeathTests(Hooks):
    """What has to hold after a death at any commit and any call of the driver.

    A failure names the scenario, the point and the guarantee (G1, G2, G3) that broke.
    """

    @pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
    def test_a_death_leaves_nothing_behind(self, bench: Bench, scenario: Scenario) -> None:
        """When the process dies at a point, the next one recovers, and the volume is usable."""
        if scenario.restarts and not self.has("restart_target"):
            pytest.skip(f"{type(self).__name__} has no restart_target()")
        if scenario.asks_sessions and not self.tells_sessions:
            pytest.skip(f"{type(self).__name__} cannot tell who is logged in")
        with LiveMatrix(bench, scenario) as matrix:
            matrix.single(step=self.crash_step)
        _report(matrix.tally)

    @pytest.mark.parametrize("scenario", TWICE, ids=lambda scenario: scenario.name)
    def test_a_death_in_recovery_leaves_nothing_behind(
        self, bench: Bench, scenario: Scenario
    ) -> None:
        """When the process that recovers dies, too, the third one recovers."""
        with LiveMatrix(bench, scenario) as matrix:
            matrix.double(step=3, first_step=4)
        _report(matrix.tally)


def _report(tally: Tally) -> None:
    lines = [f"{point}: {it}" for point, found in tally.broken.items() for it in found]
    if lines:
        more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        pytest.fail("\n".join(lines[:SHOWN] + more), pytrace=False)
    assert tally.single + tally.double > 0, "the scenario has no point"
