"""volflow.cli.operations: list, show, cancel, recover."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.unit.cli.conftest import INITIATOR, Shell
from volflow import RequestContext, VolumeManager

UNKNOWN = "00000000-0000-4000-8000-000000000000"
HOST = ("--initiator", INITIATOR, "--host", "host-1")


@pytest.fixture
def waiting(sh: Shell) -> str:
    """An operation that waits for its caller's next call."""
    volume_id = sh.volume()
    with VolumeManager.from_config(sh.config) as manager:
        manager.reserve_volume(RequestContext(overwrite=False), volume_id)
    return str(sh.json("volume", "show", volume_id)["operation_id"])


def test_operations_are_listed_and_filtered(sh: Shell) -> None:
    volume_id, other = sh.volume(), sh.volume()
    sh.attach(volume_id)
    assert ["create", "attach"] == [o["kind"] for o in sh.operations(volume_id)]
    assert 3 == len(sh.json("operation", "list", "--state", "succeeded"))
    assert 1 == len(sh.json("operation", "list", "--limit", "1"))
    assert 2 == len(
        sh.json("operation", "list", "--marker", sh.json("operation", "list")[0]["id"])
    )
    table = sh.ok("operation", "list", "--volume", other).splitlines()
    assert ["ID", "KIND", "STATE", "AGE", "BACKEND"] == table[0].split()
    assert 2 == len(table)


def test_a_wide_terminal_shows_volumes_too(sh: Shell) -> None:
    volume_id = sh.volume()
    done = sh("operation", "list", env={"COLUMNS": "120"})
    assert volume_id in done.stdout


def test_a_timeline_has_one_row_a_step_with_its_duration(sh: Shell) -> None:
    volume_id = sh.volume()
    sh.attach(volume_id)
    shown = sh.ok("operation", "show", sh.operations(volume_id)[-1]["id"])
    rows = shown[shown.index("TIME") :].splitlines()[1:]
    steps = [
        *("attach_volume", "update-status", "validate-connector", "create-export"),
        *("initialize-connection", "record-attachment", "finalize"),
    ]
    assert steps == [row.split()[1] for row in rows]
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d{3}  .*\d (ms|s)  (done|succeeded)$", r) for r in rows)


def test_an_undone_step_and_its_error_are_shown(sh: Shell) -> None:
    volume_id = sh.volume(backend="faulty")
    sh.faults("initialize_connection refuse")
    sh("attach", volume_id, *HOST)
    operation_id = sh.operations(volume_id)[-1]["id"]
    shown = sh.ok("operation", "show", operation_id)
    assert re.search(r"undo create-export +\d.*undone", shown)
    assert "ConnectionFailed: no initialize_connection today ***" in shown
    (call,) = sh.json("operation", "show", operation_id)["timeline"]
    assert ("attach_volume", "rolled_back", False) == (
        call["call"],
        call["result"],
        call["taken_over"],
    )
    failed = next(s for s in call["steps"] if s["result"] == "failed")
    assert ("initialize-connection", False) == (failed["step"], failed["undo"])
    assert failed["error"].startswith("ConnectionFailed")


def test_a_refused_undo_says_what_helps(sh: Shell) -> None:
    """When an undo is refused, the steps behind it are held back, until recovery repeats it."""
    volume_id = sh.volume(backend="faulty")
    sh.faults("initialize_connection refuse", "terminate_connection refuse")
    sh("attach", volume_id, *HOST)
    operation_id = sh.operations(volume_id)[-1]["id"]
    shown = sh.ok("operation", "show", operation_id)
    assert re.search(r"undo initialize-connection +.*refused", shown)
    assert re.search(r"undo create-export +held back", shown)
    assert "volflow recover" in shown
    again = sh("recover", "--json")
    assert (6, [operation_id]) == (again.exit_code, json.loads(again.stdout)["needs_attention"])
    assert "no terminate_connection today" in " ".join(sh("recover").stdout.split())
    sh.faults()
    assert [operation_id] == sh.json("recover")["cleaned"]
    assert "(taken over)" in sh.ok("operation", "show", operation_id)


