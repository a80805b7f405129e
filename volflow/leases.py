"""Who owns which operation: leases that a heartbeat renews, and the proof that an owner is dead.

Every process (more exactly: every open manager) has an identity, a name with an owner file that
it holds an flock on. The kernel releases the flock at the process's death, so that on the same
host nobody waits for a lease of the dead to expire. The name says on which boot of which host,
and in which directory, the file is: elsewhere an owner is judged by its lease alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from volflow.exceptions import DatabaseError
from volflow.locks import FileLock, LockBusy, is_free
from volflow.persistence import operations
from volflow.persistence.engine import Database

LOG = logging.getLogger(__name__)

OWN_FILE_SECONDS = 5.0


@dataclass
class _Identity:
    name: str
    lock: FileLock
    runs: set[str] = field(default_factory=set)


@dataclass
class _Held:
    identity: _Identity
    epoch: int
    call_began: float | None = None
    overdue: bool = False


class Leases:
    """The operations that this process runs now.

    :param directory: where owner files are.
    :param call_seconds: the limit of one driver call; past it the lease is renewed no more.
    """

    def __init__(
        self, database: Database, directory: Path, lease_seconds: float, call_seconds: float
    ) -> None:
        self._database = database
        self._clock = database.clock
        self._directory = directory / "owners"
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._place = _place(self._directory)
        self._lease_seconds = lease_seconds
        self._call_seconds = call_seconds
        self._identity: _Identity
        self.paused = False
        self._sweep()
        self._begin_anew()
        _follow_forks(self)

    @property
    def owner(self) -> str:
        """The name under which operations are claimed now."""
        return self._identity.name

    def close(self, wait_seconds: float | None = None) -> None:
        """Wait for the runs that go on, stop the heartbeat, and let go of the owner file.

        :param wait_seconds: how long at most; None: as long as a driver call may take.
        """
        limit = self._call_seconds if wait_seconds is None else wait_seconds
        with self._changed:
            self._clock.wait_for(self._changed, lambda: not self._held, limit)
        self._stop.set()
        self._thread.join()
        self._identity.lock.discard()

    def begin(self, operation_id: str, epoch: int) -> bool:
        """Enter a run; False where this process runs the operation already."""
        with self._changed:
            if operation_id in self._held:
                return False
            self._identity.runs.add(operation_id)
            self._held[operation_id] = _Held(self._identity, epoch)
            return True

    def owner_of(self, operation_id: str) -> str:
        """The name under which a run of this process claims its operation."""
        return self._held[operation_id].identity.name

    def end(self, operation_id: str) -> None:
        """Leave a run that ended in order, or failed."""
        with self._changed:
            held = self._held.pop(operation_id)
            held.identity.runs.discard(operation_id)
            if held.identity is not self._identity and not held.identity.runs:
                held.identity.lock.discard()
            self._changed.notify_all()

    def abandon(self, operation_id: str) -> None:
        """Leave a run as its process's death would: the identity that it ran under dies, too.

        Others see at once that nobody runs the operation. Runs that go on under the same
        identity keep it alive until they end.
        """
        try:
            with self._changed:
                if self._held[operation_id].identity is self._identity:
                    self._identity = self._new_identity()
        finally:
            self.end(operation_id)

    def wait_for_end(self, operation_id: str) -> None:
        """Wait until this process no longer runs the operation."""
        with self._changed:
            self._clock.wait_for(self._changed, lambda: operation_id not in self._held)

    def overdue(self) -> list[str]:
        """Operations whose driver call is past its limit."""
        with self._changed:
            return [key for key, held in self._held.items() if self._is_overdue(held)]

    def is_alive(self, owner: str) -> bool:
        """True where it is certain that the owner's process lives."""
        place, _, name = owner.rpartition(":")
        return place == self._place and not is_free(self._directory / name)

    def is_gone(self, owner: str) -> bool:
        """True where it is certain that the owner's process is dead."""
        place, _, name = owner.rpartition(":")
        return place == self._place and is_free(self._directory / name)

    def is_dead(self, owner: str, operation_id: str) -> bool:
        """True where it is certain that ``owner`` does not run the operation any more."""
        place, _, name = owner.rpartition(":")
        if place != self._place:
            return False
        with self._changed:
            held = self._held.get(operation_id)
            if owner == self._identity.name:
                return held is None
            if held is not None and held.identity.name == owner:
                return False
        return is_free(self._directory / name)

    @contextmanager
    def driver_call(self, operation_id: str) -> Iterator[None]:
        """Mark a driver call, so that one past its limit stops the renewal of the lease."""
        held = self._held[operation_id]
        held.call_began, held.overdue = self._clock.monotonic(), False
        try:
            yield
        finally:
            held.call_began = None

    def _begin_anew(self) -> None:
        self._changed = threading.Condition()
        self._beating = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._identity = self._new_identity()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="volflow-heartbeat", daemon=True)
        self._thread.start()

    def after_fork(self) -> None:
        """Be somebody else: the parent's runs and its identity are not this process's."""
        for identity in {id(h.identity): h.identity for h in self._held.values()}.values():
            identity.lock.release()
        self._identity.lock.release()
        self._begin_anew()

    def _new_identity(self) -> _Identity:
        name = f"{os.getpid()}-{secrets.token_hex(6)}"
        lock = FileLock(self._directory / name, inherited=False)
        try:
            lock.acquire(OWN_FILE_SECONDS)
        except (OSError, LockBusy) as e:
            raise DatabaseError(f"the owner file {lock.path} cannot be locked: {e}") from None
        return _Identity(f"{self._place}:{name}", lock)

    def _sweep(self) -> None:
        """Remove the owner files of the dead."""
        for path in self._directory.iterdir():
            with contextlib.suppress(LockBusy, OSError):
                lock = FileLock(path, inherited=False)
                lock.acquire()
                lock.discard()

    def _is_overdue(self, run: _Held) -> bool:
        began = run.call_began
        return began is not None and self._clock.monotonic() - began > self._call_seconds

    def _beat(self) -> None:
        stop = self._stop
        while not stop.wait(self._lease_seconds / 3):
            with self._beating:
                if not self.paused:
                    self.beat()

    def pause(self) -> None:
        """Let the heartbeat rest, from now on; a beat that goes on ends first."""
        self.paused = True
        with self._beating:
            pass

    def beat(self) -> None:
        """Renew the lease of every run of this process whose driver call is within its limit."""
        with self._changed:
            held = list(self._held.items())
        for operation_id, run in held:
            self._renew(operation_id, run)

    def _renew(self, operation_id: str, run: _Held) -> None:
        if self._is_overdue(run):
            if not run.overdue:
                run.overdue = True
                LOG.warning(
                    "a driver call of operation %s runs for more than %s s; "
                    "its lease is no longer renewed",
                    operation_id,
                    self._call_seconds,
                )
            return
        try:
            self._database.write(
                lambda c: operations.renew(c, operation_id, run.epoch, self._lease_seconds),
                landed=lambda c: True,  # the next beat renews it anyway
            )
        except DatabaseError as e:
            LOG.warning("the lease of operation %s could not be renewed: %s", operation_id, e)


def described(owner: str) -> str:
    """Name an owner to an operator."""
    host, _, rest = owner.partition(":")
    pid = rest.rpartition(":")[2].partition("-")[0]
    return f"process {pid} of host {host}"


def _place(directory: Path) -> str:
    """Where an owner file means something: this boot of this host, and this very directory."""
    found = directory.stat()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = "unknown"
    return f"{socket.gethostname()}:{boot}:{found.st_dev:x}-{found.st_ino:x}"


def _follow_forks(leases: Leases) -> None:
    followed = weakref.ref(leases)

    def in_child() -> None:
        found = followed()
        if found is not None:
            found.after_fork()

    os.register_at_fork(after_in_child=in_child)
