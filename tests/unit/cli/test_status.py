"""volflow.cli.status: what needs somebody, in one look."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest

from tests.unit.cli.conftest import Shell
from volflow import RequestContext, VolumeManager
from volflow.drivers.local import LocalDriver


def hand(sh: Shell, statement: str, *values: object) -> None:
    """An operator's hand in the database."""
    with closing(sqlite3.connect(sh.database)) as connection, connection:
        assert connection.execute(statement, values).rowcount > 0


@pytest.fixture
def refused(sh: Shell) -> str:
    """The operation of a forced detach whose undo is refused."""
    volume_id = sh.volume("--name", "db-1", backend="faulty")
    sh.attach(volume_id)
    sh.faults("terminate_connection refuse")
    sh("detach", volume_id, "--force")
    return str(sh.json("volume", "show", volume_id)["operation_id"])


def test_a_calm_night_is_one_sentence(sh: Shell) -> None:
    sh.attach(sh.volume())
    told = sh.ok("status", "--check")
    assert "Nothing needs you." in told
    assert "1 in-use" in told
    assert "2 succeeded" in told
    assert sh.json("status")["calm"] is True


def test_a_refused_undo_is_named_with_its_volume_and_what_helps(sh: Shell, refused: str) -> None:
    """When an operator who knows nothing else looks, he finds the command that mends it."""
    told = sh.ok("status")
    assert "Needs attention\ndetach of volume " in told
    for words in ("(db-1) on faulty", refused, "no terminate_connection today", "volflow recover"):
        assert words in " ".join(told.split())
    assert "Nothing needs you." not in told
    assert max(map(len, told.splitlines())) <= 80

    sh.faults()
    sh.ok("recover")

    assert "Nothing needs you." in sh.ok("status")


def test_a_check_ends_with_its_own_code(sh: Shell, refused: str) -> None:
    assert 6 == sh("status", "--check").exit_code
    assert 0 == sh("status").exit_code


def test_scripts_are_told_the_same(sh: Shell, refused: str) -> None:
    found = sh.json("status")
    (one,) = found["operations"]["needs_attention"]
    assert (refused, "db-1", "volflow recover") == (one["id"], one["volume_name"], one["help"])
    assert found["calm"] is False
    assert {"faulty"} == {b["name"] for b in found["backends"] if b["volumes"]}


def test_no_backend_is_asked(sh: Shell, refused: str) -> None:
    """When it is down."""
    sh.faults("check_for_setup_error refuse")
    assert refused in sh.ok("status")


def test_what_waits_is_told_with_whom_and_until_when(sh: Shell) -> None:
    volume_id = sh.volume("--name", "w")
    _reserve(sh, volume_id)
    told = sh.ok("status")
    assert f"Waits for its caller\nattach of volume {volume_id} (w) on lab" in told
    assert "its caller's next call" in told
    assert "Nothing needs you." in told


def test_what_waits_past_its_deadline_needs_somebody(
    sh: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its host is logged in, say, so that recovery leaves it alone."""
    volume_id = sh.volume()
    _reserve(sh, volume_id)
    hand(sh, "UPDATE operations SET deadline = 1 WHERE state = 'waiting'")
    for _ in range(2):  # younger ones hide it not
        _reserve(sh, sh.volume())
    monkeypatch.setattr("volflow.cli.status.SHOWN", 1)
    told = sh.ok("status")
    assert f"Overdue: their callers did not come back\nattach of volume {volume_id}" in told
    helped = " ".join(told.split())
    assert "volflow recover, once its host has logged out" in helped
    assert re.search(r"volflow operation cancel [0-9a-f-]{36} --force", helped)
    assert 6 == sh("status", "--check").exit_code


def test_what_nobody_runs_any_more_is_told_as_abandoned(sh: Shell) -> None:
    volume_id = sh.volume()
    _reserve(sh, volume_id)
    hand(sh, "UPDATE operations SET state = 'running', lease_expires_at = 1 WHERE state='waiting'")
    told = sh.ok("status")
    assert "Abandoned: their owners showed no life for their leases\nattach of" in told
    assert "volflow recover" in told
    assert "Runs now" not in told
    assert 6 == sh("status", "--check").exit_code


def test_a_row_that_makes_no_sense_is_named_and_hides_no_other(sh: Shell, refused: str) -> None:
    volume_id = sh.volume()
    _reserve(sh, volume_id)
    hand(sh, "UPDATE operations SET arguments = 'x' WHERE state = 'waiting'")
    told = sh.ok("status")
    assert "its row makes no sense to this release" in told
    assert refused in told
    assert 1 == len(sh.json("status")["unreadable"])


def test_a_volume_in_error_is_told_with_what_helps(sh: Shell) -> None:
    volume_id = sh.volume()
    hand(sh, "UPDATE volumes SET status = 'error' WHERE id = ?", volume_id)
    told = sh.ok("status")
    assert "Volumes in error" in told
    assert f"volflow volume delete {volume_id}\n" in told


def test_more_than_is_shown_is_said(sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volflow.cli.status.SHOWN", 1)
    for _ in range(2):
        _reserve(sh, sh.volume())
    told = sh.ok("status")
    assert 1 == told.count("attach of volume")
    assert "and older ones: volflow operation list --state waiting" in told


def test_a_conductor_that_died_is_missed(sh: Shell) -> None:
    sh.volume()
    hand(
        sh,
        "INSERT INTO conductors VALUES ('c', 'night', 'o', 'host-9', 7, '[\"lab\"]', 4, 1, 1, 1)",
    )
    told = sh.ok("status")
    assert "Conductor night on host-9 is dead" in told
    assert "volflow conductor run --backend lab" in told
    assert sh.json("status")["calm"] is False


def test_without_a_database_it_says_so(sh: Shell) -> None:
    assert "there is no database" in sh.refused(7, "status")


def _reserve(sh: Shell, volume_id: str) -> None:
    drivers = {"lab": LocalDriver(str(sh.directory / "images"))}
    with VolumeManager(f"sqlite:///{sh.database}", drivers, recover=False) as manager:
        manager.reserve_volume(RequestContext(overwrite=False), volume_id)
