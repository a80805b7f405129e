"""Locks that the kernel keeps."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from volflow.locks import FileLock, LockBusy, inherited_fds, is_free, locked


def test_a_lock_is_held_by_one_and_names_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, 0, "operation 7"), pytest.raises(LockBusy, match="operation 7"):
        FileLock(path).acquire()
    with locked(path, 0):
        assert not is_free(path)
    assert is_free(path)


def test_a_file_that_is_gone_is_free(tmp_path: Path) -> None:
    assert is_free(tmp_path / "nothing")


def test_a_waiter_gets_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = FileLock(path)
    holder.acquire()
    waits = threading.Event()
    got: list[bool] = []

    def wait() -> None:
        waits.set()
        with locked(path, 30):
            got.append(True)

    thread = threading.Thread(target=wait)
    thread.start()
    waits.wait()
    holder.release()
    thread.join()
    assert [True] == got


def test_who_waited_for_a_file_that_was_discarded_locks_the_new_one(tmp_path: Path) -> None:
    """Two holders, one of the old file and one of the new, would both believe in their lock."""
    path = tmp_path / "lock"
    first = FileLock(path)
    first.acquire()
    old = os.open(path, os.O_RDWR)
    first.discard()
    second = FileLock(path)
    second.acquire()
    assert os.fstat(old).st_ino != path.stat().st_ino
    with pytest.raises(LockBusy):
        FileLock(path).acquire()
    second.release()
    os.close(old)


def test_a_command_inherits_the_lock_and_outlives_its_parent_with_it(tmp_path: Path) -> None:
    """When a worker is killed while its lvcreate runs, its successor has to wait for that."""
    path = tmp_path / "lock"
    lock = FileLock(path)
    lock.acquire()
    child = subprocess.Popen(
        ["/bin/cat"], stdin=subprocess.PIPE, pass_fds=inherited_fds(), start_new_session=True
    )
    lock.release()
    assert not is_free(path)
    child.kill()
    child.communicate()
    assert is_free(path)


def test_a_lock_that_is_not_to_be_inherited_is_not(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "owner", inherited=False)
    lock.acquire()
    assert () == inherited_fds()
    lock.release()


def _hold(path: Path, held: threading.Event) -> None:
    FileLock(path).acquire()
    held.set()
    signal.pause()


def test_the_kernel_releases_a_killed_processs_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    spawn = multiprocessing.get_context("spawn")
    held = spawn.Event()
    process = spawn.Process(target=_hold, args=(path, held))
    process.start()
    assert held.wait(60)
    assert not is_free(path)
    process.kill()
    process.join()
    assert is_free(path)
