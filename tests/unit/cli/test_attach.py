"""volflow.cli.attach: attach and detach."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from tests.unit.cli.conftest import INITIATOR, Shell
from tests.unit.cli.faulty import KEYRING

UNKNOWN = "00000000-0000-4000-8000-000000000000"
HOST = ("--initiator", INITIATOR, "--host", "host-1")


def test_a_volume_is_attached_and_detached(sh: Shell) -> None:
    volume_id = sh.volume()
    attached = sh.ok("attach", volume_id, *HOST, "--mountpoint", "/dev/vdb", "--mode", "ro")
    for word in ("attached", "host-1", INITIATOR, "/dev/vdb", "ro", "device_path"):
        assert word in attached
    assert "in-use" in sh.ok("volume", "show", volume_id)
    assert "available" in sh.ok("detach", volume_id)


def test_json_of_both_is_the_record(sh: Shell) -> None:
    volume_id, instance = sh.volume(), str(uuid.uuid4())
    words = ("attach", volume_id, "--initiator", INITIATOR, "--instance", instance)
    found = sh.json(*words)
    assert {
        *("id", "volume_id", "instance_uuid", "attached_host", "mountpoint", "attach_mode"),
        *("attach_status", "connector", "connection_info", "attached_at", "detached_at"),
    } == set(found)
    assert (instance, None) == (found["instance_uuid"], found["attached_host"])
    detached = sh.json("detach", volume_id, "--attachment", found["id"])
    assert ("available", []) == (detached["status"], detached["attachments"])


def test_a_connector_comes_from_a_file_or_from_stdin(sh: Shell, tmp_path: Path) -> None:
    """When the options name more, they add to it."""
    file = tmp_path / "connector.json"
    file.write_text(json.dumps({"initiator": INITIATOR, "host": "h", "ip": "192.0.2.7"}))
    volume_id = sh.volume()
    found = sh.json("attach", volume_id, "--connector", str(file), "--multipath")
    assert found["connector"] == {
        "initiator": INITIATOR,
        "host": "h",
        "ip": "192.0.2.7",
        "multipath": True,
    }
    assert "h" == found["attached_host"]
    sh.ok("detach", volume_id)
    done = sh("attach", volume_id, "--connector", "-", input=file.read_text())
    assert 0 == done.exit_code, done.output


def test_the_same_operation_id_gives_the_same_answer(sh: Shell) -> None:
    volume_id, key = sh.volume(), str(uuid.uuid4())
    first = sh.json("attach", volume_id, *HOST, "--operation-id", key)
    assert first == sh.json("attach", volume_id, *HOST, "--operation-id", key)
    words = ("attach", volume_id, *HOST, "--mountpoint", "/dev/x", "--operation-id", key)
    assert "OperationConflict" == sh.refused_json(4, *words)["type"]
    key = str(uuid.uuid4())
    sh.ok("detach", volume_id, "--operation-id", key)
    sh.ok("detach", volume_id, "--operation-id", key)


def test_secrets_are_masked_unless_asked_for(sh: Shell) -> None:
    """When a driver returns keys that nobody knows, their values are secrets, too."""
    volume_id = sh.volume(backend="faulty")
    data = sh.attach(volume_id)["connection_info"]["data"]
    assert ("***", "***", "***") == (
        data["auth_username"],
        data["auth_password"],
        data["keyring"],
    )
    assert ("192.0.2.1:3260", 1) == (data["target_portal"], data["target_lun"])
    shown = sh.json("volume", "show", volume_id, "--show-secrets")
    clear = shown["attachments"][0]["connection_info"]["data"]
    assert KEYRING == clear["keyring"]
    assert clear["auth_password"] in sh.ok("volume", "show", volume_id, "--show-secrets")


def test_no_command_writes_a_secret_at_any_verbosity(sh: Shell) -> None:
    """When commands succeed, fail, are refused and recover, none shows a byte of a secret."""
    volume_id = sh.volume(backend="faulty")
    sh.attach(volume_id)
    shown = sh("volume", "show", volume_id, "--show-secrets", "--json")
    data = json.loads(shown.stdout)["attachments"][0]["connection_info"]["data"]
    secrets = [data["auth_password"], data["auth_username"], KEYRING]
    sh.said = ""
    for loud in ([], ["-v"], ["-vv"], ["-vv", "--json"]):
        sh("volume", "show", volume_id, *loud)
        sh("volume", "list", *loud)
        sh("detach", volume_id, *loud)
        for fault in ("refuse", "bug"):
            sh.faults(f"initialize_connection {fault}")
            sh("attach", volume_id, *HOST, *loud, env={"VOLFLOW_DEBUG": "0"})
        sh.faults("initialize_connection refuse", "terminate_connection refuse")
        sh("attach", volume_id, *HOST, *loud)
        for found in sh.operations(volume_id):
            sh("operation", "show", found["id"], *loud)
        sh.faults()
        sh("recover", *loud)
        sh("attach", volume_id, *HOST, *loud)
    key = (sh.directory / "volflow.db.key").read_text().strip()
    assert sh.said
    assert [] == [s for s in [*secrets, key] if s in sh.said]
    assert "today ***" in sh.said


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (2, ["attach"]),
        (2, ["attach", "x", *HOST]),
        (3, ["attach", UNKNOWN, *HOST]),
        (2, ["attach", "VOLUME"]),
        (2, ["attach", "VOLUME", "--initiator", INITIATOR]),
        (2, ["attach", "VOLUME", *HOST, "--mode", "wo"]),
        (2, ["attach", "VOLUME", *HOST, "--instance", "x"]),
        (2, ["attach", "VOLUME", *HOST, "--operation-id", "x"]),
        (2, ["attach", "VOLUME", *HOST, "--connector", "/nonexistent"]),
        (2, ["attach", "VOLUME", *HOST, "--connector", "/dev/null"]),
        (2, ["attach", "READONLY", *HOST, "--mode", "rw"]),
        (2, ["attach", "FAULTY", "--host", "host-1"]),
        (4, ["detach", "VOLUME"]),
        (2, ["detach", "VOLUME", "--attachment", "x"]),
        (3, ["detach", UNKNOWN]),
        (2, ["detach", "x"]),
    ],
)
def test_bad_input_has_its_exit_code_and_attaches_nothing(
    sh: Shell, code: int, words: list[str]
) -> None:
    ids = {
        "VOLUME": sh.volume(),
        "READONLY": sh.volume("--readonly"),
        "FAULTY": sh.volume(backend="faulty"),
    }
    words = [ids.get(word, word) for word in words]
    sentence = sh.refused(code, *words)
    assert sentence == sh.refused_json(code, *words)["message"]
    assert {"available"} == {v["status"] for v in sh.json("volume", "list")}
    assert [] == [a for i in ids.values() for a in sh.json("volume", "show", i)["attachments"]]


def test_an_attached_volume_is_not_attached_again(sh: Shell) -> None:
    volume_id = sh.volume()
    sh.attach(volume_id)
    before = sh.state()
    assert "is in-use; expected available" in sh.refused(4, "attach", volume_id, *HOST)
    assert before == sh.state()


def test_one_of_several_attachments_has_to_be_named(sh: Shell) -> None:
    volume_id = sh.volume("--multiattach")
    first = sh.attach(volume_id)
    sh.ok("attach", volume_id, "--initiator", f"{INITIATOR}2", "--host", "host-2")
    assert "name one" in sh.refused(4, "detach", volume_id)
    found = sh.json("detach", volume_id, "--attachment", first["id"])
    assert ("in-use", ["host-2"]) == (
        found["status"],
        [a["attached_host"] for a in found["attachments"]],
    )


def test_a_refused_attach_is_undone_and_names_its_operation(sh: Shell) -> None:
    volume_id = sh.volume(backend="faulty")
    sh.faults("initialize_connection refuse")
    error = sh.refused_json(5, "attach", volume_id, *HOST)
    assert "ConnectionFailed" == error["type"]
    operation_id = sh.operations(volume_id)[-1]["id"]
    assert operation_id in error["hints"][0]
    assert "available" == sh.json("volume", "show", volume_id)["status"]


def test_a_refused_undo_needs_attention(sh: Shell) -> None:
    """When the backend refuses the undo, too, the exit code and a hint say what to do."""
    volume_id = sh.volume(backend="faulty")
    sh.faults("initialize_connection refuse", "terminate_connection refuse")
    error = sh.refused_json(6, "attach", volume_id, *HOST)
    assert "RollbackIncomplete" == error["type"]
    assert any("volflow recover" in hint for hint in error["hints"])
    assert "attaching" == sh.json("volume", "show", volume_id)["status"]


def test_ctrl_c_says_how_it_goes_on(sh: Shell) -> None:
    """When a call is interrupted, its operation is named and recovery finishes it."""
    volume_id = sh.volume(backend="faulty")
    sh.faults("create_export interrupt")
    done = sh("attach", volume_id, *HOST)
    operation_id = sh.operations(volume_id)[-1]["id"]
    assert 130 == done.exit_code
    assert "volflow: interrupted\n" in done.stderr
    assert f"volflow operation show {operation_id}" in done.stderr
    assert "volflow recover" in done.stderr
    sh.faults()
    assert [operation_id] == sh.json("recover")["resumed"]
    assert "in-use" == sh.json("volume", "show", volume_id)["status"]


def test_a_forced_detach_goes_on_over_a_refusal(sh: Shell) -> None:
    volume_id = sh.volume(backend="faulty")
    sh.attach(volume_id)
    sh.faults("terminate_connection refuse")
    assert "no terminate_connection today" in sh.refused(5, "detach", volume_id)
    assert "in-use" == sh.json("volume", "show", volume_id)["status"]
    sh.refused(6, "detach", volume_id, "--force")
    assert "detaching" == sh.json("volume", "show", volume_id)["status"]
    sh.faults()
    sh.ok("recover")
    assert "available" == sh.json("volume", "show", volume_id)["status"]
