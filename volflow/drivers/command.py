"""One external command: run, watched, and ended with everything it started.

A command inherits the locks that its caller holds (:func:`volflow.locks.inherited_fds`), so that
a volume stays locked while a command of a killed worker still runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from volflow import locks
from volflow.exceptions import DriverError, TransientDriverError

LOG = logging.getLogger(__name__)

REAP_SECONDS = 2.0
"""How long a killed command may take to go; one that waits for a dead disk stays behind."""


class CommandFailed(DriverError):
    """A command ended with another exit code than 0; drivers translate it at their border.

    :ivar exit_code: the exit code; a negative one is the signal that ended the command.
    :ivar stderr: what the command wrote there, with its secrets masked.
    """

    def __init__(self, message: str = "", exit_code: int | None = None, stderr: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.stderr = stderr

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.message, self.exit_code, self.stderr))


class CommandMissing(DriverError):
    """A command is not installed."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a successful command wrote.

    :ivar stdout: as it came, secrets included, and therefore not in the repr.
    :ivar stderr: with the secrets masked.
    """

    stdout: str = field(repr=False)
    stderr: str


def mask(text: str, secrets: Iterable[str]) -> str:
    """Replace every secret in the text.

    >>> mask("--password hunter2", ["hunter2"])
    '--password ***'
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    secrets: Iterable[str] = (),
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Run a command without a shell, in the C locale, and return what it wrote.

    :param timeout: seconds; then the command and all that it started are killed.
    :param secrets: strings that no error and no log may show.
    :param env: variables to add to the environment.
    :raises CommandFailed: the exit code is not 0.
    :raises TransientDriverError: it did not end in time; what it did is unknown.
    :raises CommandMissing: it is not installed.
    :raises DriverError: it could not be started.
    """
    secrets = tuple(secrets)
    shown = mask(" ".join(argv), secrets)
    began = time.monotonic()
    process = _start(argv, env)
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        gone = _kill(process)
        raise TransientDriverError(
            f"{shown} did not end within {timeout:g} seconds and was killed"
            + ("" if gone else ", but it is still there")
        ) from None
    except BaseException:
        _kill(process)
        raise
    LOG.debug(
        "%s: exit code %d in %.1f ms",
        shown,
        process.returncode,
        (time.monotonic() - began) * 1000,
    )
    stderr = mask(stderr, secrets)
    if process.returncode:
        said = stderr.strip() or mask(stdout, secrets).strip() or "it gave no reason"
        raise CommandFailed(
            f"{shown} failed with exit code {process.returncode}: {said}",
            process.returncode,
            stderr,
        )
    return Completed(stdout, stderr)


def _path() -> str:
    """Return the search path with the directories of storage tools, which a service's may lack."""
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


def _start(argv: Sequence[str], env: Mapping[str, str] | None) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **(env or {}), "PATH": _path(), "LC_ALL": "C"},
            pass_fds=locks.inherited_fds(),
            # A group of its own can be killed as a whole, and hears no Ctrl-C half way.
            start_new_session=True,
        )
    except FileNotFoundError:
        raise CommandMissing(f"the command {argv[0]} is not installed") from None
    except OSError as error:
        raise DriverError(f"the command {argv[0]} cannot be run: {error.strerror}") from error


def _kill(process: subprocess.Popen[str]) -> bool:
    """Kill the command's process group; False where the kernel does not let it go."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(REAP_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True
