"""The CPU time of a server's processes, and a server that is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks.databases import Databases, MissingServer, require_binary, used


def test_the_time_of_a_server_is_what_its_processes_used_in_between() -> None:
    before = {1: 10.0, 2: 5.0}
    after = {1: 10.5, 3: 0.25}

    assert used(before, after) == pytest.approx(0.75)


def test_a_database_without_a_server_uses_no_time_of_one() -> None:
    assert used(None, None) is None


def test_a_program_that_is_missing_is_named_with_its_package() -> None:
    with pytest.raises(MissingServer, match=r"nowhere is not installed \(Debian: some-package\)"):
        require_binary("nowhere", "some-package")


def test_without_a_server_its_measurements_are_left_out_and_fail_in_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def nowhere(name: str) -> Iterator[Databases]:
        raise MissingServer("initdb is not installed (Debian: postgresql)")
        yield

    monkeypatch.setattr(program, "opened", nowhere)
    words = ["--database", "postgresql", "--only", "floor", "--json", str(tmp_path / "b.json")]

    monkeypatch.delenv("CI", raising=False)
    assert 0 == program.main(words)
    monkeypatch.setenv("CI", "true")
    assert 1 == program.main(words)

    assert "postgresql: initdb is not installed" in capsys.readouterr().out
