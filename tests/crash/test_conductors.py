"""Conductors that are stopped and killed for real, as processes of their own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.lab import HOST_A, until
from tests.crash.conductors import CONTEXT, Installation, stop
from tests.servers.postgresql import PostgresqlServer
from volflow import Volume, VolumeManager
from volflow.testing.invariants import violations


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Installation:
    url = None
    if request.param == "postgresql":
        server: PostgresqlServer = request.getfixturevalue("postgresql_server")
        url = server.create_database()
    return Installation(tmp_path, url)


@pytest.fixture
def manager(place: Installation) -> Iterator[VolumeManager]:
    with place.open() as manager:
        yield manager


@pytest.fixture
def volume(manager: VolumeManager) -> Volume:
    return manager.create_volume(CONTEXT, size_gib=1, backend="lab")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_conductor_that_is_told_to_ends_in_order(
    place: Installation, manager: VolumeManager, volume: Volume, number: int
) -> None:
    """When it has nothing to do: at once, and it is off the list."""
    with place.conductor("one") as one:
        operation = manager.submit_attach(CONTEXT, volume.id, HOST_A)
        assert "succeeded" == manager.wait(operation.id, 60).state
        assert 0 == stop(one, number)
    assert [] == manager.list_conductors(CONTEXT)
    assert "Traceback" not in place.log("one")


def test_a_conductor_that_is_told_to_in_mid_run_hands_back(
    place: Installation, manager: VolumeManager, volume: Volume
) -> None:
    """When its driver is at work: that call ends, and another conductor does the rest."""
    (place.images / "closed").touch()
    with place.conductor("one") as one:
        operation = manager.submit_attach(CONTEXT, volume.id, HOST_A)
        until((place.images / "reached").exists, "the driver is at work")
        one.send_signal(signal.SIGTERM)
        until(lambda: "stopping" in place.log("one"), "it stops")
        assert one.poll() is None
        (place.images / "closed").unlink()
        assert 0 == one.wait(60)
    found = manager.get_operation(CONTEXT, operation.id)
    assert ("running", None) == (found.state, found.owner)
    with place.conductor("two") as two:
        assert "succeeded" == manager.wait(operation.id, 60).state
        assert 0 == stop(two)
    assert [] == violations(manager, place.driver, "lab")


def test_a_conductor_that_is_killed_is_followed_by_another(
    place: Installation, manager: VolumeManager, volume: Volume
) -> None:
    """When it is killed as its driver is at work: nobody waits for its lease."""
    (place.images / "closed").touch()
    with place.conductor("one") as one, place.conductor("two") as two:
        operation = manager.submit_attach(CONTEXT, volume.id, HOST_A)
        until((place.images / "reached").exists, "the driver is at work")
        (running,) = [c for c in manager.list_conductors(CONTEXT) if c.running]
        killed = one if running.name == "one" else two
        killed.kill()
        killed.wait()
        (dead,) = [c for c in manager.list_conductors(CONTEXT) if not c.alive]
        assert (running.name, (operation.id,)) == (dead.name, dead.running)
        (place.images / "closed").unlink()
        assert "succeeded" == manager.wait(operation.id, 60).state
        assert 0 == stop(two if killed is one else one)
    assert [] == violations(manager, place.driver, "lab")
