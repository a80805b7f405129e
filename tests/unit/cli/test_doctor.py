"""volflow.cli.doctor: each thing that may be missing, found and told with what mends it."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.unit.cli.conftest import Shell


@pytest.fixture
def used(sh: Shell) -> Shell:
    """A database that was used."""
    sh.attach(sh.volume())
    return sh


def failed(sh: Shell, code: int) -> dict[str, Any]:
    """What the doctor finds wrong: one thing."""
    done = sh("doctor")
    assert code == done.exit_code, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    (found,) = (f for f in _json(sh) if not f["ok"])
    assert "".join(found["detail"].split()) in "".join(done.stdout.split())
    assert found["mend"]
    return found


def _json(sh: Shell) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(sh("doctor", "--json").stdout)
    return found


def test_all_is_well(used: Shell) -> None:
    before = used.state()
    told = used.ok("doctor")
    assert "failed" not in told
    names = [f["check"] for f in _json(used)]
    assert ["configuration", "database", "schema", "keys"] == names[:4]
    assert ["backend lab", "backend faulty"] == names[-2:]
    assert before == used.state()


def test_a_configuration_that_is_not_there(sh: Shell) -> None:
    sh.config.unlink()
    assert "there is no configuration file" in failed(sh, 2)["detail"]


def test_a_database_that_is_not_there(sh: Shell) -> None:
    found = failed(sh, 7)
    assert ("database", True) == (found["check"], "volflow db upgrade" in found["detail"])


def test_a_database_that_is_none(used: Shell) -> None:
    used.database.write_text("no database at all, but a text of some length" * 100)
    assert "database" == failed(used, 7)["check"]


def test_a_server_that_does_not_answer(sh: Shell) -> None:
    done = sh("doctor", "--database", "postgresql+psycopg://volflow@127.0.0.1:1/x")
    assert 7 == done.exit_code
    assert "start its server" in done.stdout


def test_a_schema_of_another_release(used: Shell) -> None:
    with closing(sqlite3.connect(used.database)) as connection, connection:
        connection.execute("UPDATE volflow_schema SET version_num = '0001'")
    found = failed(used, 7)
    assert ("schema", "volflow db upgrade") == (found["check"], found["mend"])
    assert "it is 0001" in found["detail"]


def test_another_key_file(used: Shell) -> None:
    path = used.directory / "volflow.db.key"
    path.write_bytes(Fernet.generate_key() + b"\n")
    found = failed(used, 7)
    assert "keys" == found["check"]
    assert "lacks the key" in found["detail"]


def test_a_key_file_that_everybody_reads(used: Shell) -> None:
    (used.directory / "volflow.db.key").chmod(0o644)
    found = failed(used, 7)
    assert ("key file's mode", True) == (found["check"], "chmod 600" in found["mend"])


def test_locks_that_cannot_be_written(used: Shell) -> None:
    text = used.config.read_text()
    used.config.write_text(
        text.replace("backends =", f"lock_directory = {used.database}/locks\nbackends =")
    )
    assert "locks" == failed(used, 7)["check"]


@pytest.mark.parametrize("seconds", [-90, 90])
def test_a_clock_that_is_off(used: Shell, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    now = time.time
    monkeypatch.setattr("volflow.cli.doctor.time.time", lambda: now() + seconds)
    found = failed(used, 7)
    assert "clock" == found["check"]
    assert ("ahead of" if seconds > 0 else "behind") in found["detail"]


def test_a_board_that_is_away(used: Shell) -> None:
    text = used.config.read_text()
    used.config.write_text(text.replace("backends =", "board = redis://127.0.0.1:1\nbackends ="))
    assert "board" == failed(used, 7)["check"]


def test_a_board_that_answers(used: Shell) -> None:
    text = used.config.read_text()
    used.config.write_text(text.replace("backends =", "board = sql:\nbackends ="))
    assert "0 jobs" in used.ok("doctor")


def test_locks_between_hosts(used: Shell, tmp_path: Path) -> None:
    text = used.config.read_text()
    url = f"file://{tmp_path}/between"
    used.config.write_text(text.replace("backends =", f"coordination = {url}\nbackends ="))
    assert "a lock was taken and given back" in used.ok("doctor")
    used.config.write_text(
        text.replace("backends =", "coordination = redis://127.0.0.1:1\nbackends =")
    )
    assert "locks between hosts" == failed(used, 7)["check"]


@pytest.mark.parametrize(
    ("fault", "code"), [("check_for_setup_error refuse", 5), ("check_for_setup_error bug", 1)]
)
def test_a_backend_that_does_not_work_hides_no_other(used: Shell, fault: str, code: int) -> None:
    used.faults(fault)
    found = failed(used, code)
    assert "backend faulty" == found["check"]
    assert "[faulty]" in found["mend"]
    assert any(f["check"] == "backend lab" and f["ok"] for f in _json(used))
