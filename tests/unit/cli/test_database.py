"""volflow.cli.database, and databases that cannot be used."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Shell


def test_a_schema_is_made_once(sh: Shell) -> None:
    found = sh.json("db", "upgrade")
    assert (None, f"sqlite:///{sh.database}") == (found["before"], found["database"])
    assert "already" in sh.ok("db", "upgrade")
    version = sh.json("db", "version")
    assert version["version"] == version["needed"] == found["version"]
    assert found["version"] in sh.ok("db", "version")


def test_an_empty_database_says_what_to_do(sh: Shell) -> None:
    sh.database.touch()
    done = sh("db", "version")
    assert 0 == done.exit_code
    assert "no schema" in done.stdout
    assert "volflow db upgrade" in done.stderr
    assert sh.json("db", "version")["version"] is None


@pytest.mark.parametrize(
    "words",
    [
        ["volume", "list"],
        ["volume", "show", "00000000-0000-4000-8000-000000000000"],
        ["operation", "list"],
        ["recover"],
        ["db", "version"],
    ],
)
def test_a_mistyped_path_makes_no_database(sh: Shell, words: list[str]) -> None:
    """When the file is not there, nothing makes it but a first volume or an upgrade."""
    before = sh.state()
    assert "there is no database" in sh.refused(7, *words)
    assert "DatabaseError" == sh.refused_json(7, *words)["type"]
    assert before == sh.state()


def test_a_file_that_is_no_database_is_refused(sh: Shell, tmp_path: Path) -> None:
    file = tmp_path / "garbage"
    file.write_text("garbage " * 1000)
    for words in (["volume", "list"], ["db", "version"], ["db", "upgrade"]):
        sentence = sh.refused(7, "--database", f"sqlite:///{file}", *words)
        assert "file is not a database" in sentence


def test_a_directory_that_is_missing_is_named(sh: Shell, tmp_path: Path) -> None:
    sh.refused(7, "db", "upgrade", "--database", f"sqlite:///{tmp_path}/none/volflow.db")


def test_a_database_overrides_the_configuration(sh: Shell, tmp_path: Path) -> None:
    """When it stands before the command or after it."""
    sh.volume()
    other = f"sqlite:///{tmp_path}/other.db"
    sh.ok("db", "upgrade", "--database", other)
    assert [] == sh.json("volume", "list", "--database", other)
    assert [] == sh.json("--database", other, "volume", "list")
    assert 1 == len(sh.json("volume", "list"))


def test_a_database_alone_needs_no_configuration(
    sh: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    sh.volume()
    monkeypatch.setattr("volflow.cli.opening.DEFAULT_CONFIG", Path("/nonexistent"))
    words = ("--database", f"sqlite:///{sh.database}", "volume", "list")
    done = sh(*words, env={"VOLFLOW_CONFIG": ""})
    assert (0, 2) == (done.exit_code, len(done.stdout.splitlines()))
    done = sh("volume", "list", env={"VOLFLOW_CONFIG": ""})
    assert 2 == done.exit_code
    assert "--config" in done.stderr


@pytest.mark.parametrize("url", ["nonsense", "foo://user:hidden@host/db", "sqlite://"])
def test_a_url_that_is_none_is_bad_input(sh: Shell, url: str) -> None:
    assert "hidden" not in sh.refused(2, "--database", url, "db", "version")


def test_a_server_that_is_not_there_is_named_without_its_password(sh: Shell) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"postgresql+psycopg://u:hidden@127.0.0.1:{probe.getsockname()[1]}/db"
        error = sh.refused_json(7, "--database", url, "db", "version")
    assert "hidden" not in error["message"]
    assert "u:***@127.0.0.1" in error["message"]


def test_a_server_that_says_nothing_is_given_up(
    sh: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it accepts the connection and is silent, no command hangs."""
    monkeypatch.setattr("volflow.cli.opening.CONNECT_SECONDS", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"postgresql+psycopg://u:p@127.0.0.1:{silent.getsockname()[1]}/db"
        assert "timeout" in sh.refused(7, "--database", url, "db", "version")


def test_purge_counts_what_it_deletes(sh: Shell, tmp_path: Path) -> None:
    """When nothing is old enough, nothing."""
    sh.volume()
    kept = tmp_path / "kept.jsonl"
    found = sh.json("db", "purge", "--older-than", "30d", "--archive", str(kept))
    assert {"purged": {"operations": 0, "attachments": 0, "volumes": 0}} == found
    assert "0 operations" in sh.ok("db", "purge", "--older-than", "90m")


@pytest.mark.parametrize("age", ["30", "d", "1.5h", "-2d", "1y", ""])
def test_what_is_no_age_is_refused(sh: Shell, age: str) -> None:
    assert "is no age" in sh.refused(2, "db", "purge", "--older-than", age)


def test_an_age_below_an_hour_is_refused(sh: Shell) -> None:
    sh.volume()
    assert "3600 seconds" in sh.refused(2, "db", "purge", "--older-than", "59m")
