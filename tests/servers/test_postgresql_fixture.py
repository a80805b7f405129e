"""The PostgreSQL fixture: it starts, answers, and is gone afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from tests.servers.postgresql import PostgresqlServer, running_server, server_binaries
from tests.servers.process import (
    PREFIX,
    descendants,
    is_running,
    make_directory,
    sweep,
    temporary_root,
)

RequireBinary = Callable[..., Path]

OWNER = """
import sys, time
from pathlib import Path
from tests.servers.postgresql import PostgresqlServer
server = PostgresqlServer(Path(sys.argv[1]), Path(sys.argv[2]), fsync=False)
server.start()
print(server.pid, server.directory, flush=True)
time.sleep(600)
"""


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def execute(url: str, statement: str) -> None:
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        connection.execute(sa.text(statement))


def scalar(url: str, statement: str) -> object:
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        return connection.execute(sa.text(statement)).scalar()


def test_a_database_answers_under_its_url(postgresql_url: str) -> None:
    assert postgresql_url.startswith("postgresql+psycopg://")
    assert "UTF8" == scalar(postgresql_url, "SHOW server_encoding")


def test_commits_wait_for_the_disk_unless_told_otherwise(
    postgresql_url: str, request: pytest.FixtureRequest
) -> None:
    expected = "off" if request.config.getoption("--no-fsync") else "on"
    assert expected == scalar(postgresql_url, "SHOW fsync")


def test_each_test_has_a_database_of_its_own(postgresql_server: PostgresqlServer) -> None:
    first, second = (postgresql_server.create_database() for _ in range(2))
    execute(first, "CREATE TABLE only_here (id int)")
    assert "only_here" == scalar(first, "SELECT to_regclass('only_here')::text")
    assert scalar(second, "SELECT to_regclass('only_here')::text") is None
    postgresql_server.drop_database(first)
    postgresql_server.drop_database(second)


def test_a_template_is_filled_once_and_copied(postgresql_server: PostgresqlServer) -> None:
    filled = []

    def fill(url: str) -> None:
        filled.append(url)
        execute(url, "CREATE TABLE migrated AS SELECT 42 AS answer")

    for _ in range(2):
        template = postgresql_server.template("filled", fill)
        url = postgresql_server.create_database(template)
        assert 42 == scalar(url, "SELECT answer FROM migrated")
        postgresql_server.drop_database(url)
    assert 1 == len(filled)


def test_a_database_with_connections_is_dropped(postgresql_server: PostgresqlServer) -> None:
    url = postgresql_server.create_database()
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        postgresql_server.drop_database(url)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_no_process_and_no_directory_is_left_after_an_error(
    require_binary: RequireBinary,
) -> None:
    pids: list[int] = []
    directories: list[Path] = []

    def fail_beside_an_open_connection() -> None:
        with running_server(require_binary, fsync=False) as server:
            assert server.pid is not None
            pids.extend([server.pid, *descendants(server.pid)])
            directories.append(server.directory)
            url = server.create_database().replace("+psycopg", "")
            with psycopg.connect(url):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_beside_an_open_connection()
    assert len(pids) > 1
    # A child may outlive the server by the moment that its own exit takes.
    wait_until(lambda: not any(map(is_running, pids)))
    assert [] == [pid for pid in pids if is_running(pid)]
    assert [False] == [directory.exists() for directory in directories]


def test_committed_rows_survive_a_kill_of_the_server(require_binary: RequireBinary) -> None:
    with running_server(require_binary) as server:
        url = server.create_database()
        execute(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        server.kill()
        server.restart()
        assert 42 == scalar(url, "SELECT answer FROM kept")


def test_the_server_of_a_killed_owner_ends_and_is_swept(require_binary: RequireBinary) -> None:
    binaries = server_binaries(require_binary)
    setpriv = require_binary("setpriv", "util-linux")
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(binaries), str(setpriv)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert owner.stdout is not None
    with owner, owner.stdout:
        pid, _, directory = owner.stdout.readline().strip().partition(" ")
        assert is_running(int(pid))
        owner.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not is_running(int(pid)))
    assert Path(directory).name.startswith(PREFIX)
    sweep()
    assert not Path(directory).exists()


def test_a_living_owners_directory_is_not_swept() -> None:
    directory, lock = make_directory("nothing")
    sweep()
    assert directory.exists()
    assert temporary_root() == directory.parent
    os.close(lock)
    sweep()
    assert not directory.exists()
