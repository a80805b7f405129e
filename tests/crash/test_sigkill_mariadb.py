"""SIGKILL at some points of an attach and of a detach whose rows are on MariaDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash import processes
from tests.servers.databases import Databases, databases_of
from volflow.models import RecoveryReport
from volflow.testing.crash import Place
from volflow.testing.invariants import violations
from volflow.testing.scenarios import CONTEXT

STEP = 5


@pytest.fixture
def mariadb(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Databases]:
    yield from databases_of("mariadb", request, tmp_path)


@pytest.mark.parametrize(("name", "start"), [("attach", 0), ("detach", 2)])
def test_a_killed_process_leaves_nothing_behind(
    name: str, start: int, mariadb: Databases, tmp_path: Path
) -> None:
    """When a process is killed at every fifth point, the next one settles and cleans up."""
    struck = 0
    for point in range(start, 100, STEP):
        directory = tmp_path / str(point)
        directory.mkdir()
        url = mariadb.migrated()
        volume_id = processes.prepare(directory, url, name)
        code = processes.run(directory, url, name, volume_id, point)
        if code != processes.KILLED:
            break  # it has no such point, and has ended
        struck += 1
        driver = processes.backend(directory)
        with Place(directory, url).open(driver) as manager:
            manager.recover()
            assert RecoveryReport() == manager.recover()
            assert [] == violations(manager, driver, "lab")
            status = manager.get_volume(CONTEXT, volume_id).status
            assert status in processes.find(name).ends
    assert struck >= 2
