"""Board and database are killed while conductors are: each operation settles once all the same."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.chaos.arena import Crew, Trouble, play
from tests.chaos.conftest import Boarded
from tests.chaos.test_killed_conductors import DRIVER
from tests.crash.conductors import Installation
from tests.servers.process import ServerProcess


def killing(server: ServerProcess) -> None:
    """Kill a server, and start it again on its data."""
    server.kill()
    server.restart()


@pytest.mark.slow
@pytest.mark.xdist_group("chaos")
def test_servers_that_are_killed_lose_nothing(
    boarded: Boarded,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """When board, database and conductors are killed in turn, and one conductor stands still."""
    operations: int = request.config.getoption("--operations")
    seconds: float = request.config.getoption("--trouble-seconds")
    place = Installation(tmp_path, boarded.url, boarded.board, DRIVER)

    def troubles(crew: Crew) -> list[Trouble]:
        found = [
            Trouble("a conductor killed", 2 * seconds, crew.kill),
            Trouble("a conductor stopped, or let go on", seconds, crew.stop_or_go_on),
            Trouble("the database killed", 3 * seconds, lambda: killing(boarded.database)),
        ]
        if boarded.server is not boarded.database:
            found.append(
                Trouble("the board killed", 1.5 * seconds, lambda: killing(boarded.server))
            )
        return found

    figures = play(place, boarded.kind, operations, troubles)
    with capsys.disabled():
        sys.stdout.write(f"\n{figures}\n")
