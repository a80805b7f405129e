"""What volflow costs in counts, and that the gate notices when it costs more."""

from __future__ import annotations

import pytest

from benchmarks import gate
from benchmarks.databases import SqliteFiles
from benchmarks.gate import Measured, judged
from benchmarks.watch import Counts

TODAY = {"attach": 14, "detach": 12}
"""Statements of each; the gate allows 14."""


def failing(commits: int, statements: int) -> list[str]:
    counts = [Counts(commits, ["SELECT 1"] * statements)] * 3
    return [found.name for found in judged("sqlite", "attach", counts) if not found.passes]


def test_three_commits_and_fourteen_statements_pass() -> None:
    assert [] == failing(commits=3, statements=14)


@pytest.mark.parametrize("commits", [2, 4])
def test_another_number_of_commits_fails(commits: int) -> None:
    assert ["sqlite, attach, commits"] == failing(commits, statements=14)


def test_a_statement_too_many_fails() -> None:
    assert ["sqlite, attach, statements"] == failing(commits=3, statements=15)


def test_a_figure_that_fails_is_told_with_its_limit_and_its_statements() -> None:
    measured = Measured("attach, statements", 2, 1, details=("SELECT 1", "SELECT 2"))

    assert "EXCEEDED  attach, statements: 2 (at most 1)\n    SELECT 1\n    SELECT 2" == str(
        measured
    )


@pytest.fixture(scope="module")
def costs() -> dict[str, Measured]:
    return {found.name: found for found in gate.database_costs(SqliteFiles())}


@pytest.mark.parametrize("kind", ["attach", "detach"])
def test_an_operation_has_three_commits(costs: dict[str, Measured], kind: str) -> None:
    found = costs[f"sqlite, {kind}, commits"]

    assert found.passes, str(found)


@pytest.mark.parametrize("kind", ["attach", "detach"])
def test_an_operation_has_no_more_statements_than_today(
    costs: dict[str, Measured], kind: str
) -> None:
    found = costs[f"sqlite, {kind}, statements"]

    assert found.value <= TODAY[kind], str(found._replace(limit=TODAY[kind]))


def test_volflow_calls_fewer_functions_than_the_engine_alone_does() -> None:
    assert [] == [str(found) for found in gate.call_ratios() if not found.passes]
