"""Conductors that are cut off from their board."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.arena import leftovers, patiently, settlements
from tests.chaos.conftest import BOARDS, Boarded
from tests.contract.lab import HOST_A
from tests.crash.conductors import CONTEXT, Installation, stop
from tests.servers.redis import RedisServer
from tests.servers.relay import running_relay
from volflow.testing.invariants import violations

LEASE_SECONDS = 2
BOARDS_WITH_A_SERVER = [kind for kind in BOARDS if kind != "sql"]


@pytest.fixture
def place(boarded: Boarded, redis_server: RedisServer, tmp_path: Path) -> Installation:
    locks = f"db={redis_server.next_database()}&lock_timeout={LEASE_SECONDS}"
    return Installation(
        tmp_path,
        boarded.url,
        boarded.board,
        lease_seconds=LEASE_SECONDS,
        coordination=f"redis://127.0.0.1:{redis_server.port}?{locks}",
    )


@pytest.mark.parametrize("boarded", BOARDS_WITH_A_SERVER, indirect=True)
def test_a_conductor_that_is_cut_off_from_its_board_goes_on(
    boarded: Boarded, place: Installation
) -> None:
    """When it reaches the database: it takes operations from there; the board is empty later."""
    with running_relay(boarded.server.port) as relay, place.open() as manager:
        board = boarded.board.replace(f":{boarded.server.port}", f":{relay.port}")
        with place.conductor("one", host="a", board=board) as one:
            volume = manager.create_volume(CONTEXT, size_gib=1, backend="lab")
            relay.cut()
            found = [manager.submit_attach(CONTEXT, volume.id, HOST_A, host_name="a")]
            assert "succeeded" == manager.wait(found[0].id, 300).state
            relay.heal()
            found.append(manager.submit_detach(CONTEXT, volume.id))
            assert "succeeded" == manager.wait(found[1].id, 300).state
            assert {o.id: 1 for o in found}.items() <= settlements(manager).items()
            patiently(lambda: not leftovers(manager), "the board is empty")
            assert [] == violations(manager, place.driver, "lab")
            assert 0 == stop(one)
