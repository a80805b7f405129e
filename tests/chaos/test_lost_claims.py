"""A conductor that loses its claim while its job runs, on each board."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.chaos.arena import conducting, detach_and_see, patiently
from tests.chaos.conftest import Boarded
from tests.contract.lab import HOST_A
from tests.crash.conductors import CONTEXT, Installation, stop
from tests.servers.redis import RedisServer

LEASE_SECONDS = 2


def test_a_conductor_that_stood_still_for_too_long_is_fenced(
    boarded: Boarded, redis_server: RedisServer, tmp_path: Path
) -> None:
    """When it is stopped in a driver call, and a conductor of another host ends the operation.

    What it does when it goes on is refused, and it serves again like any other.
    """
    place = Installation(
        tmp_path,
        boarded.url,
        boarded.board,
        lease_seconds=LEASE_SECONDS,
        coordination=redis_server.locks_url(LEASE_SECONDS),
    )
    with (
        place.open() as manager,
        place.conductor("one", host="a") as one,
        place.conductor("two", host="b") as two,
    ):
        volume = manager.create_volume(CONTEXT, size_gib=1, backend="lab")
        (place.images / "closed").touch()
        operation = manager.submit_attach(CONTEXT, volume.id, HOST_A, host_name="a")
        patiently((place.images / "reached").exists, "a driver is at work")
        name = conducting(manager, operation.id)
        stopped = {"one": one, "two": two}[name]
        stopped.send_signal(signal.SIGSTOP)
        (place.images / "closed").unlink()

        assert "succeeded" == manager.wait(operation.id, 300).state
        ended = manager.operation_timeline(CONTEXT, operation.id)
        stopped.send_signal(signal.SIGCONT)
        detach_and_see(manager, place, operation.id)
        assert ended == manager.operation_timeline(CONTEXT, operation.id)
        assert [0, 0] == [stop(one), stop(two)]
