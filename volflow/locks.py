"""Locks that the kernel releases at a process's death, and that a driver's commands inherit.

An ``flock`` belongs to the open file description: a child that inherited the descriptor
keeps the lock after its parent was killed, so that a successor never works beside an
``lvcreate`` that still runs.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from volflow.clock import SYSTEM_CLOCK, Clock

HOLDER_LENGTH = 64

_held: ContextVar[tuple[int, ...]] = ContextVar("volflow_held_locks", default=())


class LockBusy(Exception):
    """Another process or thread holds the lock."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path.name} is held by {holder or 'an unknown process'}")
        self.holder = holder


def inherited_fds() -> tuple[int, ...]:
    """Descriptors that a command started now has to inherit (``subprocess``' ``pass_fds``)."""
    return _held.get()


class FileLock:
    """An flock on one file, which names its holder.

    The file may be unlinked by a holder (:meth:`discard`), so that taking it checks that the
    name still leads to the file that was locked.
    """

    def __init__(self, path: Path, inherited: bool = True, clock: Clock = SYSTEM_CLOCK) -> None:
        """:param inherited: whether commands that are started under it hold it, too."""
        self.path = path
        self._inherited = inherited
        self._clock = clock
        self._fd: int | None = None

    def acquire(self, timeout: float = 0.0, holder: str = "") -> None:
        """Take the lock.

        :param timeout: seconds to wait; 0 tries once.
        :param holder: what to write into the file for those who find it taken.
        :raises LockBusy: it was not free in time.
        """
        until = self._clock.monotonic() + timeout
        pause = 0.001
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                who = os.pread(fd, 4 * HOLDER_LENGTH, 0).decode(errors="replace").strip()
                os.close(fd)
                if self._clock.monotonic() >= until:
                    raise LockBusy(self.path, who) from None
                self._clock.sleep(min(pause, max(0.0, until - self._clock.monotonic())))
                pause = min(pause * 2, 0.05)
                continue
            except BaseException:
                os.close(fd)
                raise
            if self._is_named(fd):
                break
            os.close(fd)
        self._fd = fd
        if self._inherited:
            _held.set((*_held.get(), fd))
        if holder:
            with suppress(OSError):  # a full disk: the lock is held, only not by name
                os.pwrite(fd, holder[:HOLDER_LENGTH].ljust(HOLDER_LENGTH).encode(), 0)

    def release(self) -> None:
        """Give the lock back; a child that inherited it still holds it."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            _held.set(tuple(f for f in _held.get() if f != fd))
            os.close(fd)

    def discard(self) -> None:
        """Unlink the file while the lock is held, then give it back."""
        if self._fd is not None:
            with suppress(FileNotFoundError):
                self.path.unlink()
        self.release()

    @property
    def held(self) -> bool:
        """True while this object holds the lock."""
        return self._fd is not None

    def _is_named(self, fd: int) -> bool:
        try:
            named = os.stat(self.path)
        except FileNotFoundError:
            return False
        mine = os.fstat(fd)
        return (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino)


@contextmanager
def locked(path: Path, timeout: float, holder: str = "") -> Iterator[None]:
    """Hold the flock on ``path``.

    :raises LockBusy: it was not free within ``timeout`` seconds.
    """
    lock = FileLock(path)
    lock.acquire(timeout, holder)
    try:
        yield
    finally:
        lock.release()


def is_free(path: Path) -> bool:
    """True where nobody holds the flock on ``path``; a file that is gone is free."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
