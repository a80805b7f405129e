"""What durability costs, counted at the database's own interface."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from volflow import RequestContext, VolumeManager
from volflow.exceptions import ConnectionFailed
from volflow.testing import Fault, FaultyDriver, MemoryDriver
from volflow.testing.points import Points

CONTEXT = RequestContext(overwrite=False)
CONNECTOR = {"initiator": "iqn.2004-10.org.example:a"}


@pytest.fixture
def driver() -> FaultyDriver:
    return FaultyDriver(MemoryDriver())


@pytest.fixture
def manager(tmp_path: Path, driver: FaultyDriver) -> Iterator[VolumeManager]:
    url = f"sqlite:///{tmp_path / 'volflow.db'}"
    with VolumeManager(url, drivers={"lab": driver}, recover=False) as manager:
        yield manager


def count(manager: VolumeManager, call: Callable[[], object]) -> Counter[str]:
    """Commits and statements of one call; BEGIN is none of either."""
    points = Points()
    with points.watching(manager.database):
        call()
    names = [name for name in points.reached if name != "statement BEGIN"]
    return Counter(name.partition(" ")[0] for name in names if name != "commit before")


def test_an_attach_costs_three_commits_and_a_detach_three(manager: VolumeManager) -> None:
    """Submission included, also with the second volume, when every statement is known."""
    for _ in range(2):
        volume = manager.create_volume(CONTEXT, size_gib=1, backend="lab")
        attach = count(manager, lambda: manager.attach_volume(CONTEXT, volume.id, CONNECTOR))  # noqa: B023
        detach = count(manager, lambda: manager.detach_volume(CONTEXT, volume.id))  # noqa: B023
        assert (3, 3) == (attach["commit"], detach["commit"])
        assert attach["statement"] <= 24
        assert detach["statement"] <= 24


def test_an_attach_that_is_rolled_back_costs_five_commits(
    manager: VolumeManager, driver: FaultyDriver
) -> None:
    """When the last of its driver calls is refused."""
    volume = manager.create_volume(CONTEXT, size_gib=1, backend="lab")
    driver.faults.append(Fault("initialize_connection", "after", ConnectionFailed("no")))

    def attach() -> None:
        with pytest.raises(ConnectionFailed):
            manager.attach_volume(CONTEXT, volume.id, CONNECTOR)

    assert 5 == count(manager, attach)["commit"]


def test_reading_commits_nothing(manager: VolumeManager) -> None:
    volume = manager.create_volume(CONTEXT, size_gib=1, backend="lab")
    assert 0 == count(manager, lambda: manager.get_volume(CONTEXT, volume.id))["commit"]
    assert 0 == count(manager, lambda: manager.list_operations(CONTEXT))["commit"]
    assert 0 == count(manager, manager.recover)["commit"]
