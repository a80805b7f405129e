"""The lock server: a tooz backend that may be down, slow, or hang.

What a client does then is its own: Redis's tries for a minute, ZooKeeper's waits for ever, and
each raises errors that its library alone knows. So whatever is asked is asked in a thread of its
own, and given up after :data:`ANSWER_SECONDS`; a lock that it takes later all the same is given
back at once.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tooz.coordination import CoordinationDriver, get_coordinator
from tooz.locking import Lock

from volflow.exceptions import InvalidInput

LOG = logging.getLogger(__name__)
T = TypeVar("T")

ANSWER_SECONDS = 10.0
"""How long the lock server may take to answer."""

SILENCE_SECONDS = 2.0
"""How long nobody else asks after it did not answer: many may want to."""

BEAT_SECONDS = 5.0
"""The pause between two heartbeats where the backend does not say, or did not answer."""


class NoAnswer(Exception):
    """The lock server cannot be reached, failed, or did not answer in time."""


class LockServer:
    """Takes locks on it, and keeps them alive.

    :ivar name: its address, without a password.
    :param url: as tooz reads it.
    :param member: this process's name on it, unique.
    :raises InvalidInput: tooz has no such backend.
    """

    def __init__(self, url: str, member: str) -> None:
        self._url = url
        self._member = member
        self._current: CoordinationDriver | None
        self._heart: threading.Thread
        self._stop: threading.Event
        self._silent_until: float
        self._why: str
        self.name = self._checked()
        self._begin_anew()
        _follow_forks(self)

    def acquire(self, name: str) -> Lock | None:
        """Try once to take a lock; None: somebody else has it.

        :raises NoAnswer: nobody knows.
        """

        def take() -> Lock | None:
            lock = self._connected().get_lock(name.encode())
            if lock.acquire(blocking=False):
                return lock
            _close_file(lock)
            return None

        def give_back(lock: Lock | None) -> None:
            if lock is not None:
                self._give_back(lock)

        if time.monotonic() < self._silent_until:
            raise NoAnswer(self._why)
        try:
            return _asked(take, give_back)
        except NoAnswer as e:
            self._why = f"the lock server {self.name} {e}"
            self._silent_until = time.monotonic() + SILENCE_SECONDS
            raise NoAnswer(self._why) from e

    def release(self, lock: Lock) -> None:
        """Give a lock back, later where the lock server does not answer now."""
        try:
            _asked(lambda: self._give_back(lock))
        except NoAnswer as e:
            LOG.info("a lock is given back later: the lock server %s %s", self.name, e)

    def forget(self, name: str) -> None:
        """Remove what is left of a lock that nobody will take again.

        ZooKeeper keeps the node below which a lock's holders were; the others keep nothing.
        """

        def remove() -> None:
            recipe: Any = getattr(self._connected().get_lock(name.encode()), "_lock", None)
            if hasattr(recipe, "client") and hasattr(recipe, "path"):
                recipe.client.delete(recipe.path)

        try:
            _asked(remove)
        except NoAnswer as e:
            LOG.info("lock %s leaves something on the lock server %s: it %s", name, self.name, e)

    def close(self) -> None:
        """Give back what is still held, and leave."""
        if not self._guard.acquire(timeout=ANSWER_SECONDS):
            return  # its connection is not made yet, and is closed by whoever makes it
        try:
            self._closed = True
            current, self._current = self._current, None
        finally:
            self._guard.release()
        self._stop.set()
        if current is None:
            return
        try:
            _asked(lambda: _left(current))
        except NoAnswer as e:
            LOG.warning("the lock server %s was not told the end: it %s", self.name, e)
        self._heart.join(ANSWER_SECONDS)

    def after_fork(self) -> None:
        """Connect anew: the connection is the parent's, and so is what it holds."""
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._guard = threading.Lock()
        self._current = None
        self._closed = False
        self._owed: deque[Lock] = deque()
        self._stop = threading.Event()
        self._silent_until = 0.0
        self._why = ""

    def _checked(self) -> str:
        try:
            get_coordinator(self._url, self._member.encode())
            parts = urlsplit(self._url)
        except Exception as e:
            raise InvalidInput(f"this is no lock server that tooz knows: {_reason(e)}") from e
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2] or parts.path}"

    def _connected(self) -> CoordinationDriver:
        with self._guard:
            if self._closed:
                raise NoAnswer("was left already")
            if self._current is None:
                member = f"{self._member}-{os.getpid()}".encode()
                found = get_coordinator(self._url, member)
                try:
                    found.start()
                except BaseException:
                    _free(found)
                    raise
                self._current = found
                self._heart = threading.Thread(
                    target=self._beat, args=(found, self._stop), name="volflow-locks", daemon=True
                )
                self._heart.start()
            return self._current

    def _beat(self, current: CoordinationDriver, stop: threading.Event) -> None:
        """Keep locks alive; tooz's own heart cannot be stopped while the server is away."""
        pause, heard = 0.0, True
        while not stop.wait(pause):
            try:
                pause = (current.heartbeat() or BEAT_SECONDS) / 3
                heard = True
            except Exception as e:  # noqa: BLE001 - each client has errors of its own
                if heard:
                    LOG.warning("locks on %s may be lost: %s", self.name, _reason(e))
                pause, heard = min(pause or BEAT_SECONDS, BEAT_SECONDS), False
            for _ in range(len(self._owed) if heard else 0):
                self._give_back(self._owed.popleft())

    def _give_back(self, lock: Lock) -> None:
        try:
            lock.release()
        except Exception as e:  # noqa: BLE001 - each client has errors of its own
            LOG.info("a lock is given back later: %s", _reason(e))
            self._owed.append(lock)


def _asked(ask: Callable[[], T], late: Callable[[T], None] | None = None) -> T:
    """Ask in a thread of its own.

    :param late: is given an answer that nobody waited for.
    :raises NoAnswer: says what the lock server did instead.
    """
    answer: Future[T] = Future()

    def speak() -> None:
        try:
            found = ask()
        except Exception as e:  # noqa: BLE001 - each client has errors of its own
            if answer.set_running_or_notify_cancel():
                answer.set_exception(e)
            return
        if answer.set_running_or_notify_cancel():
            answer.set_result(found)
        elif late is not None:
            late(found)

    threading.Thread(target=speak, name="volflow-lock-server", daemon=True).start()
    if not wait([answer], ANSWER_SECONDS).done and answer.cancel():
        raise NoAnswer(f"did not answer within {ANSWER_SECONDS:g} s")
    error = answer.exception()
    if error is None:
        return answer.result()
    if isinstance(error, NoAnswer):
        raise error
    raise NoAnswer(f"failed: {_reason(error)}") from error


def _close_file(lock: Lock) -> None:
    """Close what ``file://`` leaves open of a lock that another process has."""
    opened: Any = getattr(getattr(lock, "_lock", None), "lockfile", None)
    if opened is not None and not getattr(lock, "acquired", True):
        opened.close()


def _left(current: CoordinationDriver) -> None:
    try:
        current.stop()
    finally:
        _free(current)


def _free(current: CoordinationDriver) -> None:
    """Close what tooz leaves open: kazoo's pipe that wakes its threads, etcd's connections."""
    for name in ("_coord", "client"):
        client: Any = getattr(current, name, None)
        closing = getattr(client, "session", client)
        if hasattr(closing, "close"):
            closing.close()


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _follow_forks(server: LockServer) -> None:
    followed = weakref.ref(server)

    def in_child() -> None:
        found = followed()
        if found is not None:
            found.after_fork()

    os.register_at_fork(after_in_child=in_child)
