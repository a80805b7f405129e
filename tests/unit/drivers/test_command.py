"""volflow.drivers.command: what runs, what it inherits, how it ends."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import time
from pathlib import Path

import pytest

from volflow import locks
from volflow.drivers import command
from volflow.exceptions import DriverError, TransientDriverError


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-c", code, *arguments]


def test_the_output_comes_back():
    """When a command succeeds, both streams come back as text."""
    done = command.run(
        python("import sys; print('out'); print('err', file=sys.stderr)"), timeout=10
    )

    assert ("out\n", "err\n") == (done.stdout, done.stderr)


def test_the_locale_is_c_and_variables_can_be_added():
    """When a command runs, its messages are in English, whatever the service's locale is."""
    done = command.run(
        python("import os; print(os.environ['LC_ALL'], os.environ['EXTRA'])"),
        timeout=10,
        env={"EXTRA": "1", "LC_ALL": "de_DE"},
    )

    assert done.stdout == "C 1\n"


def test_no_shell_reads_the_arguments():
    """When an argument looks like shell, it arrives as it is."""
    nasty = "$(id); `id` > /dev/null | * ~"

    done = command.run(python("import sys; print(sys.argv[1])", nasty), timeout=10)

    assert done.stdout == f"{nasty}\n"


def test_programs_in_sbin_are_found_without_a_path(monkeypatch):
    """When a service's PATH lacks /usr/sbin, storage tools are found there."""
    monkeypatch.setenv("PATH", "/usr/bin")

    assert command.run(["chroot", "--version"], timeout=10).stdout


def test_a_failure_tells_the_exit_code_and_the_message():
    """When a command fails, the error has its exit code and its stderr."""
    code = "import sys; print('no space', file=sys.stderr); sys.exit(5)"

    with pytest.raises(command.CommandFailed, match="failed with exit code 5: no space") as caught:
        command.run(python(code), timeout=10)

    assert (5, "no space\n") == (caught.value.exit_code, caught.value.stderr)


def test_a_failure_survives_pickling():
    """When an error crosses processes, its fields do too."""
    again = pickle.loads(pickle.dumps(command.CommandFailed("x failed", 5, "no")))

    assert ("x failed", 5, "no") == (str(again), again.exit_code, again.stderr)


def test_secrets_are_masked_in_errors_and_logs(caplog):
    """When a command has a secret and fails, no error, repr or log shows it."""
    caplog.set_level(logging.DEBUG)
    code = "import sys; print('bad', sys.argv[1], file=sys.stderr); sys.exit(1)"

    with pytest.raises(command.CommandFailed) as caught:
        command.run(python(code, "hunter2"), timeout=10, secrets=["hunter2", ""])

    shown = f"{caught.value!r} {caught.value} {caught.value.stderr} {caplog.text}"
    assert "hunter2" not in shown
    assert "bad ***" in shown


def test_secrets_are_masked_when_time_runs_out():
    """When a command with a secret hangs, the error does not show it."""
    with pytest.raises(TransientDriverError) as caught:
        command.run(
            python("import time; time.sleep(60)", "hunter2"), timeout=0.1, secrets=["hunter2"]
        )

    assert "hunter2" not in str(caught.value)


def test_output_is_not_in_the_repr():
    """When a result is logged by mistake, what the command printed stays out."""
    assert "hunter2" not in repr(command.run(python("print('hunter2')"), timeout=10))


def test_a_hanging_command_is_killed_with_its_children(tmp_path: Path):
    """When time runs out, the command and what it started end, and the call returns."""
    script = 'sleep 60 & echo $! > "$0"; wait'
    began = time.monotonic()

    with pytest.raises(TransientDriverError, match="did not end within 1 seconds and was killed"):
        command.run(["sh", "-c", script, str(tmp_path / "pid")], timeout=1)

    assert time.monotonic() - began < 10
    assert gone(int((tmp_path / "pid").read_text()))


def gone(pid: int) -> bool:
    """Poll until a process has ended; an orphan may stay a zombie until it is reaped."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_a_command_holds_the_locks_of_its_caller(tmp_path: Path):
    """When a command outlives the worker that ran it, the volume stays locked."""
    code = (
        "import os, sys, subprocess\n"
        "child = subprocess.Popen(['sleep', '30'], close_fds=False,"
        " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(child.pid)\n"
    )
    lock = locks.FileLock(tmp_path / "lock")
    lock.acquire()

    child = int(command.run(python(code), timeout=10).stdout)
    lock.release()

    assert not locks.is_free(lock.path)
    os.kill(child, 9)
    end = time.monotonic() + 5
    while not locks.is_free(lock.path):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_other_descriptors_are_not_inherited(tmp_path: Path):
    """When a command runs, it gets no descriptor but its own three."""
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        code = "import os; print(sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:4])"
        shown = command.run(python(code), timeout=10).stdout

    assert shown == "[0, 1, 2, 3]\n"  # 3 is the directory that it lists


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("volflow-no-such-command", "the command volflow-no-such-command is not installed"),
        ("/", "the command / cannot be run: Permission denied"),
    ],
)
def test_a_command_that_cannot_start_is_a_clear_error(name: str, message: str):
    """When a program is missing or is none, one sentence says so."""
    with pytest.raises(DriverError) as caught:
        command.run([name], timeout=10)

    assert str(caught.value) == message
