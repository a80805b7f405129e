"""SIGKILL before and after each driver call and each commit of an attach and of a detach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash import processes
from tests.servers.postgresql import PostgresqlServer
from volflow.models import RecoveryReport
from volflow.testing.crash import Place
from volflow.testing.invariants import violations
from volflow.testing.scenarios import CONTEXT

MakeUrl = Callable[[], str | None]


@pytest.fixture(params=["sqlite", "postgresql"])
def make_url(request: pytest.FixtureRequest) -> Iterator[MakeUrl]:
    if request.param == "sqlite":
        yield lambda: None
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    yield server.create_database


@pytest.mark.parametrize("name", ["attach", "detach"])
def test_a_killed_process_leaves_nothing_behind(
    name: str, make_url: MakeUrl, tmp_path: Path
) -> None:
    """When a process is killed at each of its points, the next one settles and cleans up."""
    place = tmp_path / "counted"
    place.mkdir()
    url = make_url()
    volume_id = processes.prepare(place, url, name)
    points = processes.run(place, url, name, volume_id, None)
    assert points >= 12

    for point in range(points):
        directory = tmp_path / str(point)
        directory.mkdir()
        url = make_url()
        volume_id = processes.prepare(directory, url, name)
        assert processes.KILLED == processes.run(directory, url, name, volume_id, point)
        driver = processes.backend(directory)
        with Place(directory, url).open(driver) as manager:
            manager.recover()
            assert RecoveryReport() == manager.recover()
            assert [] == violations(manager, driver, "lab")
            status = manager.get_volume(CONTEXT, volume_id).status
            assert status in processes.find(name).ends
