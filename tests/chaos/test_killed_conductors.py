"""Conductors are killed all the time: each operation settles once, and nothing is left behind.

``make chaos`` plays it at length and prints its figures.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.chaos.arena import Crew, Trouble, play
from tests.chaos.conftest import Boarded
from tests.crash.conductors import Installation

DRIVER = "tests.chaos.slow:SlowDriver"


@pytest.mark.slow
@pytest.mark.xdist_group("chaos")
def test_conductors_that_are_killed_lose_nothing_and_do_nothing_twice(
    boarded: Boarded,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """When clients submit to three conductors, and one of these is killed every few seconds."""
    operations: int = request.config.getoption("--operations")
    seconds: float = request.config.getoption("--trouble-seconds")
    place = Installation(tmp_path, boarded.url, boarded.board, DRIVER)

    def troubles(crew: Crew) -> list[Trouble]:
        return [Trouble("a conductor killed", seconds, crew.kill)]

    figures = play(place, boarded.kind, operations, troubles)
    with capsys.disabled():
        sys.stdout.write(f"\n{figures}\n")
