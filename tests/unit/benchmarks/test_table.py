"""The tables, the remarks below them, and the bars of the picture."""

from __future__ import annotations

import io

from rich.console import Console

from benchmarks.figures import Cost, Result, Round, speed
from benchmarks.plot import bars
from benchmarks.table import remarks, tables

REFERENCE = [Round(10, 6, 4, 5, None)]


def result(title: str, cycle: float, durable: bool = True) -> Result:
    return Result(
        title,
        durable,
        speed([Round(cycle, cycle * 0.6, cycle * 0.4, 1.5, None)], REFERENCE, 7),
        Cost(3, 17),
        Cost(3, 15),
        {"synchronous": "2"},
        {1: 99.96},
    )


def shown(results: dict[str, Result]) -> str:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(*tables("sqlite", results))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def cells(text: str, title: str) -> list[list[str]]:
    return [line.split(title)[1].split() for line in text.splitlines() if title in line]


def test_a_line_has_the_times_and_the_ratio_and_another_one_the_costs() -> None:
    text = shown({"volflow": result("volflow", 10), "floor": result("loop by hand", 25)})

    assert [
        ["25.00", "2.50", "15.00", "10.00", "1.50", "-"],
        ["3", "+", "3", "17", "+", "15", "100.0"],
    ] == cells(text, "loop by hand")


def test_a_peer_without_figures_keeps_its_line() -> None:
    text = shown({"volflow": result("volflow", 10), "dbos": Result("DBOS", durable=True)})

    assert [["-"] * 6, ["-"] * 3] == cells(text, "DBOS")


def test_a_peer_that_did_not_run_is_told_by_name() -> None:
    lost = Result("DBOS", durable=True, failures={"open": "not installed: dbos"})

    assert ["sqlite: dbos (open): not installed: dbos"] == remarks("sqlite", {"dbos": lost})


def test_the_durability_is_told_with_who_has_it() -> None:
    found = remarks("sqlite", {"a": result("A", 1), "b": result("B", 1)})

    assert ["sqlite: each connection of a, b says: synchronous=2"] == found


def test_bars_begin_with_volflow_and_grow_and_mark_what_is_not_durable() -> None:
    databases = {
        "sqlite": {"bare": result("bare", 20, durable=False), "volflow": result("volflow", 10)},
        "postgresql": {"floor": result("floor", 5)},
    }

    assert [
        ("volflow", {"sqlite": 1.0}),
        ("floor", {"postgresql": 0.5}),
        ("bare *", {"sqlite": 2.0}),
    ] == bars(databases)
