"""The volume's lock between hosts, on a lock server that is a directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.hosts import CONTEXT, BetweenHosts, Hosts
from tests.contract.lab import HOST_A, is_one_clear_sentence
from volflow import VolumeManager, exceptions


@pytest.fixture
def hosts(home: Path, tmp_path: Path) -> Iterator[Hosts]:
    found = Hosts(home, f"file://{tmp_path}/shared")
    yield found
    found.close()


class TestDirectory(BetweenHosts):
    """tooz's ``file://``: for hosts that are directories of one machine."""


@pytest.mark.parametrize(
    "url",
    [
        "nosuch://127.0.0.1",
        "127.0.0.1:6379",
        "",
        5,
        "redis://127.0.0.1?lock_timeout=soon",
        "zookeeper://127.0.0.1?handler=strange",
    ],
)
def test_a_url_that_is_none_is_refused(url: object, home: Path) -> None:
    """When tooz has no such backend, or it does not take the options."""
    with pytest.raises(exceptions.InvalidInput, match="no lock server") as caught:
        VolumeManager(f"sqlite:///{home}/volflow.db", {}, recover=False, coordination=url)  # type: ignore[arg-type]
    is_one_clear_sentence(caught.value)


def test_a_manager_without_coordination_speaks_with_nobody(hosts: Hosts) -> None:
    """When there is one host, its lock is the kernel's alone."""
    manager = hosts.open("a", coordination=None)
    volume = manager.create_volume(CONTEXT, 1, "lab")
    manager.attach_volume(CONTEXT, volume.id, HOST_A, host_name="a")
    assert not Path(hosts.coordination.removeprefix("file://")).exists()
