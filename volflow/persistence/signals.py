"""Signals: they wake who waits for a change, in this process, and on PostgreSQL in all of them.

A signal says what may have changed and carries nothing else. It may be lost: who waits looks
again after a while by itself.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import bindparam, func
from sqlalchemy import select as select_from

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from volflow.clock import Clock

LOG = logging.getLogger(__name__)

CHANNEL = "volflow"
RECONNECT_SECONDS = 2.0
_NOTIFY = select_from(func.pg_notify(CHANNEL, bindparam("said")))


class Signal(NamedTuple):
    """What may have changed.

    :ivar what: ``queued`` (an operation of a backend waits for a conductor), ``settled`` (a run
        of an operation ended), ``released`` (an operation was handed back), ``conductor`` (one
        has begun to serve), or ``anything``: signals may have been lost.
    :ivar name: of the backend, or the id of the operation or the conductor.
    """

    what: str
    name: str = ""


Heard = Callable[[Signal], None]


class Signals:
    """The signals of one database.

    :param engine: of a PostgreSQL server whose driver can listen; None: there is no such server.
    """

    def __init__(self, clock: Clock, engine: Engine | None) -> None:
        self._clock = clock
        self._engine = engine
        self._changed = threading.Condition()
        self._listeners: list[Heard] = []
        self._ear: _Ear | None = None

    @property
    def far(self) -> bool:
        """True while the signals of other processes are heard, too."""
        return self._ear is not None and self._ear.hears

    def send(self, connection: Connection, signals: Iterable[Signal]) -> None:
        """Send signals to other processes with a transaction's commit."""
        if self._engine is not None:
            for what, name in signals:
                connection.execute(_NOTIFY, {"said": f"{what}:{name}"})

    def tell(self, signals: Iterable[Signal]) -> None:
        """Wake who listens in this process."""
        for signal in signals:
            for heard in list(self._listeners):
                heard(signal)

    @contextmanager
    def heard_by(self, heard: Heard) -> Iterator[None]:
        """Call ``heard`` with every signal, in whatever thread it comes; it has to be quick."""
        self._listen()
        self._listeners.append(heard)
        try:
            yield
        finally:
            self._listeners.remove(heard)

    @contextmanager
    def waiting(self, wanted: Callable[[Signal], bool]) -> Iterator[Callable[[float], bool]]:
        """Wait for some signals.

        :returns: ``wait(seconds)``: True where one has come since the wait before.
        """
        came: list[Signal] = []

        def heard(signal: Signal) -> None:
            if signal.what == "anything" or wanted(signal):
                with self._changed:
                    came.append(signal)
                    self._changed.notify_all()

        def wait(seconds: float) -> bool:
            with self._changed:
                self._clock.wait_for(self._changed, lambda: bool(came), seconds)
                found = bool(came)
                came.clear()
                return found

        with self.heard_by(heard):
            yield wait

    def close(self) -> None:
        """End the thread that listens."""
        if self._ear is not None and self._ear.pid == os.getpid():
            self._ear.stop()
        self._ear = None

    def _listen(self) -> None:
        with self._changed:
            if self._engine is None or (self._ear and self._ear.pid == os.getpid()):
                return
            self._ear = _Ear(self._engine, self.tell)
            self._ear.start()


class _Ear(threading.Thread):
    """Listens to PostgreSQL on a connection of its own."""

    def __init__(self, engine: Engine, tell: Callable[[Iterable[Signal]], None]) -> None:
        super().__init__(name="volflow-signals", daemon=True)
        self.hears = False
        self.pid = os.getpid()
        self._engine = engine
        self._tell = tell
        self._stopped = threading.Event()
        self._wake, self._waker = os.pipe()

    def stop(self) -> None:
        self._stopped.set()
        os.write(self._waker, b".")
        self.join()
        os.close(self._wake)
        os.close(self._waker)

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                with closing(self._connect()) as connection:
                    self._hear(connection)
            except Exception as e:  # noqa: BLE001 - a server that is away; who waits looks itself
                if not self._stopped.is_set():
                    LOG.warning("other processes are not heard, and asked instead: %s", e)
            finally:
                self.hears = False
            self._stopped.wait(RECONNECT_SECONDS)

    def _connect(self) -> Any:
        """Take a connection from the pool for good: it has to stay open."""
        pooled = self._engine.raw_connection()
        connection = pooled.driver_connection
        pooled.detach()
        return connection

    def _hear(self, connection: Any) -> None:
        connection.rollback()
        connection.autocommit = True
        connection.execute(f"LISTEN {CHANNEL}")
        self.hears = True
        self._tell([Signal("anything")])
        while not self._stopped.is_set():
            select.select([connection, self._wake], [], [])
            self._tell([_signal(found.payload) for found in connection.notifies(timeout=0)])


def _signal(payload: str) -> Signal:
    what, _, name = payload.partition(":")
    return Signal(what, name)


def can_listen(engine: Engine) -> bool:
    """True where the engine's driver is one whose notifications are understood."""
    return engine.dialect.name == "postgresql" and engine.dialect.driver == "psycopg"
