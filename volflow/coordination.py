"""The volume's lock: whoever changes a volume on its backend holds it.

On one host it is an flock (:class:`~volflow.locks.FileLock`), which the driver's commands inherit.
Where several hosts share a backend, a lock of a tooz backend is held beside it. That one may be
lost while its holder is stopped, since its server cannot know better: the epoch then fences the
holder's commits, and recovery compares the volume with the backend once more.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tooz.locking import Lock

from volflow.clock import SYSTEM_CLOCK, Clock
from volflow.locks import FileLock, LockBusy
from volflow.lockserver import LockServer, NoAnswer

PAUSE_SECONDS = 0.01
PAUSE_SECONDS_MAX = 0.5


class LockUnknown(LockBusy):
    """The lock server did not say whether the lock is free."""

    def __init__(self, error: NoAnswer) -> None:
        Exception.__init__(self, str(error))
        self.holder = ""


class VolumeLocks:
    """Makes the locks of volumes.

    :param directory: where this host's lock files are.
    :param url: the tooz backend that all hosts share; None: there is one host.
    :param member: this process's name on it, unique.
    :raises InvalidInput: tooz has no such backend.
    """

    def __init__(
        self, directory: Path, url: str | None, member: str, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._server = None if url is None else LockServer(url, member)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def of(self, volume_id: str, elsewhere: str = "a process of another host") -> VolumeLock:
        """The lock of a volume, not taken yet.

        :param elsewhere: who holds it where another host does, as far as anybody knows.
        """
        own = FileLock(self.path(volume_id), clock=self._clock)
        return VolumeLock(own, self._server, _name(volume_id), elsewhere, self._clock)

    def path(self, volume_id: str) -> Path:
        """The file of a volume's lock on this host."""
        return self._directory / f"{volume_id}.lock"

    def forget(self, volume_id: str) -> None:
        """Remove the lock of a volume that is gone, unless somebody looks at it."""
        if self._server is not None:
            self._server.forget(_name(volume_id))
        lock = FileLock(self.path(volume_id), clock=self._clock)
        with suppress(LockBusy, OSError):
            lock.acquire()
            lock.discard()

    def close(self) -> None:
        """Leave the lock server; locks that are still held there are given back."""
        if self._server is not None:
            self._server.close()


class VolumeLock:
    """A volume's lock, held by one run at a time.

    :param own: this host's.
    :param server: where the one between hosts is; None: there is none.
    :param name: of the one between hosts.
    """

    def __init__(
        self, own: FileLock, server: LockServer | None, name: str, elsewhere: str, clock: Clock
    ) -> None:
        self._own = own
        self._server = server
        self._name = name
        self._elsewhere = elsewhere
        self._clock = clock
        self._between: Lock | None = None

    def acquire(self, seconds: float = 0.0, holder: str = "") -> None:
        """Take it.

        :param seconds: how long to wait; 0 tries once.
        :param holder: what others of this host read who find it taken.
        :raises LockBusy: somebody else has it, or the lock server does not answer.
        """
        until = self._clock.monotonic() + seconds
        self._own.acquire(seconds, holder)
        if self._server is None:
            return
        try:
            self._between = self._taken(self._server, until)
        except NoAnswer as e:
            self._own.release()
            raise LockUnknown(e) from e
        except BaseException:
            self._own.release()
            raise

    def release(self) -> None:
        """Give it back; none held is no error."""
        between, self._between = self._between, None
        try:
            if between is not None and self._server is not None:
                self._server.release(between)
        finally:
            self._own.release()

    @property
    def held(self) -> bool:
        """True while this object holds it."""
        return self._own.held

    def _taken(self, server: LockServer, until: float) -> Lock:
        # Tried again and again: to wait for one means something else on each backend, on etcd
        # for ever.
        pause = PAUSE_SECONDS
        while (found := server.acquire(self._name)) is None:
            left = until - self._clock.monotonic()
            if left <= 0:
                raise LockBusy(self._own.path, self._elsewhere)
            self._clock.sleep(min(pause, left))
            pause = min(pause * 2, PAUSE_SECONDS_MAX)
        return found


def _name(volume_id: str) -> str:
    return f"volflow-{volume_id}"
