"""A short run of the coordinator, with real workers on SQLite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import peers
from benchmarks.__main__ import main
from benchmarks.coordinator import Coordinator, Plan
from benchmarks.databases import SqliteFiles

PLAN = Plan(
    rounds=2, seconds=0.01, observed=3, throughput_rounds=1, throughput_seconds=0.05,
    processes=(1, 2), memory_cycles=10,
)  # fmt: skip


def quiet(line: str) -> None:
    """Tell nobody."""


def test_two_peers_are_measured_beside_each_other() -> None:
    found = Coordinator(["volflow", "floor"], SqliteFiles(), PLAN, quiet).measure()

    assert {"volflow": {}, "floor": {}} == {name: r.failures for name, r in found.items()}
    floor, volflow = found["floor"], found["volflow"]
    assert floor.speed
    assert volflow.speed
    assert (6, 5) == (floor.attach and floor.attach.commits, floor.detach and floor.detach.commits)
    assert {1.0} == set(volflow.speed.ratios.values())
    assert 2 == floor.speed.rounds
    assert floor.speed.ratios["cycle"] > 0
    assert {1, 2} == set(floor.throughput)
    assert {"journal_mode": "wal", "synchronous": "2"} == floor.durability
    assert volflow.growth_mib is not None


def test_a_peer_that_cannot_run_does_not_keep_the_others_from_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, and the run fails where CI is set."""
    absent = {**peers._PEERS, "dbos": ("nowhere", "Nowhere")}
    monkeypatch.setattr(peers, "_PEERS", absent)
    words = ["--only", "floor", "dbos", "--database", "sqlite", "--quick", "--rounds", "2"]
    words += ["--seconds", "0.01", "--json", str(tmp_path / "bench.json")]

    monkeypatch.delenv("CI", raising=False)
    assert 0 == main(words)
    monkeypatch.setenv("CI", "true")
    assert 1 == main(words)

    assert "sqlite: dbos (open): not installed" in capsys.readouterr().out
    written = json.loads((tmp_path / "bench.json").read_text())
    assert written["databases"]["sqlite"]["floor"]["speed"]["rounds"] == 2
    assert written["machine"]["cpus"] >= 1
