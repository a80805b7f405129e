"""Medians, ratios and costs, of figures that are known."""

from __future__ import annotations

import pytest

from benchmarks.figures import (
    Cost,
    Round,
    cost,
    durability,
    growth_mib,
    ratios,
    speed,
    summed_up,
)
from benchmarks.watch import Counts


def a_round(cycle: float, server_cpu: float | None = None) -> Round:
    return Round(cycle, cycle * 0.6, cycle * 0.4, cycle / 2, server_cpu)


def test_a_batch_is_the_median_of_its_cycles_and_the_mean_of_its_cpu_time() -> None:
    found = summed_up([0.001, 0.003, 0.9], [0.002, 0.001, 0.002], 0.006, 0.003)

    assert (4.0, 3.0, 2.0, 2.0, 1.0) == pytest.approx(found)


def test_a_ratio_is_taken_within_its_round() -> None:
    """The machine was ten times slower in the second round, and both peers felt it."""
    reference = [a_round(10), a_round(100), a_round(10)]
    twice = [a_round(20), a_round(200), a_round(30)]

    found = ratios(twice, reference)

    assert {"cycle": 2.0, "attach": 2.0, "detach": 2.0, "cpu": 2.0} == pytest.approx(found)


def test_a_peer_beside_itself_has_the_ratio_one() -> None:
    rounds = [a_round(10), a_round(100)]

    assert {1.0} == set(ratios(rounds, rounds).values())


def test_without_a_reference_there_is_no_ratio() -> None:
    assert {} == speed([a_round(10)], [], 5).ratios


def test_rounds_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios([a_round(10)], [a_round(10), a_round(10)])


def test_the_speed_is_the_median_of_the_rounds() -> None:
    found = speed([a_round(10, 1), a_round(1000, 3), a_round(20, 2)], [], 33)

    assert (20, 12, 8, 10, 2) == (
        found.cycle_ms,
        found.attach_ms,
        found.detach_ms,
        found.client_cpu_ms,
        found.server_cpu_ms,
    )
    assert (3, 33) == (found.rounds, found.cycles)


def test_a_peer_without_a_server_has_no_server_cpu() -> None:
    assert speed([a_round(10)], [], 1).server_cpu_ms is None


def test_a_cost_leaves_out_what_the_background_asks_now_and_then() -> None:
    counts = [Counts(3, ["SELECT 1"]), Counts(3, ["SELECT 1"]), Counts(5, ["SELECT 1"] * 9)]

    assert Cost(3, 1) == cost(counts)


def test_of_two_costs_that_are_as_frequent_the_lower_one_is_told() -> None:
    assert Cost(3, 0) == cost([Counts(5, []), Counts(3, [])])


def test_durability_is_told_as_the_connections_told_it() -> None:
    said = {"journal_mode": {"wal"}, "synchronous": {"2"}}

    assert {"journal_mode": "wal", "synchronous": "2"} == durability("sqlite", said)


@pytest.mark.parametrize("synchronous", [{"1"}, {"1", "2"}, set[str]()])
def test_a_peer_whose_commits_are_less_durable_is_refused(synchronous: set[str]) -> None:
    with pytest.raises(ValueError, match="less durable"):
        durability("sqlite", {"journal_mode": {"wal"}, "synchronous": synchronous})


def test_a_peer_that_said_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown"):
        durability("postgresql", {})


def test_growth_is_told_for_ten_thousand_operations() -> None:
    assert growth_mib(100 * 2**20, 101 * 2**20, operations=5000) == pytest.approx(2.0)
