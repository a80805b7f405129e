"""Bugs planted in the core are found: else a simulation that finds nothing would say nothing."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.simulation import mutations
from tests.simulation.mutations import Plant
from volflow.testing.simulation import Simulation, Template, decisions
from volflow.testing.simulation.faults import NAMES

SEEDS = 60
"""Within so many seeds a bug has to be found."""


@pytest.mark.parametrize(
    ("plant", "rules"),
    [
        (mutations.no_fence, {"G6"}),
        (mutations.no_volume_lock, {"G3"}),
        (mutations.no_counting_of_exports, {"G1", "G3"}),
        (mutations.no_counting_of_initiators, {"G3"}),
        (mutations.no_conditional_update, {"G1", "G3", "G6"}),
        (mutations.no_barrier, {"G2", "G3", "G6"}),
        (mutations.no_undo_of_what_died, {"G1", "G2", "G6"}),
        (mutations.no_look_at_sessions, {"G4"}),
        (mutations.no_memory_of_commits, {"G5", "G7"}),
        (mutations.no_end_of_leases, {"G1"}),
        (mutations.release_of_others, {"G6"}),
        (mutations.cancelled_for_ever, {"G1", "livelock"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_bug_is_found(
    plant: Plant, rules: set[str], template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the core lacks one of its cautions, a seed breaks a promise that it is there for."""
    plant(monkeypatch)
    require_found(template, rules)


def test_a_run_that_takes_any_epoch_for_its_own_is_found(
    template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it stands still after its takeover, as processes do here more often than elsewhere."""
    mutations.adoption_of_others(monkeypatch)
    monkeypatch.setattr(decisions, "TEMPERS", (4.0,))
    require_found(template, {"G5", "G6", "G7"}, {"doze", "nap", "death", "outcry", "duplicate"})


def require_found(template: Template, rules: Iterable[str], kinds: Iterable[str] = NAMES) -> None:
    for seed in range(SEEDS):
        found = Simulation(template, seed, kinds=kinds).run().violations
        if found:
            assert found[0].rule.split()[0] in rules, found
            return
    pytest.fail(f"{SEEDS} seeds did not find it")
