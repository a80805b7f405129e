"""volflow.cli.conductors, and what other commands do with a board."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from tests.contract.lab import until
from tests.unit.cli.conftest import INITIATOR, Shell
from tests.unit.cli.faulty import KEYRING
from volflow import RequestContext, VolumeManager
from volflow.jobs.conductor import Conductor
from volflow.persistence import queue

UNKNOWN = "00000000-0000-4000-8000-000000000000"
HOST = ("--initiator", INITIATOR, "--host", "host-1")


@pytest.fixture
def board(sh: Shell) -> Shell:
    """The shell, with a board in its configuration."""
    text = sh.config.read_text()
    sh.config.write_text(text.replace("[volflow]\n", "[volflow]\nboard = sql:\n"))
    return sh


@pytest.fixture
def conductor(board: Shell) -> Iterator[Conductor]:
    """A conductor that runs what is queued."""
    board.volume()
    with VolumeManager.from_config(board.config) as manager:
        found = manager.conductor("one", workers=2)
        found.start()
        until(lambda: manager.list_conductors(RequestContext()), "it is listed")
        yield found
        found.stop()
        assert found.wait(30)


def test_a_submitted_attach_is_printed_and_waited_for(board: Shell, conductor: Conductor) -> None:
    volume_id = board.volume()
    shown = board.ok("attach", volume_id, *HOST, "--submit", "--priority", "7")
    (operation,) = [o for o in board.operations(volume_id) if o["kind"] == "attach"]
    assert (7, "attach_volume") == (operation["priority"], operation["phase"])
    for word in (operation["id"], "Priority", "attach_volume"):
        assert word in shown
    waited = board.ok("operation", "wait", operation["id"], "--timeout", "30")
    assert "succeeded" in waited
    assert "in-use" in board.ok("volume", "show", volume_id)
    found = board.json("detach", volume_id, "--submit")
    assert "succeeded" == board.json("operation", "wait", found["id"])["state"]
    assert "available" in board.ok("volume", "show", volume_id)


def test_a_timeline_shows_when_it_was_queued_and_when_it_ran(
    board: Shell, conductor: Conductor
) -> None:
    found = board.json("attach", board.volume(), *HOST, "--submit")
    calls = board.json("operation", "wait", found["id"])["timeline"]
    assert [("attach_volume", "queued"), ("attach_volume", "succeeded")] == [
        (call["call"], call["result"]) for call in calls
    ]


def test_the_same_operation_id_queues_once(board: Shell) -> None:
    volume_id, key = board.volume(), str(uuid.uuid4())
    words = ("attach", volume_id, *HOST, "--submit", "--operation-id", key)
    assert board.json(*words) == board.json(*words)
    other = ("attach", volume_id, "--initiator", "iqn.other", "--host", "h", *words[6:])
    assert key in board.refused(4, *other)


def test_waiting_ends_as_the_call_would_have(board: Shell, conductor: Conductor) -> None:
    volume_id = board.volume(backend="faulty")
    board.faults("initialize_connection refuse")
    found = board.json("attach", volume_id, *HOST, "--submit")
    done = board("operation", "wait", found["id"], "--json")
    assert 5 == done.exit_code, done.output
    assert "rolled_back" == json.loads(done.stdout)["state"]
    board.faults()
    assert KEYRING not in board.said


def test_waiting_gives_up_in_time(board: Shell) -> None:
    found = board.json("attach", board.volume(), *HOST, "--submit")
    assert "queued" in board.refused(9, "operation", "wait", found["id"], "--timeout", "0.05")
    assert "queued" in board.refused(9, "operation", "wait", found["id"], "--timeout", "0")
    board.refused(3, "operation", "wait", UNKNOWN)
    board.refused(2, "operation", "wait", found["id"], "--timeout", "-1")


def test_what_is_queued_is_cancelled_and_says_what_helps(board: Shell) -> None:
    volume_id = board.volume()
    found = board.json("attach", volume_id, *HOST, "--submit")
    assert "volflow conductor run --backend lab" in board.ok("operation", "show", found["id"])
    assert "rolled_back" in board.ok("operation", "cancel", found["id"])
    assert "available" in board.ok("volume", "show", volume_id)


def test_without_a_board_nothing_is_queued(sh: Shell) -> None:
    volume_id = sh.volume()
    before = sh.state()
    assert "board" in sh.refused(2, "attach", volume_id, *HOST, "--submit")
    assert "board" in sh.refused(2, "detach", volume_id, "--submit")
    assert "board" in sh.refused(2, "conductor", "run", "--backend", "lab")
    assert before == sh.state()


def test_conductors_are_listed(board: Shell, conductor: Conductor) -> None:
    (found,) = board.json("conductor", "list")
    assert {
        *("id", "name", "owner", "host", "pid", "backends", "workers", "started_at", "seen_at"),
        *("alive", "running"),
    } == set(found)
    assert ("one", ["lab", "faulty"], 2, True, []) == tuple(
        found[key] for key in ("name", "backends", "workers", "alive", "running")
    )
    heading, row = board.ok("conductor", "list").splitlines()[:2]
    assert ["NAME", "STATE", "HOST", "PID"] == heading.split()[:4]
    assert ["one", "alive"] == row.split()[:2]


def test_where_there_are_none_it_says_so(board: Shell) -> None:
    board.volume()
    assert [] == board.json("conductor", "list")
    assert "no conductors" in board("conductor", "list").stderr


def test_a_conductor_serves_backends_of_the_configuration(board: Shell) -> None:
    board.volume()
    assert "shed" in board.refused(3, "conductor", "run", "--backend", "shed")
    board.refused(2, "conductor", "run")
    board.refused(2, "conductor", "run", "--backend", "lab", "--workers", "0")


def test_the_limit_of_a_backend_stands_in_its_group(board: Shell) -> None:
    text = board.config.read_text()
    board.config.write_text(text.replace("[lab]\n", "[lab]\nmax_running = 3\n"))
    board.volume()
    with VolumeManager.from_config(board.config) as manager, manager.database.read() as connection:
        assert {"lab": 3} == queue.limits(connection)
    board.config.write_text(text.replace("[lab]\n", "[lab]\nmax_running = some\n"))
    assert "max_running" in board.refused(2, "volume", "list")
