"""Hosts are cut off, clocks jump, conductors are killed: nothing is lost, or done twice."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.arena import Crew, Trouble, play
from tests.chaos.conftest import Boarded
from tests.chaos.hosted import Hosted
from tests.chaos.test_killed_conductors import DRIVER
from tests.servers.process import RequireFile
from tests.servers.redis import RedisServer

HOSTS = "abc"
LEASE_SECONDS = 6
WIRES = ("database", "board", "locks")
HOURS = (1, -1, 24, 0)
LIBRARY = "faketime/libfaketimeMT.so.1"
FAKETIME = next(Path("/usr/lib").glob(f"*/{LIBRARY}"), Path(f"/usr/lib/{LIBRARY}"))


@pytest.fixture(autouse=True)
def forgotten_clocks() -> Iterator[None]:
    """Remove what libfaketime keeps of each process, which one that is killed leaves behind."""
    yield
    for left in Path("/dev/shm").glob("*faketime_*"):
        pid = left.name.rpartition("_")[2]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            left.unlink(missing_ok=True)


@pytest.mark.slow
@pytest.mark.xdist_group("chaos")
def test_hosts_that_are_cut_off_lose_nothing_and_do_nothing_twice(
    boarded: Boarded,
    redis_server: RedisServer,
    namespaces: None,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    require_file: RequireFile,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """When one wire is cut and healed after the other, and one clock after the other is set."""
    operations: int = request.config.getoption("--operations")
    seconds: float = request.config.getoption("--trouble-seconds")
    with Hosted.running(
        HOSTS,
        boarded,
        redis_server,
        tmp_path,
        clock=require_file(FAKETIME, "faketime"),
        driver=DRIVER,
        lease_seconds=LEASE_SECONDS,
    ) as place:
        # Each host in turn loses another server, so that in the end each has lost each.
        turns = itertools.cycle(
            (host, WIRES[(shift + number) % 3])
            for shift in range(3)
            for number, host in enumerate(HOSTS)
        )
        lost: list[tuple[str, str]] = []
        times = itertools.cycle(itertools.product(HOURS, HOSTS))

        def cut_or_heal() -> None:
            if lost:
                place.wire(*lost.pop()).heal()
            else:
                lost.append(next(turns))
                place.wire(*lost[0]).cut()

        def set_clock() -> None:
            hours, host = next(times)
            place.set_clock(host, hours * 3600)

        def troubles(crew: Crew) -> list[Trouble]:
            return [
                Trouble("a wire cut, or healed", seconds, cut_or_heal),
                Trouble("a conductor killed", 2.5 * seconds, crew.kill),
                Trouble("a host's clock set", 0.5 * seconds, set_clock),
            ]

        figures = play(
            place,
            boarded.kind,
            operations,
            troubles,
            lambda seat, name: place.begin_on(HOSTS[seat], name),
        )
    with capsys.disabled():
        sys.stdout.write(f"\n{figures}\n")