def test_an_interrupted_step_is_told_from_a_running_one(sh: Shell) -> None:
    volume_id = sh.volume(backend="faulty")
    sh.faults("create_export interrupt")
    sh("attach", volume_id, *HOST)
    operation_id = sh.operations(volume_id)[-1]["id"]
    assert "volflow recover" in sh.ok("operation", "show", operation_id)
    sh.faults()
    done = sh("recover")
    assert (0, f"resumed  {operation_id}\n") == (done.exit_code, done.stdout)
    calls: list[Any] = sh.json("operation", "show", operation_id)["timeline"]
    assert ["interrupted", "succeeded"] == [c["result"] for c in calls]
    assert "interrupted" == calls[0]["steps"][-1]["result"]
    assert calls[0]["ended_at"] is None
    assert calls[1]["taken_over"]


def test_an_attach_whose_host_nobody_can_tell_is_undone_by_force_alone(sh: Shell) -> None:
    """When it was let in, and the backend cannot say who is logged in."""
    volume_id = sh.volume(backend="faulty")
    sh.faults("sessions unknown")
    context = RequestContext(overwrite=False)
    with VolumeManager.from_config(sh.config) as manager:
        owner = manager.reserve_volume(context, volume_id).operation_id
        manager.initialize_connection(context, volume_id, {"initiator": INITIATOR, "host": "a"})
    assert owner is not None

    assert 6 == sh("operation", "cancel", owner).exit_code
    assert "attaching" == sh.json("volume", "show", volume_id)["status"]

    assert "rolled_back" == sh.json("operation", "cancel", owner, "--force")["state"]
    assert "available" == sh.json("volume", "show", volume_id)["status"]
    assert "rolled_back" == sh.json("operation", "cancel", owner, "--force")["state"]


def test_force_is_for_an_attach(sh: Shell) -> None:
    volume_id = sh.volume()
    (created,) = sh.operations(volume_id)
    told = sh.refused(2, "operation", "cancel", created["id"], "--force")
    assert "--force is for an attach, and this is a create" in told


def test_a_waiting_operation_is_cancelled(sh: Shell, waiting: str) -> None:
    assert f"operation cancel {waiting}" in " ".join(sh.ok("operation", "show", waiting).split())
    assert "rolled_back" == sh.json("operation", "cancel", waiting)["state"]
    assert "available" == sh.json("volume", "list")[0]["status"]
    assert "rolled_back" in sh.ok("operation", "cancel", waiting)


def test_recovery_leaves_a_waiting_operation_alone(sh: Shell, waiting: str) -> None:
    assert "nothing is due\n" == sh.ok("recover")
    found = sh.json("recover")
    assert {
        *("resumed", "rolled_back", "cleaned", "reposted", "needs_attention", "left_out")
    } == set(found)
    assert not any(found.values())
    assert "waiting" == sh.json("operation", "show", waiting)["state"]


def test_recovery_goes_on_beside_a_backend_that_is_down(sh: Shell) -> None:
    sh.volume()
    sh.faults("check_for_setup_error refuse")
    done = sh("recover", "--json")
    assert 6 == done.exit_code
    assert {"faulty": "no check_for_setup_error today"} == json.loads(done.stdout)["left_out"]
    assert "backend faulty is left out" in sh("recover").stderr


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (2, ["operation", "list", "--state", "bogus"]),
        (2, ["operation", "list", "--volume", "x"]),
        (2, ["operation", "list", "--limit", "-1"]),
        (2, ["operation", "show"]),
        (2, ["operation", "show", "x"]),
        (3, ["operation", "show", UNKNOWN]),
        (2, ["operation", "cancel", "x"]),
        (3, ["operation", "cancel", UNKNOWN]),
        (2, ["recover", "now"]),
    ],
)
def test_bad_input_has_its_exit_code_and_changes_nothing(
    sh: Shell, code: int, words: list[str]
) -> None:
    sh.volume()
    before = sh.state()
    sentence = sh.refused(code, *words)
    assert sentence == sh.refused_json(code, *words)["message"]
    assert before == sh.state()
