"""Naming the process that holds SQLite's write lock."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from volflow.exceptions import DatabaseError
from volflow.persistence import migrate
from volflow.persistence.engine import Database
from volflow.persistence.holders import writer_of

PROGRAM = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("writing", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "volflow.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (x)")
    return path


@pytest.fixture
def script(tmp_path: Path) -> Path:
    found = tmp_path / "hog.py"
    found.write_text(PROGRAM)
    return found


@pytest.fixture
def writer(path: Path, script: Path) -> Iterator[subprocess.Popen[str]]:
    """A process inside a write transaction, until its input ends."""
    with subprocess.Popen(
        [sys.executable, str(script), str(path), "hunter2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def test_the_writer_is_named_with_its_script(
    path: Path, script: Path, writer: subprocess.Popen[str]
) -> None:
    """By pid and script; its other arguments may hold a secret."""
    found = writer_of(path)
    assert found is not None
    assert found.startswith(f"process {writer.pid} (python")
    assert found.endswith(f" {script})")


def test_a_writer_that_is_stopped_is_said_to_be(path: Path, writer: subprocess.Popen[str]) -> None:
    writer.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, writer.pid, os.WSTOPPED | os.WNOWAIT)
    assert (writer_of(path) or "").endswith(", stopped)")


def test_nobody_is_named_where_nobody_writes(path: Path) -> None:
    """Also where there is a reader."""
    assert writer_of(path) is None
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM t").fetchall()
        assert writer_of(path) is None
    assert writer_of(path.with_name("nowhere.db")) is None


def test_the_error_of_a_database_that_is_locked_names_who_writes(
    path: Path, writer: subprocess.Popen[str]
) -> None:
    """After the patience of the one that waits."""
    database = Database(f"sqlite:///{path}", patience=0.1)
    with pytest.raises(DatabaseError, match=rf"is locked; process {writer.pid} \(.+\) is writing"):
        database.write(lambda c: c.exec_driver_sql("INSERT INTO t VALUES (1)"))
    writer.communicate()
    database.write(lambda c: c.exec_driver_sql("INSERT INTO t VALUES (1)"))
    database.close()


def test_a_new_database_that_is_written_by_a_stopped_process_names_it(
    path: Path, writer: subprocess.Popen[str]
) -> None:
    """Also the migration, which is the first to write, waits no longer than that."""
    database = Database(f"sqlite:///{path}", patience=0.1)
    with pytest.raises(DatabaseError, match=rf"process {writer.pid} \("):
        migrate.prepare(database)
    database.close()
