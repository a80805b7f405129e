"""What is left of a schedule that fails."""

from __future__ import annotations

import pytest

from tests.simulation import mutations
from volflow.testing.simulation import Schedule, Shrinker, Simulation, Template
from volflow.testing.simulation.plan import Script, Strike, Switch
from volflow.testing.simulation.report import story

LONG = Schedule(
    1,
    tuple(Script(n, "six", n, 0, 0) for n in range(20)),
    tuple(Strike(f"c{n}", 1, "death", 1.0) for n in range(30)),
    tuple(Switch(f"c{n}", n, "c1") for n in range(200)),
)


def test_what_does_not_matter_is_left_out() -> None:
    """When a failure needs two callers, a fault and a switch, just these are left."""
    needed = {LONG.scripts[3], LONG.scripts[17], LONG.strikes[29], LONG.switches[100]}

    def fails(schedule: Schedule) -> bool:
        callers = [(s.number, s.calls >= 4) for s in schedule.scripts]
        return (
            {(3, True), (17, True)} <= set(callers)
            and LONG.strikes[29] in schedule.strikes
            and LONG.switches[100] in schedule.switches
        )

    shortest = Shrinker(LONG, fails).run()

    assert {s.number for s in needed if isinstance(s, Script)} == {3, 17}
    assert [(3, 4), (17, 4)] == [(s.number, s.calls) for s in shortest.scripts]
    assert (LONG.strikes[29],) == shortest.strikes
    assert (LONG.switches[100],) == shortest.switches


def test_shrinking_ends_when_it_may_try_no_more() -> None:
    """When everything matters, the schedule stays as it is."""
    shrinker = Shrinker(LONG, lambda schedule: False, tries=20)

    assert LONG == shrinker.run()
    assert shrinker.tries == 20


def test_a_planted_bug_is_shrunk_to_a_story_of_a_few_lines(
    template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a real schedule fails, what is left fails alike, and can be read."""
    mutations.no_counting_of_initiators(monkeypatch)
    outcome = next(
        found for seed in range(20) if (found := Simulation(template, seed).run()).violations
    )
    rule = outcome.violations[0].rule

    def fails(schedule: Schedule) -> bool:
        found = Simulation(template, schedule.seed, schedule).run().violations
        return bool(found) and found[0].rule == rule

    shortest = Shrinker(outcome.schedule, fails, tries=120).run()

    assert len(shortest.scripts) <= 3
    assert len(shortest.strikes) <= 3
    lines = list(story(Simulation(template, shortest.seed, shortest).run().trace))
    assert len(lines) < 150
    assert any("VIOLATION" in line for line in lines)
