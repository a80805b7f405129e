"""volflow.cli.program: errors as one sentence, exit codes, pipes and signals."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import volflow
from tests.unit.cli.conftest import Shell
from volflow import exceptions
from volflow.cli.exits import EXITS, exit_code

ERRORS = [e for _, e in inspect.getmembers(exceptions, inspect.isclass)]
CODES = {
    "BoardError": 7,
    "DatabaseError": 7,
    "Fenced": 8,
    "InvalidVolume": 4,
    "OperationConflict": 4,
    "RollbackIncomplete": 6,
    "ConnectionInUse": 6,
    "VolflowError": 1,
}
"""The others: NotFound 3, InvalidInput 2, DriverError 5."""


def run(sh: Shell, *words: str, **options: object) -> subprocess.Popen[str]:
    """Start the program as a process of its own."""
    root = Path(volflow.__path__[0]).parent
    paths = [str(sh.directory.parent / "site"), str(root)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "VOLFLOW_CONFIG": str(sh.config),
        "PYTHONWARNINGS": "default::ResourceWarning",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "volflow.cli", *words],
        env=environment,
        text=True,
        stderr=subprocess.PIPE,
        **options,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize("error", [e for e in ERRORS if issubclass(e, exceptions.VolflowError)])
def test_every_error_has_its_exit_code(error: type[exceptions.VolflowError]) -> None:
    families = (exceptions.NotFound, exceptions.InvalidInput, exceptions.DriverError)
    family = next((c for c, f in zip((3, 2, 5), families, strict=True) if issubclass(error, f)), 1)
    assert CODES.get(error.__name__, family) == exit_code(error("x"))


def test_what_is_none_of_ours_is_a_bug() -> None:
    assert 1 == exit_code(ValueError())
    assert 2 == exit_code(click.UsageError("x"))


def test_help_tells_every_exit_code(sh: Shell) -> None:
    shown = sh.ok("--help")
    for row in EXITS:
        assert f"{row.code:<4} {row.meaning}" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_help_of_every_command_fits_80_columns(sh: Shell) -> None:
    def walk(command: click.Command, words: list[str]) -> None:
        shown = sh.ok(*words, "--help")
        assert max(map(len, shown.splitlines())) <= 80
        if isinstance(command, click.Group):
            for name, found in command.commands.items():
                walk(found, [*words, name])
        else:
            assert "--json" in shown

    walk(volflow_main(), [])


def volflow_main() -> click.Group:
    from volflow.cli import main

    return main


def test_version(sh: Shell) -> None:
    assert volflow.__version__ in sh.ok("--version")


def test_json_may_stand_before_the_command(sh: Shell) -> None:
    sh.volume()
    assert sh.ok("volume", "list", "--json") == sh.ok("--json", "volume", "list")


def test_a_bug_is_one_sentence_and_a_hint(sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of course")

    sh.volume()
    monkeypatch.setattr("volflow.cli.volumes.volume_json", broken)
    done = sh("volume", "list", "--json")
    assert (1, "") == (done.exit_code, done.stdout)
    assert "ZeroDivisionError" in done.stderr
    assert "VOLFLOW_DEBUG=1" in done.stderr
    assert "Traceback" not in done.stderr
    loud = sh("volume", "list", "--json", env={"VOLFLOW_DEBUG": "1"})
    assert "Traceback" in loud.stderr


def test_a_configuration_that_is_wrong_is_bad_input(sh: Shell) -> None:
    assert "there is no" in sh.refused(2, "--config", "/nonexistent", "volume", "list")
    good = sh.config.read_text()
    for text in ("[volflow", "[other]\n", good.replace("driver = local", ""), "\xff\n"):
        sh.config.write_text(text)
        sh.refused(2, "volume", "list")
    sh.config.write_text(good.replace("driver = local", "driver = bogus"))
    words = ("volume", "create", "--size", "1", "--backend", "lab")
    assert "bogus" in sh.refused(2, *words)


def test_a_reader_that_leaves_ends_it_quietly(sh: Shell) -> None:
    sh.volume()
    for words in (["volume", "list"], ["volume", "list", "--json"]):
        reading, writing = os.pipe()
        os.close(reading)
        process = run(sh, *words, stdout=writing)
        os.close(writing)
        assert "" == process.communicate(timeout=60)[1]
        assert 141 == process.returncode


def test_the_program_runs_as_a_process(sh: Shell) -> None:
    """When it is run outside the tests, nothing warns and nothing is left open."""
    process = run(sh, "volume", "create", "--size", "1", "--backend", "lab")
    stderr = process.communicate(timeout=60)[1]
    assert ("", 0) == (stderr, process.returncode)
