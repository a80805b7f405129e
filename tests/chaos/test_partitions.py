"""Conductors on hosts that are cut off from their database, their board or their locks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.arena import conducting, detach_and_see, patiently
from tests.chaos.conftest import BOARDS, Boarded
from tests.chaos.hosted import Hosted
from tests.contract.lab import HOST_A
from tests.crash.conductors import CONTEXT, stop
from tests.servers.redis import RedisServer

LEASE_SECONDS = 2
BOARDS_WITH_A_SERVER = [kind for kind in BOARDS if kind != "sql"]


@pytest.fixture
def place(
    boarded: Boarded, redis_server: RedisServer, tmp_path: Path, namespaces: None
) -> Iterator[Hosted]:
    with Hosted.running(
        "ab", boarded, redis_server, tmp_path, lease_seconds=LEASE_SECONDS
    ) as place:
        yield place


def test_a_conductor_that_is_cut_off_from_the_database_is_fenced(place: Hosted) -> None:
    """When that is in a driver call: another host's conductor ends the operation.

    The first one's own end of it comes to nothing, and it serves again like any other.
    """
    with place.open() as manager:
        volume = manager.create_volume(CONTEXT, size_gib=1, backend="lab")
        with place.on("a") as one:
            (place.images / "closed").touch()
            attach = manager.submit_attach(CONTEXT, volume.id, HOST_A, host_name="a")
            patiently((place.images / "reached").exists, "its driver is at work")
            place.wire("a", "database").cut()
            (place.images / "closed").unlink()
            with place.on("b") as two:
                assert "succeeded" == manager.wait(attach.id, 300).state
                ended = manager.operation_timeline(CONTEXT, attach.id)
                assert 0 == stop(two)
            place.wire("a", "database").heal()

            detach_and_see(manager, place, attach.id)
            assert ended == manager.operation_timeline(CONTEXT, attach.id)
            assert 0 == stop(one)


@pytest.mark.parametrize("boarded", BOARDS_WITH_A_SERVER, indirect=True)
def test_a_conductor_that_is_cut_off_from_its_board_goes_on(place: Hosted) -> None:
    """When it reaches the database: it takes operations from there; the board is empty later."""
    with place.open() as manager, place.on("a") as one:
        volume = manager.create_volume(CONTEXT, size_gib=1, backend="lab")
        place.wire("a", "board").cut()
        attach = manager.submit_attach(CONTEXT, volume.id, HOST_A, host_name="a")
        assert "succeeded" == manager.wait(attach.id, 300).state
        place.wire("a", "board").heal()

        detach_and_see(manager, place, attach.id)
        assert 0 == stop(one)


@pytest.mark.parametrize("boarded", ["sql"], indirect=True)
def test_a_conductor_that_is_cut_off_from_the_locks_begins_nothing(place: Hosted) -> None:
    """When it cannot know who changes a volume: the conductor that can know runs the operation."""
    with place.open() as manager, place.on("a") as one:
        volume = manager.create_volume(CONTEXT, size_gib=1, backend="lab")
        place.wire("a", "locks").cut()
        attach = manager.submit_attach(CONTEXT, volume.id, HOST_A, host_name="a")
        patiently(lambda: "lock server" in place.log("a"), "it says why it waits")
        assert "queued" == manager.get_operation(CONTEXT, attach.id).state
        with place.on("b") as two:
            assert "succeeded" == manager.wait(attach.id, 300).state
            assert 0 == stop(two)
        place.wire("a", "locks").heal()

        detach_and_see(manager, place, attach.id)
        assert 0 == stop(one)


@pytest.mark.parametrize("boarded", ["zookeeper"], indirect=True)
def test_a_session_that_expires_ends_no_operation(place: Hosted) -> None:
    """When a conductor's claim goes with its session while its driver is at work.

    Another one may claim the job, and leaves the operation to whoever has its lease.
    """
    with place.open() as manager, place.on("a") as one, place.on("b") as two:
        volume = manager.create_volume(CONTEXT, size_gib=1, backend="lab")
        (place.images / "closed").touch()
        attach = manager.submit_attach(CONTEXT, volume.id, HOST_A, host_name="a")
        patiently((place.images / "reached").exists, "a driver is at work")
        wire = place.wire(conducting(manager, attach.id), "board")
        assert place.claimed(manager, attach.id)
        wire.cut()
        patiently(lambda: not place.claimed(manager, attach.id), "its session is over")
        wire.heal()
        (place.images / "closed").unlink()
        assert "succeeded" == manager.wait(attach.id, 300).state
        timeline = manager.operation_timeline(CONTEXT, attach.id)
        assert "taken over" not in {event.what for event in timeline}

        detach_and_see(manager, place, attach.id)
        assert [0, 0] == [stop(one), stop(two)]
