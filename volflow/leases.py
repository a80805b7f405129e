"""Who owns which operation: leases that a heartbeat renews, and the proof that an owner is dead.

Every process (more exactly: every open manager) has an identity, a name with an owner file that
it holds an flock on. The kernel releases the flock at the process's death, so that on the same
host nobody waits for a lease of the dead to expire.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from volflow.exceptions import DatabaseError
from volflow.locks import FileLock, is_free
from volflow.persistence import operations
from volflow.persistence.engine import Database

LOG = logging.getLogger(__name__)


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
        self._directory = directory / "owners"
        self._lease_seconds = lease_seconds
        self._call_seconds = call_seconds
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._identity = self._new_identity()
        self._stop = threading.Event()
        self.paused = False
        self._thread = threading.Thread(target=self._beat, name="volflow-heartbeat", daemon=True)
        self._thread.start()

    @property
    def owner(self) -> str:
        """The name under which operations are claimed now."""
        return self._identity.name

    def close(self) -> None:
        """Stop the heartbeat and let go of the owner file."""
        self._stop.set()
        self._thread.join()
        with self._lock:
            self._identity.lock.discard()

    def begin(self, operation_id: str, epoch: int) -> bool:
        """Enter a run; False where this process runs the operation already."""
        with self._lock:
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
        with self._lock:
            held = self._held.pop(operation_id)
            held.identity.runs.discard(operation_id)
            if held.identity is not self._identity and not held.identity.runs:
                held.identity.lock.discard()

    def abandon(self, operation_id: str) -> None:
        """Leave a run as its process's death would: the identity that it ran under dies, too.

        Others see at once that nobody runs the operation. Runs that go on under the same
        identity keep it alive until they end.
        """
        with self._lock:
            if self._held[operation_id].identity is self._identity:
                self._identity = self._new_identity()
        self.end(operation_id)

    def is_dead(self, owner: str, operation_id: str) -> bool:
        """True where it is certain that ``owner`` does not run the operation any more."""
        host, _, rest = owner.partition(":")
        if host != socket.gethostname():
            return False
        with self._lock:
            held = self._held.get(operation_id)
            if owner == self._identity.name:
                return held is None
            if held is not None and held.identity.name == owner:
                return False
        return is_free(self._directory / rest)

    @contextmanager
    def driver_call(self, operation_id: str) -> Iterator[None]:
        """Mark a driver call, so that one past its limit stops the renewal of the lease."""
        held = self._held[operation_id]
        held.call_began, held.overdue = time.monotonic(), False
        try:
            yield
        finally:
            held.call_began = None

    def _new_identity(self) -> _Identity:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        rest = f"{os.getpid()}-{secrets.token_hex(6)}"
        lock = FileLock(self._directory / rest, inherited=False)
        lock.acquire()
        return _Identity(f"{socket.gethostname()}:{rest}", lock)

    def _beat(self) -> None:
        while not self._stop.wait(self._lease_seconds / 3):
            if self.paused:
                continue
            with self._lock:
                held = list(self._held.items())
            for operation_id, run in held:
                self._renew(operation_id, run)

    def _renew(self, operation_id: str, run: _Held) -> None:
        began = run.call_began
        if began is not None and time.monotonic() - began > self._call_seconds:
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
                lambda c: operations.renew(c, operation_id, run.epoch, self._lease_seconds)
            )
        except DatabaseError as e:
            LOG.warning("the lease of operation %s could not be renewed: %s", operation_id, e)
