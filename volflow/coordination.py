"""The volume's lock: whoever changes a volume on its backend holds it.

On one host it is an flock (:class:`~volflow.locks.FileLock`), which the driver's commands inherit.
Where several hosts share a backend, a lock of a tooz backend is held beside it. That one may be
lost while its holder is stopped, since its server cannot know better: the epoch then fences the
holder's commits, and recovery compares the volume with the backend once more.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from math import ceil
from pathlib import Path

import tooz
from tooz.coordination import CoordinationDriver, get_coordinator
from tooz.locking import Lock

from volflow.clock import SYSTEM_CLOCK, Clock
from volflow.exceptions import InvalidInput
from volflow.locks import FileLock, LockBusy

LOG = logging.getLogger(__name__)


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
        self._url = url
        self._member = member
        self._clock = clock
        self._guard = threading.Lock()
        self._process = 0
        self._coordinator: CoordinationDriver | None = None
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if url is not None:
            self._check(url)

    def of(self, volume_id: str) -> VolumeLock:
        """The lock of a volume, not taken yet."""
        own = FileLock(self.path(volume_id), clock=self._clock)
        return VolumeLock(own, self if self._url else None, volume_id)

    def path(self, volume_id: str) -> Path:
        """The file of a volume's lock on this host."""
        return self._directory / f"{volume_id}.lock"

    def forget(self, volume_id: str) -> None:
        """Remove the lock file of a volume that is gone, unless somebody looks at it."""
        lock = FileLock(self.path(volume_id), clock=self._clock)
        with suppress(LockBusy, OSError):
            lock.acquire()
            lock.discard()

    def between_hosts(self, volume_id: str) -> Lock:
        """The volume's lock on the tooz backend.

        :raises tooz.ToozError: it cannot be reached.
        """
        with self._guard:
            if self._coordinator is None or self._process != os.getpid():
                # A fork has the parent's connection, and must not speak on it.
                self._coordinator, self._process = self._started(), os.getpid()
            return self._coordinator.get_lock(f"volflow-{volume_id}".encode())

    def close(self) -> None:
        """Leave the tooz backend; locks that are still held there are given back."""
        with self._guard:
            if self._coordinator is not None and self._process == os.getpid():
                try:
                    self._coordinator.stop()
                except tooz.ToozError as e:
                    LOG.warning("the lock server could not be told: %s", e)
            self._coordinator = None

    def _started(self) -> CoordinationDriver:
        member = f"{self._member}-{os.getpid()}".encode()
        found = get_coordinator(self._url or "", member)
        found.start(start_heart=True)
        return found

    def _check(self, url: str) -> None:
        try:
            get_coordinator(url, self._member.encode())
        except Exception as e:
            raise InvalidInput(f"this is no lock server that tooz knows: {_reason(e)}") from e


class VolumeLock:
    """A volume's lock, held by one run at a time.

    :param own: this host's.
    :param others: where to get the one between hosts; None: there is none.
    """

    def __init__(self, own: FileLock, others: VolumeLocks | None, volume_id: str) -> None:
        self._own = own
        self._others = others
        self._volume_id = volume_id
        self._between: Lock | None = None

    def acquire(self, seconds: float = 0.0, holder: str = "") -> None:
        """Take it.

        :param seconds: how long to wait; 0 tries once.
        :param holder: what others read who find it taken.
        :raises LockBusy: somebody else has it, or the lock server cannot be reached.
        """
        self._own.acquire(seconds, holder)
        if self._others is None:
            return
        try:
            found = self._others.between_hosts(self._volume_id)
            if not found.acquire(blocking=seconds > 0, timeout=ceil(seconds) or None):
                raise LockBusy(self._own.path, "a process of another host")
            self._between = found
        except tooz.ToozError as e:
            self._own.release()
            raise LockBusy(self._own.path, f"nobody known: the lock server fails: {e}") from e
        except BaseException:
            self._own.release()
            raise

    def release(self) -> None:
        """Give it back; none held is no error."""
        between, self._between = self._between, None
        try:
            if between is not None:
                between.release()
        except tooz.ToozError as e:
            LOG.warning("the lock of volume %s ends with its time: %s", self._volume_id, e)
        finally:
            self._own.release()

    @property
    def held(self) -> bool:
        """True while this object holds it."""
        return self._own.held


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
