"""Who holds SQLite's write lock: the process that all other writers of a database wait for.

Only one process writes a SQLite database at a time, and one that is stopped inside a
transaction holds the others until it goes on. In WAL mode the write lock is a POSIX lock on one
byte of the ``-shm`` file, and the kernel names its holder in ``/proc/locks`` (Linux 6)::

    2: POSIX  ADVISORY  WRITE 3576 fe:00:2146531 120 120
"""

from __future__ import annotations

import os
from pathlib import Path

WRITE_LOCK = 120
"""The byte: ``WALINDEX_LOCK_OFFSET + WAL_WRITE_LOCK`` in SQLite's ``wal.c``."""

_STATES = {"T": "stopped", "t": "stopped by a debugger", "D": "waiting for a disk"}


def writer_of(path: Path) -> str | None:
    """Name the process that holds the write lock of the SQLite file ``path``.

    :returns: such as ``process 3576 (python worker.py, stopped)``; None: nobody holds it, or
        this system does not tell.
    """
    try:
        found = path.with_name(f"{path.name}-shm").stat()
        locks = Path("/proc/locks").read_text()
    except OSError:
        return None
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    for line in locks.splitlines():
        pid = _holder(line.split(), f"{device}:{found.st_ino}")
        if pid is not None:
            return _described(pid)
    return None


def _holder(words: list[str], file: str) -> int | None:
    """The process that holds the write lock, by one line; a line with ``->`` only waits."""
    if len(words) != 8 or words[1] != "POSIX" or words[3] != "WRITE" or words[5] != file:
        return None
    last = float("inf") if words[7] == "EOF" else int(words[7])
    return int(words[4]) if int(words[6]) <= WRITE_LOCK <= last else None


def _described(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return f"process {pid}"
    notes = [_command(words), *filter(None, [_STATES.get(state)])]
    return f"process {pid} ({', '.join(notes)})"


def _command(words: list[str]) -> str:
    """The program and its script or module; what follows may hold a secret."""
    shown = [os.path.basename(words[0])]  # noqa: PTH119 - it is no path of ours
    if words[1:2] == ["-m"]:
        shown += words[1:3]
    elif len(words) > 1 and not words[1].startswith("-"):
        shown.append(words[1])
    return " ".join(shown)
